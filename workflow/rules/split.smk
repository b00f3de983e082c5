rule split:
    """Divide the recordings into train, val and test."""
    input:
        groups=f"{RUN}/dataset/groups.csv",
    output:
        split=f"{RUN}/split/split.csv",
    log:
        f"{RUN}/logs/split.log",
    benchmark:
        f"{RUN}/benchmarks/split.tsv"
    conda:
        "../../envs/training.yaml"
    resources:
        mem_mb=memory(500),
        runtime=10,
        disk_mb=100,
    params:
        *code("split"),
        strategy=config["split"]["strategy"],
        fractions=f"--val {config['split']['val']} --test {config['split']['test']}",
        seed=f"--seed {config['split']['seed']}",
    shell:
        "python -m noctact split"
        " --groups {input.groups:q}"
        " --strategy {params.strategy}"
        " {params.fractions}"
        " {params.seed}"
        " --output {output.split:q}"
        " 2>&1 | tee {log:q}"
