def acquire_arguments(archive):
    """The command line of the source that the config names."""
    source = config["source"]
    if source == "kaggle":
        words = [source, "--dataset", config["kaggle"]["dataset"]]
        if config["kaggle"]["version"]:
            words += ["--version", config["kaggle"]["version"]]
    elif source == "archive":
        words = [source, f"--path={archive}"]
    else:
        words = [source]
        for key, value in config["synthetic"].items():
            words += [f"--{key}", value]
    return shlex.join(map(str, words))


# A folder is used where it is: nothing to acquire.
if config["source"] != "folder":

    checkpoint acquire:
        """Download, unpack or generate the clips."""
        input:
            archive=given(config["path"]) if config["source"] == "archive" else [],
        output:
            clips=directory(f"{RUN}/dataset/clips"),
        log:
            f"{RUN}/logs/acquire.log",
        benchmark:
            f"{RUN}/benchmarks/acquire.tsv"
        # A caller sees no folder that a job elsewhere puts into storage.
        localrule: STORAGE
        conda:
            "../../envs/video.yaml"
        threads: 8 if config["source"] == "synthetic" else 1
        resources:
            mem_mb=memory(2000),
            runtime=minutes("acquire"),
            # The archive and what it holds, at 5 MB a clip.
            disk_mb=lambda wildcards: 2 * 5 * expected_clips(),
        params:
            # An edit of the generator makes other clips; one of the downloader does not.
            *(code("synthetic") if config["source"] == "synthetic" else []),
            source=lambda wildcards, input: acquire_arguments(input.archive),
        shell:
            "python -m noctact acquire {params.source}"
            + (
                " --workers {threads}"
                if config["source"] == "synthetic"
                # Not among the params: a sum that is added or mended later downloads nothing again.
                else " --sha256={config[sha256]:q}"
            )
            + " --output {output.clips:q} 2>&1 | tee {log:q}"
