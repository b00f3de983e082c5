# The user's own split, with strategy `column`: a file, which may name clips in the quarantine, too.
OWN_SPLIT = (
    {
        "own": given(config["split"]["file"]),
        "quarantine": f"{RUN}/dataset/quarantine.csv",
    }
    if config["split"]["strategy"] == "column"
    else {}
)


# By this, old clips stay where they are: it is there when the job starts again. Not in storage, where
# Snakemake 9.27 fails to make the copy of it that it would put back after a failure.
MEMORY = f"{RUN}/split/memory.json"


rule split:
    """Divide the recordings into train, val and test."""
    input:
        **OWN_SPLIT,
        groups=f"{RUN}/dataset/groups.csv",
    output:
        split=f"{RUN}/split/split.csv",
        facts=f"{RUN}/split/split.json",
        # Apart from the two above, which are gone when the job fails, so that the next call makes
        # them: a file that is put back looks up to date.
        memory=MEMORY if STORAGE else update(MEMORY),
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
        scarce=f"--scarce {config['split']['scarce']}",
        # A function: the file may come from storage.
        own=lambda wildcards, input: shlex.join(
            [
                f"--file={input.own}",
                f"--column={config['split']['column']}",
                f"--quarantine={input.quarantine}",
            ]
            if OWN_SPLIT
            else []
        ),
    shell:
        "python -m noctact split"
        " --groups {input.groups:q}"
        " --strategy {params.strategy}"
        " {params.fractions}"
        " {params.seed}"
        " {params.scarce}"
        " {params.own}"
        " --output {output.split:q}"
        " --facts {output.facts:q}"
        " --memory {output.memory:q}"
        " 2>&1 | tee {log:q}"
