rule index:
    """List the clips: what there is, how large, which content, which shard."""
    input:
        clips=clip_files,
    output:
        index=f"{RUN}/dataset/index.csv",
        rejected=f"{RUN}/dataset/rejected.csv",
    log:
        f"{RUN}/logs/index.log",
    benchmark:
        f"{RUN}/benchmarks/index.tsv"
    conda:
        "../../envs/video.yaml"
    resources:
        mem_mb=memory(500),
        runtime=minutes("index"),
        disk_mb=100,
    params:
        *code("index"),
        root=clip_root,
        shards=config["frames"]["shards"],
        clips=clips_digest,
    shell:
        "python -m noctact index"
        " --clips={params.root:q}"
        " --shards {params.shards}"
        " --index {output.index:q}"
        " --rejected {output.rejected:q}"
        " 2>&1 | tee {log:q}"
