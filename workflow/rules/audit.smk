rule audit:
    """Group the clips of one recording; gather the clips that could not be used."""
    input:
        manifest=f"{RUN}/dataset/manifest.csv",
        rejected=f"{RUN}/dataset/rejected.csv",
        quarantine=expand(f"{RUN}/frames/shard-{{shard}}.quarantine.csv", shard=SHARDS),
        code=code("audit"),
    output:
        groups=f"{RUN}/dataset/groups.csv",
        quarantine=f"{RUN}/dataset/quarantine.csv",
    log:
        f"{RUN}/logs/audit.log",
    benchmark:
        f"{RUN}/benchmarks/audit.tsv"
    conda:
        "../../envs/training.yaml"
    resources:
        mem_mb=500,
    params:
        # A function: in a text, Snakemake would take the braces of \d{4} for a wildcard.
        pattern=lambda wildcards: (
            f"--pattern={shlex.quote(config['groups']['pattern'])}"
            if config["groups"]["pattern"]
            else ""
        ),
    shell:
        "python -m noctact audit"
        " --manifest {input.manifest:q}"
        " --faults {input.rejected:q} {input.quarantine:q}"
        " {params.pattern}"
        " --groups {output.groups:q}"
        " --quarantine {output.quarantine:q}"
        " 2>&1 | tee {log:q}"
