# The figures of the data, with their captions in Snakemake's own report. The sheets are always
# drawn: one without clips says so, and is not on the page.
DATA_CHARTS = [
    *("clips", "recordings", "lengths", "light", "formats", "sources"),
    *("sheet_recordings", "sheet_doubtful"),
]


rule survey:
    """Tell what the data are like, and what leaks across the split: tables, figures, a verdict."""
    input:
        manifest=f"{RUN}/dataset/manifest.csv",
        groups=f"{RUN}/dataset/groups.csv",
        pairs=f"{RUN}/dataset/pairs.csv",
        split=f"{RUN}/split/split.csv",
        facts=f"{RUN}/split/split.json",
        shards=expand(f"{RUN}/frames/shard-{{shard}}.h5", shard=SHARDS),
    output:
        json=f"{RUN}/dataset/survey.json",
        tables=[
            report(
                f"{RUN}/dataset/{table}.csv",
                caption=f"../report/{table}_table.rst",
                category="Data",
                labels={"table": table},
            )
            for table in ("classes", "leaks", "sources", "conflicts")
        ],
        charts=[
            report(
                f"{RUN}/dataset/figures/{chart}.png",
                caption=f"../report/data_{chart}.rst",
                category="Data",
                labels={"figure": chart},
            )
            for chart in DATA_CHARTS
        ],
        vector=expand(f"{RUN}/dataset/figures/{{chart}}.svg", chart=DATA_CHARTS),
    log:
        f"{RUN}/logs/survey.log",
    benchmark:
        f"{RUN}/benchmarks/survey.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=memory(1000),
        runtime=10,
        disk_mb=100,
    params:
        *code("survey"),
        # One text: Snakemake compares params as an unordered set, and would not see val and test
        # swapped.
        split=("--val {val} --test {test} --seed {seed} --scarce {scarce}").format(
            **config["split"]
        ),
        folder=lambda wildcards, output: os.path.dirname(output.json),
    shell:
        "python -m noctact survey"
        " --manifest {input.manifest:q}"
        " --groups {input.groups:q}"
        " --pairs {input.pairs:q}"
        " --split {input.split:q}"
        " --split-facts {input.facts:q}"
        " --shards {input.shards:q}"
        " {params.split}"
        " --output {params.folder:q}"
        " 2>&1 | tee {log:q}"
