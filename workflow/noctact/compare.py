"""Stage compare: the models of one run side by side, in numbers and figures; or finished runs."""

import argparse
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noctact import verdict
from noctact.atomic import replacing
from noctact.errors import NoctactError
from noctact.metrics import METRICS
from noctact.models import model_names
from noctact.pictures import Pictures, read_published
from noctact.readable import listed
from noctact.results import (
    SPLITS,
    TIMES,
    Model,
    Predictions,
    Recordings,
    by_name,
    check_comparable,
    check_same_clips,
    read_baselines,
    read_model,
    read_table,
    shown_split,
    trained,
)
from noctact.runs import side_by_side
from noctact.shards import Shards
from noctact.significance import (
    Estimate,
    accuracy,
    compare_pairs,
    draw,
    scores_with_intervals,
)
from noctact.tables import SPLIT

SUMMARY = [
    *("model", "seed", "parameters", "flops", "model_mb"),
    *(
        f"{split}_{column}"
        for split in SPLITS
        for column in (
            *("clips", "groups"),
            *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")),
        )
    ),
    *(*TIMES, "inference_ms_1", "inference_ms_32"),
]
CONTROLS = [
    *("control", "model", "accuracy", "low", "high"),
    *("difference", "difference_low", "difference_high"),
]


Weights = Mapping[str, NDArray[np.float32]]  # of `significance.draw`, by split


def summarise(models: Sequence[Model], recordings: Recordings, weights: Weights) -> pd.DataFrame:
    """One row each of `models`, with the columns SUMMARY; NaN for a split without `weights`."""
    rows = [
        {key: model.facts[key] for key in ("model", "seed", "parameters", *TIMES)}
        | {key: model.cost[key] for key in ("flops", "model_mb")}
        | {f"inference_ms_{clips}": model.cost["inference_ms"].get(clips) for clips in ("1", "32")}
        for model in models
    ]
    for split, drawn in weights.items():
        groups = recordings.of(models[0].predictions.of(split))
        for row, model in zip(rows, models, strict=True):
            values = scores_with_intervals(model.predictions.of(split), drawn)
            values |= {"clips": len(groups), "groups": len(set(groups))}
            row |= {f"{split}_{name}": value for name, value in values.items()}
    return pd.DataFrame(rows, columns=SUMMARY)


def gather(
    trainings: Mapping[str, Sequence[Model]],
    baselines: Mapping[str, Predictions],
    recordings: Recordings,
    weights: NDArray[np.float32],
) -> verdict.Evidence:
    """What the verdict is made from: the accuracies in the shown split, and their differences.

    `weights` are those of `significance.draw` for that split.
    """
    first = next(iter(trainings.values()))[0]
    split = shown_split(first.predictions)
    groups = recordings.of(first.predictions.of(split))
    shown = {
        name: [model.predictions.of(split) for model in seeds] for name, seeds in trainings.items()
    }
    accuracies = {name: accuracy(seeds, weights, name) for name, seeds in shown.items()}
    altered = {
        name: {
            control: accuracy([model.altered[control].of(split) for model in seeds], weights, name)
            for control in seeds[0].altered
        }
        for name, seeds in trainings.items()
    }
    return verdict.Evidence(
        split=split,
        trainings=trainings,
        accuracy=accuracies,
        altered=altered,
        baselines={
            name: accuracy([predictions.of(split)], weights)
            for name, predictions in baselines.items()
        },
        chance=chance(first.predictions.of(split), baselines["majority"].of(split), weights),
        pairs=compare_pairs(
            {
                name: dict(zip((model.seed for model in seeds), shown[name], strict=True))
                for name, seeds in trainings.items()
            },
            accuracies,
        ),
        recordings=groups,
        alone=recordings.alone(groups),
        leaking=recordings.leaking,
        missing=[name for name in model_names() if name not in trainings],
    )


def chance(truth: Predictions, majority: Predictions, weights: NDArray[np.float32]) -> Estimate:
    """The accuracy of always naming one class: the most frequent one of the training clips, or of
    these, whichever is the higher. A split that takes recordings whole can turn them round.
    """
    most = truth._replace(predicted=np.full_like(truth.true, np.bincount(truth.true).argmax()))
    return max((accuracy([each], weights) for each in (majority, most)), key=lambda e: e.value)


def control_table(evidence: verdict.Evidence) -> pd.DataFrame:
    """The controls, one a row, with the columns CONTROLS.

    `difference` is that to `majority`, or for a model's control that to the model itself.
    """

    def row(control: str, model: str | None, own: Estimate, against: Estimate | None) -> list[Any]:
        gap = own - against if against else None
        ends = [gap.value, *gap.interval] if gap else [None] * 3
        return [control, model, own.value, *own.interval, *ends]

    majority = evidence.baselines["majority"]
    rows = [
        row(name, None, own, None if name == "majority" else majority)
        for name, own in evidence.baselines.items()
    ]
    rows += [
        row(control, model, own, evidence.accuracy[model])
        for model, controls in evidence.altered.items()
        for control, own in controls.items()
    ]
    return pd.DataFrame(rows, columns=CONTROLS)


def write_tables(evidence: verdict.Evidence, summary: pd.DataFrame, output: Path) -> dict[str, Any]:
    """Write summary.csv, significance.csv, controls.csv, and summary.json with all of them, whose
    content is returned.
    """
    tables = {
        "summary": summary,
        "significance": evidence.pairs,
        "controls": control_table(evidence),
    }
    for name, table in tables.items():
        with replacing(output / f"{name}.csv") as partial:
            table.to_csv(partial, index=False, lineterminator="\n")
    first = next(iter(evidence.trainings.values()))[0]
    content = {
        "split": evidence.split,
        "clips": len(evidence.recordings),
        "groups": len(set(evidence.recordings)),
        "classes": first.classes,
        "missing": list(evidence.missing),
        "best": evidence.ranked[0],
        "models": records(summary),
        "significance": records(evidence.pairs),
        "controls": records(tables["controls"]),
        "verdict": verdict.sentences(evidence),
        "warnings": verdict.warnings(evidence),
    }
    with replacing(output / "summary.json") as partial:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(f"{text}\n", encoding="utf-8")
    return content


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `table` for JSON, which has no NaN: null where there is no value."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def as_text(summary: pd.DataFrame, split: str) -> str:
    """The summary as a plain table for a terminal, the best accuracy in `split` first."""
    table = summary.sort_values(f"{split}_accuracy", ascending=False, kind="stable")
    low, high = (table[f"{split}_accuracy_{end}"] for end in ("low", "high"))
    shown = table[["model", "seed", "parameters"]].assign(
        accuracy=table[f"{split}_accuracy"],
        interval=[f"{a:.2f}-{b:.2f}" for a, b in zip(low, high, strict=True)],
        **{name: table[f"{split}_{name}"] for name in METRICS[1:]},
        s_per_step=table["seconds_per_step"],
        ms_per_clip=table["inference_ms_1"],
        memory_mb=table["peak_memory_mb"],
    )
    return shown.to_string(
        index=False,
        float_format="{:.3f}".format,
        formatters={"parameters": "{:,}".format, "memory_mb": "{:,.0f}".format},
    )


def shards_of(run: Path) -> list[Path]:
    """The shards that the manifest names: a change of frames.shards leaves others behind."""
    file = run / "dataset" / "manifest.csv"
    manifest = read_table(file, ["shard"])
    numbers = sorted(set(manifest["shard"]))
    for number in numbers:
        if not number.isdecimal():
            raise NoctactError(f"{file}: {number!r} is no shard; run stage audit again")
    return [run / "frames" / f"shard-{int(number):03}.h5" for number in numbers]


def weigh(run: Path, names: Sequence[str] | None = None) -> tuple[verdict.Evidence, pd.DataFrame]:
    """The numbers of a comparison: what a verdict is made from, and the summary.

    `run` and `names` as for `compare`, which raises the same errors.
    """
    models = [read_model(run / "models" / name) for name in names or trained(run)]
    check_comparable(models)
    baselines = read_baselines(run / "controls", models[0].classes)
    for baseline in baselines.values():
        check_same_clips(models[0].predictions, baseline)
    recordings = Recordings(run / "split" / "split.csv")
    trainings = by_name(models)
    predictions = models[0].predictions
    weights = {
        split: draw(groups) for split in SPLITS if (groups := recordings.of(predictions.of(split)))
    }
    evidence = gather(trainings, baselines, recordings, weights[shown_split(predictions)])
    in_order = [model for seeds in trainings.values() for model in seeds]
    return evidence, summarise(in_order, recordings, weights)


def compare(run: Path, names: Sequence[str] | None = None, published: Path | None = None) -> None:
    """Compare the models of one run; write comparison/ of the folder `run`, print the verdict.

    `names` are the folders in models/ that are compared, all by default. Those of one model with
    several seeds are one curve and one matrix, and a row each of summary.csv. The curves in the
    folder `published` are drawn too, if the classes are the published ones. Raises NoctactError for
    files that are missing or wrong, and models that can't be compared.
    """
    evidence, summary = weigh(run, names)
    output = run / "comparison"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font draws a box for those it lacks
        draw_all(run, Pictures(evidence, output), published)
    content = write_tables(evidence, summary, output)
    print(as_text(summary, evidence.split))
    print(*content["verdict"])
    if evidence.missing:
        print(f"Not compared: {listed(evidence.missing)}")
    for text in content["warnings"]:
        print("Warning:", text)


def draw_all(run: Path, pictures: Pictures, published: Path | None) -> None:
    """Draw all figures of the comparison of `run`."""
    pictures.of_trainings(read_published(published, pictures.classes) if published else {})
    pictures.of_accuracy()
    pictures.of_classes()
    split = read_table(run / "split" / "split.csv", SPLIT)
    pictures.of_clips(Shards(shards_of(run)), split)
    pictures.remove_others()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="run",
        help="results/<run>: of one, its models are compared; of several, each with the first",
    )
    parser.add_argument(
        "--models", nargs="+", help="of one run: folders in its models/; default: all"
    )
    parser.add_argument("--published", type=Path, help="of one run: folder of published figures")
    parser.add_argument("--output", type=Path, help="of several: CSV to write besides")
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    if len(args.runs) > 1:
        if args.models or args.published:
            args.refuse("--models and --published are for the comparison of one run")
        side_by_side(args.runs, args.output)
    elif args.output:
        args.refuse("--output is for several runs; that of one is its folder comparison/")
    else:
        compare(args.runs[0], args.models, args.published)
