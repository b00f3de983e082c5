COMPARISON = f"{RUN}/comparison"
WITHOUT_CNN = [model for model in MODELS if not model.startswith("cnn_")]
WITH_CNN = [model for model in MODELS if model.startswith("cnn_")]

# What stages train and evaluate leave of each training.
TRAINED = expand(
    f"{RUN}/models/{{folder}}/{{file}}",
    folder=REPLICATES,
    file=[
        *("run.json", "history.csv", "cost.json"),
        *("predictions.csv", "shuffled.csv", "first_frame.csv"),
    ],
)
CONTROLS = expand(
    f"{RUN}/controls/{{name}}.csv", name=["majority", "mean_frame", "metadata"]
)
# The notebooks' curves; the generated clips have the same classes, but are others.
PUBLISHED = (
    None
    if config["source"] == "synthetic"
    else os.path.relpath(Path(workflow.basedir, "resources", "published"))
)

# The figures, with category and caption in Snakemake's own report.
CHARTS = {
    "ranking": ("Accuracy", "ranking"),
    "reliability": ("Accuracy", "reliability"),
    "loss": ("Curves", "loss"),
    "accuracy": ("Curves", "accuracy"),
    **{f"curves/{model}": ("Curves", "curves") for model in MODELS},
    "recall": ("Classes", "recall"),
    **{f"confusion/{model}": ("Classes", "confusion") for model in MODELS},
    "examples": ("Clips", "examples"),
    **{f"errors/{model}": ("Clips", "errors") for model in MODELS},
    **{
        name: ("Cost", "cost")
        for name in ("parameters", "seconds_per_step", "inference")
    },
}
if len(MODELS) > 1:
    CHARTS["significance"] = ("Accuracy", "significance")
if len(WITHOUT_CNN) > 1:
    CHARTS["confusion_without_cnn"] = ("Classes", "confusion_sheet")
if len(WITH_CNN) > 1:
    CHARTS["confusion_with_cnn"] = ("Classes", "confusion_sheet")
if WITH_CNN and WITHOUT_CNN:
    CHARTS["confusion_difference"] = ("Classes", "confusion_difference")


rule compare:
    """Compare the models: scores with intervals, tests of the pairs, figures, a verdict."""
    input:
        trained=TRAINED,
        controls=CONTROLS,
        split=f"{RUN}/split/split.csv",
        manifest=f"{RUN}/dataset/manifest.csv",
        shards=expand(f"{RUN}/frames/shard-{{shard}}.h5", shard=SHARDS),
        published=(
            local(expand(f"{PUBLISHED}/{{name}}.csv", name=["confusion", "history"]))
            if PUBLISHED
            else []
        ),
    output:
        json=f"{COMPARISON}/summary.json",
        tables=[
            report(
                f"{COMPARISON}/{table}.csv",
                caption=f"../report/{table}_table.rst",
                category="Tables",
                labels={"table": table},
            )
            for table in ("summary", "significance", "controls")
        ],
        charts=[
            report(
                f"{COMPARISON}/{chart}.png",
                caption=f"../report/{caption}.rst",
                category=category,
                labels={"figure": chart},
            )
            for chart, (category, caption) in CHARTS.items()
        ],
        vector=expand(f"{COMPARISON}/{{chart}}.svg", chart=CHARTS),
    log:
        f"{RUN}/logs/compare.log",
    benchmark:
        f"{RUN}/benchmarks/compare.tsv"
    conda:
        "../../envs/figures.yaml"
    resources:
        mem_mb=memory(1500),
        runtime=minutes("compare"),
        disk_mb=500,
    params:
        *code("compare"),
        run=lambda wildcards, input: os.path.dirname(os.path.dirname(input.split)),
        models=list(REPLICATES),
        published=f"--published {shlex.quote(PUBLISHED)}" if PUBLISHED else "",
    shell:
        "python -m noctact compare {params.run:q}"
        " --models {params.models:q}"
        " {params.published}"
        " 2>&1 | tee {log:q}"
