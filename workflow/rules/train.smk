# A rule a model and seed, so that each has its own code and settings, and `snakemake train_gru`
# works.
for replicate, (model, seed) in REPLICATES.items():
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
        # On a cluster one job with its evaluation.
        group:
            replicate
        conda:
            "../../envs/training.yaml"
        threads: config["threads"]
        resources:
            mem_mb=memory(training_memory(replicate)),
            # Not more at a retry, which goes on from the last epoch.
            runtime=lambda wildcards, replicate=replicate: training_time(replicate),
            disk_mb=lambda wildcards, replicate=replicate: training_disk(replicate),
            gpu=int(config["gpu"]),
            # No demands of a cluster, and no params either: another of these trains nothing again.
            cache_mb=config["cache_mb"],
            scratch=int(config["scratch"]),
        params:
            *code("train", f"models.{model}"),
            model=model,
            settings=model_settings(config, model, seed),
            folder=lambda wildcards, output: os.path.dirname(output.model),
            checkpoint=checkpoint_of(replicate),
            tensorboard=f"{RUN}/tensorboard/{flat(replicate)}",
        shell:
            "python -m noctact train"
            " --model {params.model}"
            " --settings {params.settings:q}"
            " --split {input.split:q}"
            " --shards {input.shards:q}"
            " --threads {threads}"
            " --cache-mb {resources.cache_mb}"
            " --scratch {resources.scratch}"
            " --gpu {resources.gpu}"
            " --checkpoint {params.checkpoint:q}"
            " --tensorboard {params.tensorboard:q}"
            " --output {params.folder:q}"
            " 2>&1 | tee {log:q}"
