def evaluation_memory(replicate):
    """The MB that the evaluation of a folder of REPLICATES reserves: as much as a training in
    batches of 32, of which the evaluation has one to time.
    """
    model, seed = REPLICATES[replicate]
    settings = json.loads(model_settings(config, model, seed)) | {"batch_size": 32}
    return training_mb(model, FRAMES, settings, cache_mb=0)


rule evaluate:
    """Predict the val and test clips, also without the order of their frames; measure the cost."""
    input:
        model=f"{RUN}/models/{{replicate}}/model.keras",
        split=f"{RUN}/split/split.csv",
        shards=expand(f"{RUN}/frames/shard-{{shard}}.h5", shard=SHARDS),
        code=code("evaluate"),
    output:
        predictions=f"{RUN}/models/{{replicate}}/predictions.csv",
        shuffled=f"{RUN}/models/{{replicate}}/shuffled.csv",
        first_frame=f"{RUN}/models/{{replicate}}/first_frame.csv",
        cost=f"{RUN}/models/{{replicate}}/cost.json",
    log:
        f"{RUN}/logs/evaluate_{{replicate}}.log",
    benchmark:
        f"{RUN}/benchmarks/evaluate_{{replicate}}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: config["threads"]
    resources:
        mem_mb=lambda wildcards: evaluation_memory(wildcards.replicate),
    params:
        batch_size=16,
        folder=lambda wildcards, output: os.path.dirname(output.predictions),
    shell:
        "python -m noctact evaluate"
        " --model {input.model:q}"
        " --split {input.split:q}"
        " --shards {input.shards:q}"
        " --batch-size {params.batch_size}"
        " --threads {threads}"
        " --output {params.folder:q}"
        " 2>&1 | tee {log:q}"
