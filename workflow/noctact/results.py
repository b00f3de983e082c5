"""What trainings and controls left in a run's folder, read and checked for a comparison."""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noctact.errors import NoctactError
from noctact.tables import HISTORY, SPLIT

PREDICTIONS = ["video_id", "split", "true", "predicted"]
TIMES = ["seconds_per_step", "train_seconds", "peak_memory_mb"]
SPLITS = ["val", "test"]
# What needs no network, and what a reader calls it.
BASELINES = {
    "majority": "always the most frequent class",
    "mean_frame": "logistic regression on the mean frame",
    "metadata": "nearest neighbours in size, length and frame rate",
}
# A trained model again, with the order or the motion taken out of each clip.
ALTERED = {"shuffled": "frames shuffled", "first_frame": "first frame only"}


class Predictions(NamedTuple):
    """What was predicted for the val and test clips, sorted by video_id.

    `clips` has the columns PREDICTIONS. The others are arrays with a row for each: `true` and
    `predicted` are class numbers, `probabilities` is (clips, classes), float64 in 0..1.
    """

    file: Path
    clips: pd.DataFrame
    true: NDArray[np.intp]
    predicted: NDArray[np.intp]
    probabilities: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each clip was given its true class."""
        return np.equal(self.true, self.predicted)

    def of(self, split: str) -> "Predictions":
        """The part that is of the clips in `split`."""
        chosen = (self.clips["split"] == split).to_numpy()
        return Predictions(
            self.file,
            self.clips[chosen].reset_index(drop=True),
            self.true[chosen],
            self.predicted[chosen],
            self.probabilities[chosen],
        )


def pooled(predictions: Sequence[Predictions]) -> Predictions:
    """The predictions of several seeds in one, so that each clip comes once a seed."""
    files, clips, *arrays = zip(*predictions, strict=True)
    return Predictions(files[0], pd.concat(clips), *map(np.concatenate, arrays))


class Model(NamedTuple):
    """What one training left in its folder, checked.

    `name` is the model's; trainings of one model differ in `seed`. `history` has the columns of
    HISTORY, one row an epoch. `altered` has the predictions for clips of shuffled frames and of
    the first frame repeated. `facts` is the content of run.json, `cost` that of cost.json.
    """

    folder: Path
    name: str
    seed: int
    classes: list[str]
    history: pd.DataFrame
    predictions: Predictions
    altered: dict[str, Predictions]
    facts: dict[str, Any]
    cost: dict[str, Any]


def read_model(folder: Path) -> Model:
    """Read what stages train and evaluate left in `folder`.

    Raises NoctactError when a file is missing, is empty or holds what it should not.
    """
    facts = read_facts(folder / "run.json")
    classes = facts["classes"]
    return Model(
        folder=folder,
        name=facts["model"],
        seed=facts["seed"],
        classes=classes,
        history=read_history(folder / "history.csv"),
        predictions=read_predictions(folder / "predictions.csv", classes),
        altered={name: read_predictions(folder / f"{name}.csv", classes) for name in ALTERED},
        facts=facts,
        cost=read_cost(folder / "cost.json"),
    )


def trained(run: Path) -> list[str]:
    """The folders in models/ of `run` that hold an evaluated training, sorted.

    Raises NoctactError when there is none.
    """
    models = run / "models"
    names = [
        str(file.parent.relative_to(models))
        for file in models.rglob("predictions.csv")
        if file.with_name("run.json").exists()  # a failed training takes it away
    ]
    if not names:
        raise NoctactError(f"{models}: no evaluated model; train and evaluate one first")
    return sorted(names)


def read_object(file: Path, how: str) -> dict[str, Any]:
    """Read a JSON object; raises NoctactError, which ends in `how` to make it again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoctactError(f"{file}: missing; {how} first") from None
    except ValueError as error:
        raise NoctactError(f"{file}: not JSON ({error}); {how} again") from error
    if not isinstance(content, dict):
        raise NoctactError(f"{file}: not a JSON object; {how} again")
    return content


def read_cost(file: Path) -> dict[str, Any]:
    """Read cost.json: `flops` (None if not known), `model_mb`, and `inference_ms` by batch size."""
    cost = read_object(file, "evaluate this model")
    times = cost.get("inference_ms")
    numbers = [cost.get("model_mb")]
    numbers += [times.get(size) if isinstance(times, dict) else None for size in ("1", "32")]
    if "flops" not in cost or not all(isinstance(number, int | float) for number in numbers):
        raise NoctactError(f"{file}: a number is missing; evaluate this model again")
    return cost


def read_facts(file: Path) -> dict[str, Any]:
    """Read run.json: at least `model`, the numbers of the summary, and two `classes` or more."""
    facts = read_object(file, "train this model")
    if not isinstance(facts.get("model"), str):
        raise NoctactError(f"{file}: key 'model' is no name; train this model again")
    for key in ["seed", "parameters", *TIMES]:
        if not isinstance(facts.get(key), int | float):
            raise NoctactError(f"{file}: key {key!r} is no number; train this model again")
    if not isinstance(facts.get("settings"), dict):
        raise NoctactError(f"{file}: key 'settings' is missing; train this model again")
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


def read_predictions(file: Path, classes: Sequence[str]) -> Predictions:
    """Read predictions.csv, or another file with its columns, by the classes of run.json.

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
    order = np.argsort(clips.to_numpy(), kind="stable")
    true, predicted = (
        pd.Index(classes).get_indexer(pd.Index(table[name])) for name in ("true", "predicted")
    )
    return Predictions(
        file,
        table[PREDICTIONS].iloc[order].reset_index(drop=True),
        true[order],
        predicted[order],
        (probabilities / sums)[order],
    )


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


def read_baselines(folder: Path, classes: Sequence[str]) -> dict[str, Predictions]:
    """Read what stage controls left in `folder`, by the name of the control."""
    return {name: read_predictions(folder / f"{name}.csv", classes) for name in BASELINES}


class Recordings:
    """The recording (group) of each clip, from the CSV of stage split.

    `leaking` is how many recordings lie in more than one split.
    """

    def __init__(self, split: Path) -> None:
        """`split` is the CSV of stage split; raises NoctactError when it can't be read."""
        self._file = split
        table = read_table(split, SPLIT)
        self._of = dict(zip(table["video_id"], table["group"], strict=True))
        self._clips = table["group"].value_counts().to_dict()
        self.leaking = int((table.groupby("group")["split"].nunique() > 1).sum())

    def of(self, predictions: Predictions) -> list[str]:
        """The recording of each clip that was predicted.

        Raises NoctactError when the split lacks one.
        """
        clips = predictions.clips["video_id"]
        unknown = sorted(set(clips) - set(self._of))
        if unknown:
            raise NoctactError(
                f"{self._file}: no clip {unknown[0]!r}, which {predictions.file} has; evaluate the "
                "models again"
            )
        return [self._of[clip] for clip in clips]

    def alone(self, groups: Sequence[str]) -> int:
        """How many of `groups`, one a clip, have no other clip."""
        return sum(self._clips[group] == 1 for group in groups)


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
        if first.classes != other.classes:
            odd = sorted(set(first.classes) ^ set(other.classes)) or ["their order"]
            raise NoctactError(
                f"{first.folder} and {other.folder}: different classes ({odd[0]}); train both on "
                "the same data"
            )
        check_same_clips(first.predictions, other.predictions)
    for model in models:
        for altered in model.altered.values():
            check_same_clips(model.predictions, altered)


def check_same_clips(one: Predictions, other: Predictions) -> None:
    """Raise NoctactError unless both are of the same clips, splits and true classes."""
    different = sorted(evaluated(one) ^ evaluated(other))
    if different:
        clip, split, true = different[0]
        raise NoctactError(
            f"{one.file} and {other.file}: evaluated on different clips; only one of them has "
            f"{clip!r} of class {true!r} in {split}; evaluate both on the same split"
        )


def evaluated(predictions: Predictions) -> set[tuple[str, str, str]]:
    """The clips that were predicted, each as (video_id, split, true class)."""
    rows = predictions.clips[["video_id", "split", "true"]]
    return set(rows.itertuples(index=False, name=None))


def shown_split(predictions: Predictions) -> str:
    """The split that matrices and ranking are of: test, or val where there is no test split."""
    return "test" if (predictions.clips["split"] == "test").any() else "val"


def by_name(models: Iterable[Model]) -> dict[str, list[Model]]:
    """The trainings of each model, one a seed, in the order given."""
    trainings: dict[str, list[Model]] = {}
    for model in models:
        trainings.setdefault(model.name, []).append(model)
    return trainings
