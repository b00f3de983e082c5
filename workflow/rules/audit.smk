rule audit:
    """Write the manifest; group the clips of one recording; gather what could not be used."""
    input:
        index=f"{RUN}/dataset/index.csv",
        rejected=f"{RUN}/dataset/rejected.csv",
        shards=expand(f"{RUN}/frames/shard-{{shard}}.h5", shard=SHARDS),
        signatures=expand(f"{RUN}/frames/shard-{{shard}}.signatures.h5", shard=SHARDS),
        quarantine=expand(f"{RUN}/frames/shard-{{shard}}.quarantine.csv", shard=SHARDS),
    output:
        manifest=f"{RUN}/dataset/manifest.csv",
        groups=f"{RUN}/dataset/groups.csv",
        pairs=f"{RUN}/dataset/pairs.csv",
        quarantine=f"{RUN}/dataset/quarantine.csv",
    log:
        f"{RUN}/logs/audit.log",
    benchmark:
        f"{RUN}/benchmarks/audit.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 2
    resources:
        mem_mb=memory(lambda wildcards: 500 + expected_clips() // 20),
        runtime=minutes("audit"),
        disk_mb=100,
    params:
        *code("audit"),
        # A function: in a text, Snakemake would take the braces of \d{4} for a wildcard.
        pattern=lambda wildcards: (
            f"--pattern={shlex.quote(config['groups']['pattern'])}"
            if config["groups"]["pattern"]
            else ""
        ),
        sight=f"--sight {'yes' if config['groups']['sight'] else 'no'}",
        folder=lambda wildcards, output: os.path.dirname(output.groups),
    shell:
        "python -m noctact audit"
        " --index {input.index:q}"
        " --shards {input.shards:q}"
        " --faults {input.rejected:q} {input.quarantine:q}"
        " --signatures {input.signatures:q}"
        " {params.pattern}"
        " {params.sight}"
        " --threads {threads}"
        " --output {params.folder:q}"
        " 2>&1 | tee {log:q}"
