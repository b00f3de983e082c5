# What the page does not read: in storage, files that are no input are not at hand.
NAMED = [
    *expand(
        f"{RUN}/dataset/{{table}}.csv", table=["index", "rejected", "manifest", "pairs"]
    ),
    f"{RUN}/split/split.json",
    *expand(f"{RUN}/models/{{folder}}/model.keras", folder=REPLICATES),
]


rule report:
    """Write the page of the run, and for machines how it was made and which file is what."""
    input:
        comparison=rules.compare.output,
        survey=rules.survey.output,
        trained=TRAINED,
        controls=CONTROLS,
        groups=f"{RUN}/dataset/groups.csv",
        quarantine=f"{RUN}/dataset/quarantine.csv",
        split=f"{RUN}/split/split.csv",
        template=given(os.path.relpath(LIBRARY / "noctact" / "report.html")),
        # Only named in the crate. A function: no arrows in the graph on the page.
        named=lambda wildcards: NAMED if STORAGE else [],
    output:
        # Not for Snakemake's own report: browsers show no page of this size inside another.
        page=f"{RUN}/report.html",
        run=f"{RUN}/run.json",
        crate=f"{RUN}/ro-crate-metadata.json",
        workflow=f"{RUN}/workflow.smk",
    log:
        f"{RUN}/logs/report.log",
    benchmark:
        f"{RUN}/benchmarks/report.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=memory(500),
        runtime=10,
        disk_mb=100,
    params:
        *code("report"),
        workflow=workflow_digest(),
        run=lambda wildcards, output: os.path.dirname(output.page),
        # Functions: in a text, Snakemake would take the braces for wildcards.
        config=lambda wildcards: json.dumps(config, sort_keys=True),
        rules=lambda wildcards: json.dumps(rule_edges()),
    shell:
        "python -m noctact report {params.run:q}"
        " --config {params.config:q}"
        " --rules {params.rules:q}"
        " 2>&1 | tee {log:q}"
