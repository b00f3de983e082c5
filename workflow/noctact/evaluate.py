"""Stage evaluate: what a trained model predicts for the val and test clips, and what it costs.

The clips are predicted three times: as they are, with their frames shuffled, and with the first
frame in place of all. A model that is as good without the order of the frames, or without any
motion, has not learnt from it.
"""

import argparse
import hashlib
import json
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noctact import backend
from noctact.atomic import discard, replacing
from noctact.batches import Batches
from noctact.cost import inference_ms, layer_table, total
from noctact.errors import NoctactError
from noctact.predictions import accuracies, evaluated, predictions, write
from noctact.shards import Shards
from noctact.tables import SPLIT, read_csv

import keras  # isort: skip - after noctact.backend, which chooses the backend

TIMED = (1, 32)  # clips a batch


def load(file: Path) -> keras.Model:
    """The model in `file`, opened in safe mode: a model file may hold code, which is refused.

    Raises NoctactError when it can't be opened.
    """
    try:
        return keras.models.load_model(file, safe_mode=True, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise NoctactError(f"{file}: can't be opened as a Keras model: {reason}") from error


def permutation(video_id: str, count: int) -> NDArray[np.int64]:
    """An order of `count` frames, drawn for the clip `video_id`: the same in each run.

    Each order is as likely as the others, but for the one that they have, which is left out (as
    long as there is another). int64 (count,).
    """
    digest = hashlib.sha256(video_id.encode()).digest()
    random = np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest)))
    unchanged = np.arange(count)
    order = random.permutation(count)
    while count > 1 and np.array_equal(order, unchanged):
        order = random.permutation(count)
    return order


def shuffled(frames: NDArray[np.uint8], video_ids: list[str]) -> NDArray[np.uint8]:
    """`frames` (clips, count, height, width, 3), those of each clip in its `permutation`."""
    return np.stack(
        [
            clip[permutation(video_id, len(clip))]
            for clip, video_id in zip(frames, video_ids, strict=True)
        ]
    )


def first_frame(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`frames` (clips, count, height, width, 3), each replaced by the first one of its clip."""
    return np.repeat(frames[:, :1], frames.shape[1], axis=1)


def check_fit(model: keras.Model, shards: Shards, classes: list[str]) -> None:
    """Raise NoctactError when `model` was made for frames or classes other than these."""
    expected = (*model.input_shape[1:4], model.output_shape[-1])
    if expected != (*shards.shape, len(classes)):
        raise NoctactError(
            f"the model takes (frames, height, width) {expected[:3]} and knows {expected[3]} "
            f"classes; the data has {shards.shape} and {len(classes)}: train it again"
        )


def predict(
    model: keras.Model, clips: pd.DataFrame, classes: list[str], shards: Shards, batch_size: int
) -> dict[str, pd.DataFrame]:
    """The tables `predictions`, `shuffled` and `first_frame` of `clips` (video_id, label, split).

    Each has the columns of `noctact.predictions.predictions`.
    """
    targets = clips["label"].map(classes.index).tolist()
    batches = Batches(shards, clips["video_id"].tolist(), targets, len(classes), batch_size)
    waiting = iter(clips["video_id"])
    found: dict[str, list[NDArray[np.float32]]] = {
        name: [] for name in ("predictions", "shuffled", "first_frame")
    }
    for frames, _, _ in batches.epoch():
        video_ids = list(islice(waiting, len(frames)))
        found["predictions"].append(model.predict_on_batch(frames))
        found["shuffled"].append(model.predict_on_batch(shuffled(frames, video_ids)))
        found["first_frame"].append(model.predict_on_batch(first_frame(frames)))
    return {
        name: predictions(clips, classes, np.concatenate(parts)) for name, parts in found.items()
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--model", type=Path, required=True, help="model.keras of stage train")
    parser.add_argument("--split", type=Path, required=True, help="CSV of stage split")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="HDF5 files")
    parser.add_argument("--batch-size", type=int, required=True, help="clips at once")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads to use")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for predictions.csv, shuffled.csv, first_frame.csv and cost.json",
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="of the training, which is over: removed at the end"
    )


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    backend.configure(args.threads, seed=0)
    split = pd.DataFrame(read_csv(args.split, SPLIT), columns=SPLIT)
    clips, classes = evaluated(split), sorted(split["label"].unique())
    shards = Shards(args.shards)
    model = load(args.model)
    check_fit(model, shards, classes)
    for name, table in predict(model, clips, classes, shards, args.batch_size).items():
        write(table, args.output / f"{name}.csv")
        print(f"{args.model.parent}  {name}  {accuracies(table)}")
    layers = layer_table(model)
    cost = {
        "layers": layers,
        "flops": total(row["flops"] for row in layers),
        "model_mb": args.model.stat().st_size / 1e6,
        "inference_ms": {
            size: inference_ms(model, shards.read([*islice(cycle(clips["video_id"]), size)]))
            for size in TIMED
        },
    }
    with replacing(args.output / "cost.json") as partial:
        partial.write_text(json.dumps(cost, indent=2) + "\n", encoding="utf-8")
    if args.checkpoint:
        discard(args.checkpoint)
