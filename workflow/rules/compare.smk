COMPARISON = f"{RUN}/comparison"


rule compare:
    """Draw the curves and confusion matrices of all models side by side."""
    input:
        history=expand(f"{RUN}/models/{{folder}}/history.csv", folder=REPLICATES),
        run=expand(f"{RUN}/models/{{folder}}/run.json", folder=REPLICATES),
        predictions=expand(
            f"{RUN}/models/{{folder}}/predictions.csv", folder=REPLICATES
        ),
        code=code("compare"),
    output:
        summary=report(
            f"{COMPARISON}/summary.csv",
            caption="../report/summary.rst",
            category="Summary",
        ),
        loss=report(
            f"{COMPARISON}/loss.png", caption="../report/loss.rst", category="Curves"
        ),
        accuracy=report(
            f"{COMPARISON}/accuracy.png",
            caption="../report/accuracy.rst",
            category="Curves",
        ),
        confusion=report(
            expand(f"{COMPARISON}/confusion/{{model}}.png", model=MODELS),
            caption="../report/confusion.rst",
            category="Confusion",
        ),
        vector=expand(
            f"{COMPARISON}/{{figure}}.svg",
            figure=["loss", "accuracy", *(f"confusion/{model}" for model in MODELS)],
        ),
    log:
        f"{RUN}/logs/compare.log",
    benchmark:
        f"{RUN}/benchmarks/compare.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=1000,
    params:
        models=lambda wildcards, input: [os.path.dirname(run) for run in input.run],
        folder=lambda wildcards, output: os.path.dirname(output.summary),
    shell:
        "python -m noctact compare"
        " --models {params.models:q}"
        " --output {params.folder:q}"
        " 2>&1 | tee {log:q}"
