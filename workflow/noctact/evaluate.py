"""Stage evaluate: what a trained model predicts for the val and test clips."""

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd

from noctact import backend
from noctact.atomic import replacing
from noctact.batches import Batches
from noctact.errors import NoctactError
from noctact.shards import Shards
from noctact.tables import SPLIT, read_csv

import keras  # isort: skip - after noctact.backend, which chooses the backend


def load(file: Path) -> keras.Model:
    """The model in `file`, opened in safe mode: a model file may hold code, which is refused.

    Raises NoctactError when it can't be opened.
    """
    try:
        return keras.models.load_model(file, safe_mode=True, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise NoctactError(f"{file}: can't be opened as a Keras model: {reason}") from error


def predict(
    model: keras.Model, split: pd.DataFrame, shards: Shards, batch_size: int
) -> pd.DataFrame:
    """Predictions of the val and test clips in `split` (video_id, label, split), by video_id.

    Columns: video_id, split, true, predicted, and the probability (0 to 1) of each class as
    `p_<class>`. Raises NoctactError when the model was made for another number of classes or
    another shape of frames.
    """
    classes = sorted(split["label"].unique())
    clips = split[split["split"] != "train"].sort_values("video_id")
    expected = (*model.input_shape[1:4], model.output_shape[-1])
    if expected != (*shards.shape, len(classes)):
        raise NoctactError(
            f"the model takes (frames, height, width) {expected[:3]} and knows {expected[3]} "
            f"classes; the data has {shards.shape} and {len(classes)}: train it again"
        )
    targets = clips["label"].map(classes.index).tolist()
    batches = Batches(shards, clips["video_id"].tolist(), targets, len(classes), batch_size)
    probabilities = np.concatenate(
        [model.predict_on_batch(frames) for frames, _, _ in batches.epoch()]
    )
    columns = {f"p_{label}": probabilities[:, n] for n, label in enumerate(classes)}
    return pd.DataFrame(
        {
            "video_id": clips["video_id"].to_numpy(),
            "split": clips["split"].to_numpy(),
            "true": clips["label"].to_numpy(),
            "predicted": np.array(classes)[probabilities.argmax(axis=1)],
            **columns,
        }
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--model", type=Path, required=True, help="model.keras of stage train")
    parser.add_argument("--split", type=Path, required=True, help="CSV of stage split")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="HDF5 files")
    parser.add_argument("--batch-size", type=int, required=True, help="clips at once")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads to use")
    parser.add_argument("--output", type=Path, required=True, help="CSV to write")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    backend.configure(args.threads, seed=0)
    split = pd.DataFrame(read_csv(args.split, SPLIT), columns=SPLIT)
    table = predict(load(args.model), split, Shards(args.shards), args.batch_size)
    hits = (table["true"] == table["predicted"]).groupby(table["split"]).mean()
    scores = "  ".join(f"{split} accuracy {share:.4f}" for split, share in hits.items())
    print(f"{args.model.parent}  {scores}")
    with replacing(args.output) as partial:
        # Text in quotes, whatever a clip may be called.
        table.to_csv(partial, index=False, quoting=csv.QUOTE_NONNUMERIC)
