rule extract:
    """Decode the frames of the clips of one shard, and make the signatures that tell which look
    alike.
    """
    input:
        clips=clip_files,
    output:
        shard=f"{RUN}/frames/shard-{{shard}}.h5",
        signatures=f"{RUN}/frames/shard-{{shard}}.signatures.h5",
        quarantine=f"{RUN}/frames/shard-{{shard}}.quarantine.csv",
        checksum=f"{RUN}/frames/shard-{{shard}}.h5.sha256",
    log:
        f"{RUN}/logs/extract-{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/extract-{{shard}}.tsv"
    conda:
        "../../envs/video.yaml"
    resources:
        # Two processes of 100 MB each, and what decoding a clip may add before it is stopped.
        mem_mb=memory(500 + config["frames"]["memory_mb"]),
        runtime=minutes("extract"),
        disk_mb=lambda wildcards: frames_mb(FRAMES, clips_of_job(wildcards)),
    params:
        *code("extract"),
        root=clip_root,
        shards=config["frames"]["shards"],
        clips=clips_digest,
        # One text: Snakemake compares params as an unordered set, and would not see height and
        # width swapped.
        frames=(
            "--count {count} --height {height} --width {width} --sampling {sampling} --by {by}"
            " --decoding {decoding} --truncated {truncated}"
        ).format(**config["frames"]),
        limits="--seconds {seconds} --memory {memory_mb}".format(**config["frames"]),
    shell:
        "python -m noctact extract"
        " --clips={params.root:q}"
        " --shard {wildcards.shard}"
        " --shards {params.shards}"
        " {params.frames} {params.limits}"
        " --output {output.shard:q}"
        " --signatures {output.signatures:q}"
        " --quarantine {output.quarantine:q}"
        " --checksum {output.checksum:q}"
        " 2>&1 | tee {log:q}"
