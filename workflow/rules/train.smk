def training_memory(model):
    settings = json.loads(model_settings(config, model))
    return training_mb(model, FRAMES, settings["units"], settings["batch_size"])


# A rule a model, so that each has its own code and settings, and `snakemake train_gru` works.
for model in MODELS:

    rule:
        """Train one model."""
        name:
            f"train_{model}"
        input:
            split=f"{RUN}/split/split.csv",
            shards=expand(f"{RUN}/frames/shard-{{shard}}.h5", shard=SHARDS),
            code=code("train", f"models.{model}"),
        output:
            model=f"{RUN}/models/{model}/model.keras",
            history=f"{RUN}/models/{model}/history.csv",
            run=f"{RUN}/models/{model}/run.json",
        log:
            f"{RUN}/logs/train_{model}.log",
        benchmark:
            f"{RUN}/benchmarks/train_{model}.tsv"
        conda:
            "../../envs/training.yaml"
        threads: config["threads"]
        resources:
            mem_mb=training_memory(model),
        params:
            model=model,
            settings=model_settings(config, model),
            folder=lambda wildcards, output: os.path.dirname(output.model),
        shell:
            "python -m noctact train"
            " --model {params.model}"
            " --settings {params.settings:q}"
            " --split {input.split:q}"
            " --shards {input.shards:q}"
            " --threads {threads}"
            " --output {params.folder:q}"
            " 2>&1 | tee {log:q}"
