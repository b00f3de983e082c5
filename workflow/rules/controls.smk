rule controls:
    """Predict the val and test clips without a network: what the models have to beat."""
    input:
        split=f"{RUN}/split/split.csv",
        manifest=f"{RUN}/dataset/manifest.csv",
        shards=expand(f"{RUN}/frames/shard-{{shard}}.h5", shard=SHARDS),
    output:
        majority=f"{RUN}/controls/majority.csv",
        mean_frame=f"{RUN}/controls/mean_frame.csv",
        metadata=f"{RUN}/controls/metadata.csv",
    log:
        f"{RUN}/logs/controls.log",
    benchmark:
        f"{RUN}/benchmarks/controls.tsv"
    conda:
        "../../envs/training.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes("controls"),
        disk_mb=100,
    params:
        *code("controls"),
        folder=lambda wildcards, output: os.path.dirname(output.majority),
    shell:
        "python -m noctact controls"
        " --split {input.split:q}"
        " --manifest {input.manifest:q}"
        " --shards {input.shards:q}"
        " --output {params.folder:q}"
        " 2>&1 | tee {log:q}"
