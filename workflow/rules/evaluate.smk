rule evaluate:
    """Predict the val and test clips, also without the order of their frames; measure the cost."""
    input:
        model=f"{RUN}/models/{{replicate}}/model.keras",
        split=f"{RUN}/split/split.csv",
        shards=expand(f"{RUN}/frames/shard-{{shard}}.h5", shard=SHARDS),
    output:
        predictions=f"{RUN}/models/{{replicate}}/predictions.csv",
        shuffled=f"{RUN}/models/{{replicate}}/shuffled.csv",
        first_frame=f"{RUN}/models/{{replicate}}/first_frame.csv",
        cost=f"{RUN}/models/{{replicate}}/cost.json",
    log:
        f"{RUN}/logs/evaluate_{{replicate}}.log",
    benchmark:
        f"{RUN}/benchmarks/evaluate_{{replicate}}.tsv"
    # On a cluster one job with its training.
    group:
        "{replicate}"
    conda:
        "../../envs/training.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory(lambda wildcards: evaluation_memory(wildcards.replicate)),
        runtime=scaled(lambda wildcards: evaluation_time(wildcards.replicate)),
        disk_mb=100,
        gpu=int(config["gpu"]),
    params:
        *code("evaluate"),
        batch_size=16,
        folder=lambda wildcards, output: os.path.dirname(output.predictions),
        checkpoint=lambda wildcards: checkpoint_of(wildcards.replicate),
    shell:
        "python -m noctact evaluate"
        " --model {input.model:q}"
        " --split {input.split:q}"
        " --shards {input.shards:q}"
        " --batch-size {params.batch_size}"
        " --threads {threads}"
        " --output {params.folder:q}"
        " --checkpoint {params.checkpoint:q}"
        " 2>&1 | tee {log:q}"
