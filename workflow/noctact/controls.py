"""Stage controls: what simple rules predict for the val and test clips, without a network.

A model that learns from motion must beat them:

- majority: the most frequent class of the train clips, for every clip.
- mean_frame: logistic regression on the mean over the frames of a clip, shrunk to a thumbnail. It
  sees the scene and where bodies are, and nothing of the order of the frames.
- metadata: the classes of the nearest clips in width, height, number of frames and frame rate. It
  sees no pixel: what it gets right tells of how the clips were made.
"""

import argparse
import math
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from noctact.batches import Batches
from noctact.errors import NoctactError
from noctact.predictions import accuracies, evaluated, predictions, write
from noctact.shards import Shards
from noctact.tables import MANIFEST, SPLIT, read_csv

BATCH = 4  # clips that are read at once
THUMBNAIL = 32  # pixels, the width
C = 0.01  # inverse strength of the L2 penalty: there are fewer clips than features
ITERATIONS = 1000
NEIGHBOURS = 5
METADATA = ("width", "height", "n_decoded", "rate")
UNKNOWN_RATE = 0.0


def thumbnail(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean of `frames` (count, height, width, 3) over time, shrunk to at most 32 pixels width.

    float32 (rows, columns, 3), 0 to 255; each value is the mean of the area that it stands for.
    """
    mean = frames.mean(axis=0, dtype=np.float32)
    height, width = mean.shape[:2]
    columns = min(width, THUMBNAIL)
    rows = max(1, round(height * columns / width))
    return np.asarray(cv2.resize(mean, (columns, rows), interpolation=cv2.INTER_AREA))


def mean_frames(shards: Shards, video_ids: list[str]) -> NDArray[np.float32]:
    """The `thumbnail` of each of `video_ids` in one row, float32 (clips, features).

    Raises NoctactError for a clip that is not in the shards.
    """
    batches = Batches(shards, video_ids, [0] * len(video_ids), 1, BATCH)
    return np.stack(
        [thumbnail(clip).ravel() for frames, _, _ in batches.epoch() for clip in frames]
    )


def metadata(manifest: Path, video_ids: list[str]) -> NDArray[np.float64]:
    """METADATA of `video_ids`, float64 (clips, 4): pixels, pixels, frames, frames a second.

    A rate that isn't known is 0. Raises NoctactError for a clip that is not in the manifest, and a
    cell that is no number.
    """
    rows = {row["video_id"]: row for row in read_csv(manifest, MANIFEST)}
    missing = next((video_id for video_id in video_ids if video_id not in rows), None)
    if missing is not None:
        raise NoctactError(f"{manifest}: no clip {missing!r}; run stage audit again")
    return np.array(
        [[_number(manifest, rows[video_id], key) for key in METADATA] for video_id in video_ids]
    )


def _number(manifest: Path, row: dict[str, str], key: str) -> float:
    if key == "rate" and not row[key]:
        return UNKNOWN_RATE
    try:
        value = float(row[key])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise NoctactError(
            f"{manifest}: clip {row['video_id']!r} has the {key} {row[key]!r}, which is no number; "
            "run stage audit again"
        )
    return value


def classifiers(clips: int) -> dict[str, ClassifierMixin]:
    """The classifier of each control, for so many train clips."""
    return {
        "majority": DummyClassifier(strategy="prior"),
        "mean_frame": make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=ITERATIONS)),
        "metadata": make_pipeline(StandardScaler(), KNeighborsClassifier(min(NEIGHBOURS, clips))),
    }


def probabilities(
    classifier: ClassifierMixin,
    known: NDArray[np.floating],
    labels: NDArray[np.intp],
    unknown: NDArray[np.floating],
    classes: int,
) -> NDArray[np.float64]:
    """Train `classifier` on `known` (clips, features), of the class numbers `labels` (clips,), and
    predict `unknown`: float64 (clips, classes).

    A class without clips among `known` gets 0. Prints what scikit-learn warns of, such as that the
    training did not converge.
    """
    with warnings.catch_warnings(record=True, action="always") as caught:
        classifier.fit(known, labels)
    for warning in caught:
        print(*str(warning.message).split())
    found = np.zeros((len(unknown), classes))
    found[:, classifier.classes_] = classifier.predict_proba(unknown)
    return found


def control(split: pd.DataFrame, manifest: Path, shards: Shards) -> dict[str, pd.DataFrame]:
    """The predictions of each control, trained on the train clips of `split`, for val and test.

    `split` has video_id, label, split. Raises NoctactError when there is nothing to predict or to
    train on, and for clips that are not in `manifest` or `shards`.
    """
    train, clips = split[split["split"] == "train"].sort_values("video_id"), evaluated(split)
    if train["label"].nunique() < 2:
        raise NoctactError(
            "the split has train clips of fewer than two classes; lower split.val or split.test"
        )
    classes = sorted(split["label"].unique())
    labels = pd.Index(classes).get_indexer(pd.Index(train["label"]))
    video_ids = [*train["video_id"], *clips["video_id"]]
    facts = metadata(manifest, video_ids)
    features: dict[str, NDArray[Any]] = {
        "majority": facts,  # which it does not look at
        "mean_frame": mean_frames(shards, video_ids),
        "metadata": facts,
    }
    tables = {}
    for name, classifier in classifiers(len(train)).items():
        known, unknown = np.split(features[name], [len(train)])
        found = probabilities(classifier, known, labels, unknown, len(classes))
        tables[name] = predictions(clips, classes, found)
    return tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--split", type=Path, required=True, help="CSV of stage split")
    parser.add_argument("--manifest", type=Path, required=True, help="CSV of stage audit")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="HDF5 files")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for majority.csv, mean_frame.csv and metadata.csv",
    )


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    split = pd.DataFrame(read_csv(args.split, SPLIT), columns=SPLIT)
    for name, table in control(split, args.manifest, Shards(args.shards)).items():
        write(table, args.output / f"{name}.csv")
        print(f"{name:<12}{accuracies(table)}")
