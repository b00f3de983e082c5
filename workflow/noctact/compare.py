"""Stage compare: the models side by side, as curves, confusion matrices and one table."""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from noctact import figures
from noctact.atomic import replacing
from noctact.errors import NoctactError
from noctact.tables import HISTORY

PREDICTIONS = ["video_id", "split", "true", "predicted"]
COSTS = ["seconds_per_step", "train_seconds", "peak_memory_mb"]
SPLITS = ["val", "test"]
METRICS = ["clips", "accuracy", "macro_f1", "top3_accuracy", "log_loss"]
SUMMARY = ["model", "seed", "parameters", *(f"{s}_{m}" for s in SPLITS for m in METRICS), *COSTS]


class Model(NamedTuple):
    """What one training left in its folder, checked.

    `name` is the model's; trainings of one model differ in `seed`. `history` has the columns of
    HISTORY, one row an epoch. `predictions` has those of PREDICTIONS, one row a val or test clip;
    row i of `probabilities` (clips, classes), float64 in 0..1, belongs to row i of it. `facts` is
    the content of run.json.
    """

    folder: Path
    name: str
    seed: int
    classes: list[str]
    history: pd.DataFrame
    predictions: pd.DataFrame
    probabilities: NDArray[np.float64]
    facts: dict[str, Any]


def read_model(folder: Path) -> Model:
    """Read history.csv, predictions.csv and run.json in `folder`.

    Raises NoctactError when one of them is missing, is empty or holds what it should not.
    """
    facts = read_facts(folder / "run.json")
    predictions, probabilities = read_predictions(folder / "predictions.csv", facts["classes"])
    return Model(
        folder=folder,
        name=facts["model"],
        seed=facts["seed"],
        classes=facts["classes"],
        history=read_history(folder / "history.csv"),
        predictions=predictions,
        probabilities=probabilities,
        facts=facts,
    )


def read_facts(file: Path) -> dict[str, Any]:
    """Read run.json: at least `model`, the numbers of the summary, and two `classes` or more."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoctactError(f"{file}: missing; train this model first") from None
    except ValueError as error:
        raise NoctactError(f"{file}: not JSON ({error}); train this model again") from error
    if not isinstance(facts, dict):
        raise NoctactError(f"{file}: not a JSON object; train this model again")
    if not isinstance(facts.get("model"), str):
        raise NoctactError(f"{file}: key 'model' is no name; train this model again")
    for key in ["seed", "parameters", *COSTS]:
        if not isinstance(facts.get(key), int | float):
            raise NoctactError(f"{file}: key {key!r} is no number; train this model again")
    classes = facts.get("classes")
    if not isinstance(classes, list) or len(classes) < 2:
        raise NoctactError(f"{file}: key 'classes' is no list of two classes or more")
    return facts


def read_history(file: Path) -> pd.DataFrame:
    """Read history.csv: HISTORY as float64, epochs 1, 2, ...; losses may be NaN or infinite."""
    history = read_numbers(read_table(file, HISTORY), HISTORY, file)
    if history["epoch"].tolist() != list(range(1, len(history) + 1)):
        raise NoctactError(f"{file}: the epochs are not 1, 2, 3, ...; train this model again")
    return history


def read_predictions(
    file: Path, classes: Sequence[str]
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Read predictions.csv: the columns of PREDICTIONS, and the probabilities (clips, classes).

    Raises NoctactError for a clip that comes twice, a split or label that is not known, and
    probabilities that are none or do not add up to 1.
    """
    columns = [f"p_{name}" for name in classes]
    table = read_table(file, [*PREDICTIONS, *columns])
    extra = [name for name in table.columns if name.startswith("p_") and name not in columns]
    if extra:
        raise NoctactError(f"{file}: column {extra[0]!r} is of no class in run.json")
    clips = table["video_id"]
    refuse(file, clips, clips.duplicated(), "comes twice")
    refuse(file, clips, ~table["split"].isin(SPLITS), "is in a split other than val and test")
    for column in ("true", "predicted"):
        unknown = ~table[column].isin(classes)
        label = next(iter(table[column][unknown]), None)
        refuse(file, clips, unknown, f"has the {column} class {label!r}, which run.json lacks")
    probabilities = read_numbers(table, columns, file).to_numpy()
    sums = probabilities.sum(axis=1, keepdims=True)
    # Generous, for files of few digits: the division makes up for them.
    sound = (probabilities >= 0).all(axis=1) & (abs(sums[:, 0] - 1) < 0.01)
    refuse(file, clips, ~sound, "has probabilities that do not add up to 1")
    return table[PREDICTIONS], probabilities / sums


def refuse(file: Path, clips: pd.Series, wrong: pd.Series | NDArray[np.bool_], fault: str) -> None:
    """Raise NoctactError for the first of `clips` where `wrong` holds, if there is one."""
    if wrong.any():
        raise NoctactError(
            f"{file}: clip {clips[wrong].iloc[0]!r} {fault}; evaluate this model again"
        )


def read_table(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV that has `columns` and a row or more; every cell is text ("NA" is a fine class).

    Raises NoctactError when it is missing, has no rows or lacks a column.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise NoctactError(f"{file}: missing; train and evaluate this model first") from None
    except ValueError as error:  # what pandas raises is of this kind, and bytes that are no UTF-8
        raise NoctactError(
            f"{file}: not a CSV file ({str(error).strip()}); make it again"
        ) from error
    for name in columns:
        if name not in table:
            raise NoctactError(f"{file}: column {name!r} is missing; make this file again")
    if table.empty:
        raise NoctactError(f"{file}: no rows; make this file again")
    return table


def read_numbers(table: pd.DataFrame, columns: Sequence[str], file: Path) -> pd.DataFrame:
    """Turn the text in `columns` of `table` into float64 (an empty cell into NaN).

    Raises NoctactError, which names `file`, for text that is no number.
    """
    try:
        numbers: pd.DataFrame = table[list(columns)].apply(pd.to_numeric).astype(float)
    except ValueError as error:
        raise NoctactError(f"{file}: {error}, where a number belongs") from error
    return numbers


def check_comparable(models: Sequence[Model]) -> None:
    """Raise NoctactError unless all share classes and clips, and no model has a seed twice."""
    for one, other in itertools.combinations(models, 2):
        if (one.name, one.seed) == (other.name, other.seed):
            raise NoctactError(
                f"{one.folder} and {other.folder}: both are {one.name} with seed {one.seed}; name "
                "one of them only"
            )
    first, *others = models
    for other in others:
        pair = f"{first.folder} and {other.folder}"
        if first.classes != other.classes:
            odd = sorted(set(first.classes) ^ set(other.classes)) or ["their order"]
            raise NoctactError(f"{pair}: different classes ({odd[0]}); train both on the same data")
        difference = sorted(evaluated_clips(first) ^ evaluated_clips(other))
        if difference:
            clip, split, true = difference[0]
            raise NoctactError(
                f"{pair}: evaluated on different clips; only one of them has {clip!r} of class "
                f"{true!r} in {split}; evaluate both on the same split"
            )


def evaluated_clips(model: Model) -> set[tuple[str, str, str]]:
    """The clips that `model` predicted, each as (video_id, split, true class)."""
    rows = model.predictions[["video_id", "split", "true"]]
    return set(rows.itertuples(index=False, name=None))


def scores(
    true: NDArray[np.intp],
    predicted: NDArray[np.intp],
    probabilities: NDArray[np.float64],
) -> dict[str, float]:
    """The METRICS of n clips: `true` and `predicted` (n,) class numbers, `probabilities` (n, k).

    - macro_f1: the mean of the F1 of those classes that have clips among `true`, so that it is a
      mean of the same classes for every model and 1 for a perfect one. To predict a class
      without clips costs the F1 of the class that was missed.
    - top3_accuracy: 1 by definition with three classes or fewer. Among equal probabilities
      scikit-learn ranks the later class first.
    - log_loss: natural logarithm; a probability of 0 counts as 2.2e-16, which costs 36.
    """
    labels = np.arange(probabilities.shape[1])
    return {
        "clips": len(true),
        "accuracy": accuracy_score(true, predicted),
        "macro_f1": f1_score(true, predicted, labels=np.unique(true), average="macro"),
        "top3_accuracy": top_k_accuracy_score(true, probabilities, k=3, labels=labels)
        if len(labels) > 3
        else 1.0,
        "log_loss": log_loss(true, probabilities, labels=labels),
    }


def class_numbers(model: Model, column: str) -> NDArray[np.intp]:
    """The labels in `column` of the predictions as places in the model's classes."""
    return pd.Index(model.classes).get_indexer(pd.Index(model.predictions[column]))


def summarise(models: Sequence[Model]) -> pd.DataFrame:
    """One row each of `models`, with the columns SUMMARY; NaN for a split without clips."""
    rows = []
    for model in models:
        row = {key: model.facts[key] for key in ("model", "seed", "parameters", *COSTS)}
        true, predicted = class_numbers(model, "true"), class_numbers(model, "predicted")
        for split in SPLITS:
            chosen = (model.predictions["split"] == split).to_numpy()
            if chosen.any():
                metrics = scores(true[chosen], predicted[chosen], model.probabilities[chosen])
                row |= {f"{split}_{name}": value for name, value in metrics.items()}
        rows.append(row)
    return pd.DataFrame(rows, columns=SUMMARY)


def shown_split(models: Sequence[Model]) -> str:
    """The split that matrices and ranking are of: test, or val where there is no test split."""
    return "test" if (models[0].predictions["split"] == "test").any() else "val"


def draw_confusion(seeds: Sequence[Model], split: str) -> Figure:
    """The confusion matrix of one model over the clips of `split`, summed over its `seeds`.

    The title names the split.
    """
    true, predicted = (
        np.concatenate(
            [
                class_numbers(model, column)[(model.predictions["split"] == split).to_numpy()]
                for model in seeds
            ]
        )
        for column in ("true", "predicted")
    )
    name, classes, n = seeds[0].name, seeds[0].classes, len(seeds)
    counts = confusion_matrix(true, predicted, labels=np.arange(len(classes)))
    title = "test" if split == "test" else "validation (there is no test split)"
    title += f", {n} seeds summed: {n} x " if n > 1 else ": "
    title += f"{len(true) // n:,} clips, accuracy {accuracy_score(true, predicted):.1%}"
    return figures.confusion(counts, classes, f"{name}\n{title}")


def write_figure(figure: Figure, stem: Path) -> None:
    """Write `figure` as `stem`.png and `stem`.svg."""
    for suffix in (".png", ".svg"):
        with replacing(stem.with_name(stem.name + suffix)) as partial:
            figures.save(figure, partial)


def as_text(summary: pd.DataFrame, split: str) -> str:
    """The summary as a plain table, the best accuracy in `split` first.

    Without the metrics of the other split: a terminal has no room for both.
    """
    other = [name for name in SPLITS if name != split]
    return (
        summary.drop(columns=[f"{name}_{metric}" for name in other for metric in METRICS])
        .sort_values(f"{split}_accuracy", ascending=False, kind="stable")
        .to_string(
            index=False,
            float_format="{:.4f}".format,
            formatters={
                "parameters": "{:,}".format,
                "train_seconds": "{:,.0f}".format,
                "peak_memory_mb": "{:,.0f}".format,
            },
        )
    )


def compare(folders: Sequence[Path], output: Path) -> None:
    """Compare the models in `folders`; write figures and summary.csv to `output`, print the table.

    Folders of one model with several seeds are one curve and one matrix, and a row each.
    Raises NoctactError for files that are missing or wrong, and models that can't be compared.
    """
    models = [read_model(folder) for folder in folders]
    check_comparable(models)
    split = shown_split(models)
    replicates: dict[str, list[Model]] = {}
    for model in models:
        replicates.setdefault(model.name, []).append(model)
    histories = {name: [seed.history for seed in seeds] for name, seeds in replicates.items()}
    write_figure(figures.curves(histories, "loss"), output / "loss")
    write_figure(figures.curves(histories, "accuracy"), output / "accuracy")
    for name, seeds in replicates.items():
        write_figure(draw_confusion(seeds, split), output / "confusion" / name)
    # The matrix of a model that is no longer compared would pass for a result of this run.
    for file in sorted((output / "confusion").glob("*.[ps][nv]g")):
        if file.stem not in replicates:
            file.unlink()
    summary = summarise([*itertools.chain.from_iterable(replicates.values())])
    with replacing(output / "summary.csv") as partial:
        summary.to_csv(partial, index=False, lineterminator="\n")
    print(as_text(summary, split))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument(
        "--models", type=Path, nargs="+", required=True, help="folders of trained models"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    compare(args.models, args.output)
