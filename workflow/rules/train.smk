# A rule a model and seed, so that each has its own code and settings, and `snakemake train_gru`
# works.
for replicate, (model, seed) in REPLICATES.items():
    flat = replicate.replace(os.sep, "-")
    job = training_job(replicate)

    rule:
        """Train one model with one seed."""
        name:
            job
        input:
            split=f"{RUN}/split/split.csv",
            shards=expand(f"{RUN}/frames/shard-{{shard}}.h5", shard=SHARDS),
        output:
            model=f"{RUN}/models/{replicate}/model.keras",
            history=f"{RUN}/models/{replicate}/history.csv",
            run=f"{RUN}/models/{replicate}/run.json",
        log:
            f"{RUN}/logs/{job}.log",
        benchmark:
            f"{RUN}/benchmarks/{job}.tsv"
        conda:
            "../../envs/training.yaml"
        threads: config["threads"]
        resources:
            mem_mb=training_memory(replicate),
            # What a job is told beside: not among the params, so that another number trains
            # nothing again; and no limit that a user sets for mem_mb lowers the prediction.
            predicted_mb=training_memory(replicate),
            cache_mb=config["cache_mb"],
        params:
            *code("train", f"models.{model}"),
            model=model,
            settings=model_settings(config, model, seed),
            folder=lambda wildcards, output: os.path.dirname(output.model),
            checkpoint=f"{RUN}/checkpoints/{flat}.zip",
            tensorboard=f"{RUN}/tensorboard/{flat}",
        shell:
            "python -m noctact train"
            " --model {params.model}"
            " --settings {params.settings:q}"
            " --split {input.split:q}"
            " --shards {input.shards:q}"
            " --threads {threads}"
            " --cache-mb {resources.cache_mb}"
            " --memory-mb {resources.predicted_mb}"
            " --checkpoint {params.checkpoint:q}"
            " --tensorboard {params.tensorboard:q}"
            " --output {params.folder:q}"
            " 2>&1 | tee {log:q}"
