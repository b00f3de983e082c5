rule extract:
    """Decode the frames of the clips of one shard."""
    input:
        clips=clip_files,
        code=code("extract"),
    output:
        shard=f"{RUN}/frames/shard-{{shard}}.h5",
        quarantine=f"{RUN}/frames/shard-{{shard}}.quarantine.csv",
    log:
        f"{RUN}/logs/extract-{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/extract-{{shard}}.tsv"
    conda:
        "../../envs/video.yaml"
    resources:
        mem_mb=1000,
    params:
        root=clip_root,
        shards=config["frames"]["shards"],
        clips=clips_digest,
        # One text: Snakemake compares params as an unordered set, and would not see height and
        # width swapped.
        shape="--count {count} --height {height} --width {width}".format(
            **config["frames"]
        ),
    shell:
        "python -m noctact extract"
        " --clips={params.root:q}"
        " --shard {wildcards.shard}"
        " --shards {params.shards}"
        " {params.shape}"
        " --output {output.shard:q}"
        " --quarantine {output.quarantine:q}"
        " 2>&1 | tee {log:q}"
