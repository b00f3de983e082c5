"""The table of what was predicted for the val and test clips, by a model or without one."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noctact.atomic import replacing
from noctact.errors import NoctactError


def evaluated(split: pd.DataFrame) -> pd.DataFrame:
    """The val and test clips of `split` (video_id, label, split), by video_id.

    Raises NoctactError when there are none.
    """
    clips = split[split["split"] != "train"].sort_values("video_id")
    if clips.empty:
        raise NoctactError("the split has no val or test clips; raise split.val in the config")
    return clips


def predictions(
    clips: pd.DataFrame, classes: Sequence[str], probabilities: NDArray[np.floating]
) -> pd.DataFrame:
    """One row each of `clips` (video_id, label, split): video_id, split, true, predicted, and the
    probability (0 to 1) of each class as `p_<class>`.

    `probabilities` is (clips, classes); the class of the highest is predicted, the first of equals.
    """
    return pd.DataFrame(
        {
            "video_id": clips["video_id"].to_numpy(),
            "split": clips["split"].to_numpy(),
            "true": clips["label"].to_numpy(),
            "predicted": np.array(classes)[probabilities.argmax(axis=1)],
            **{f"p_{label}": probabilities[:, n] for n, label in enumerate(classes)},
        }
    )


def write(table: pd.DataFrame, file: Path) -> None:
    """Write a table of `predictions`; text in quotes, whatever a clip may be called."""
    with replacing(file) as partial:
        table.to_csv(partial, index=False, quoting=csv.QUOTE_NONNUMERIC)


def accuracies(table: pd.DataFrame) -> str:
    """The accuracy on val and test as a text."""
    hits = (table["true"] == table["predicted"]).groupby(table["split"]).mean()
    return "  ".join(f"{split} accuracy {share:.4f}" for split, share in hits.items())
