"""Stage train: one model, trained on the train clips and watched on the val clips."""

import argparse
import json
import math
import platform
import re
import resource
import shutil
import sys
import time
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from noctact import backend
from noctact.atomic import replacing
from noctact.batches import Batches
from noctact.errors import NoctactError
from noctact.models import build_model
from noctact.shards import Shards
from noctact.tables import HISTORY, SPLIT, read_csv

import keras  # isort: skip - after noctact.backend, which chooses the backend

LOSSES = {
    "msle": keras.losses.MeanSquaredLogarithmicError,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
}
OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


class Settings(NamedTuple):
    """How a model is trained; config/README.md says what each means."""

    loss: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    dropout: float
    units: list[int]
    precision: str
    seed: int


class Progress(keras.callbacks.Callback):
    """A line an epoch, and one every half minute within, with the time that is left.

    Writes history.csv anew after every epoch, and keeps the seconds of each step.
    """

    EVERY = 30  # seconds

    def __init__(self, model_name: str, epochs: int, clips: int, history: Path) -> None:
        super().__init__()
        self._name, self._epochs, self._clips, self._history = model_name, epochs, clips, history
        self.rows: list[dict[str, float]] = []
        self.step_seconds: list[float] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._began = self._shown = time.monotonic()
        self._steps = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_began = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._step_began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        self.step_seconds.append(now - self._step_began)
        self._steps += 1
        if now - self._shown > self.EVERY:
            steps = self.params["steps"]
            self._show(f"step {batch + 1}/{steps}", logs or {}, self._steps / steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        self.rows.append({"epoch": epoch + 1} | {name: logs[name] for name in HISTORY[1:]})
        with replacing(self._history) as partial:
            pd.DataFrame(self.rows, columns=HISTORY).to_csv(partial, index=False)
        rate = self._clips / (time.monotonic() - self._epoch_began)
        self._show(f"{rate:.1f} clips/s", logs, epoch + 1)
        if not math.isfinite(logs["loss"]):
            raise NoctactError(
                f"{self._name}: the loss is {logs['loss']} in epoch {epoch + 1}; lower "
                "learning_rate, or use precision float32"
            )

    def _show(self, detail: str, logs: dict[str, float], epochs_done: float) -> None:
        self._shown = time.monotonic()
        left = (self._shown - self._began) * (self._epochs / epochs_done - 1)
        figures = "  ".join(f"{name} {logs[name]:.4f}" for name in HISTORY[1:] if name in logs)
        print(
            f"{self._name}  epoch {math.ceil(epochs_done)}/{self._epochs}  {figures}  {detail}  "
            f"{timedelta(seconds=round(left))} left",
            flush=True,
        )


def compiled_model(
    name: str, frames: tuple[int, int, int], classes: int, settings: Settings
) -> keras.Model:
    """The model `name`, ready for `fit`, in the precision of `settings`."""
    keras.mixed_precision.set_dtype_policy(settings.precision)
    model = build_model(name, frames, classes, settings.units, settings.dropout)
    model.compile(
        optimizer=OPTIMIZERS[settings.optimizer](settings.learning_rate),
        loss=LOSSES[settings.loss](),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        # XLA takes longer on the convolution than TensorFlow's own kernels.
        jit_compile=False,
    )
    return model


def save_model(model: keras.Model, file: Path) -> None:
    """Save `model` without its optimizer, to open with `keras.models.load_model` alone.

    Same weights, same bytes: see `reproducible`.
    """
    with replacing(file) as partial:
        # A model of the same layers that was never compiled has no optimizer to save, which for
        # Adam is twice the size of the weights.
        keras.Model(model.inputs, model.outputs, name=model.name).save(partial)
        with (
            zipfile.ZipFile(partial) as saved,
            replacing(partial) as rewritten,
            zipfile.ZipFile(rewritten, "w") as archive,
        ):
            for name in sorted(saved.namelist()):
                # ZipInfo dates a member to 1980 unless told otherwise.
                with (
                    saved.open(name) as source,
                    archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as target,
                ):
                    if name.endswith(".json"):
                        target.write(reproducible(source.read().decode()).encode())
                    else:
                        shutil.copyfileobj(source, target)


def reproducible(text: str) -> str:
    """A JSON member of a .keras file without what changes from one saving to the next.

    That is the time of day, and the memory addresses by which shared objects are told apart: they
    become numbers in the order of appearance.
    """
    numbers: dict[str, int] = {}
    text = re.sub(
        r'("shared_object_id": )(\d+)',
        lambda found: found[1] + str(numbers.setdefault(found[2], len(numbers))),
        text,
    )
    return re.sub(r'("date_saved": )"[^"]*"', r'\1""', text)


def hardware() -> dict[str, Any]:
    """What the training ran on."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "platform": platform.platform(),
        "cpu": names[0] if names else platform.machine(),
        "devices": keras.distribution.list_devices(),
    }


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far, in MB (10**6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def train(
    name: str, settings: Settings, split: pd.DataFrame, shards: Shards, threads: int, output: Path
) -> None:
    """Train the model `name`; write model.keras, history.csv and run.json to the folder `output`.

    `split` has the columns video_id, label, split. Raises NoctactError when there is no train or
    val clip, and when the loss is not finite.
    """
    backend.configure(threads, settings.seed)
    classes = sorted(split["label"].unique())
    numbers = {label: number for number, label in enumerate(classes)}
    parts = {part: split[split["split"] == part] for part in ("train", "val")}
    for part, clips in parts.items():
        if clips.empty:
            raise NoctactError(f"the split has no {part} clips; raise split.{part} in the config")
    batches = {
        part: Batches(
            shards,
            clips["video_id"].tolist(),
            clips["label"].map(numbers).tolist(),
            len(classes),
            settings.batch_size,
            settings.seed if part == "train" else None,
        )
        for part, clips in parts.items()
    }
    model = compiled_model(name, shards.shape, len(classes), settings)
    output.mkdir(parents=True, exist_ok=True)
    progress = Progress(name, settings.epochs, len(parts["train"]), output / "history.csv")
    counts = {part: len(clips) for part, clips in parts.items()}
    print(f"{name}  {counts['train']} clips to train on, {counts['val']} to watch", flush=True)
    began = time.monotonic()
    model.fit(
        batches["train"],
        validation_data=batches["val"],
        epochs=settings.epochs,
        shuffle=False,  # Batches shuffles, by seed and epoch
        callbacks=[progress],
        verbose=0,
    )
    seconds = time.monotonic() - began
    save_model(model, output / "model.keras")
    facts = {
        "model": name,
        "parameters": int(sum(np.prod(weight.shape) for weight in model.trainable_weights)),
        # The first step also traces the graph.
        "seconds_per_step": float(np.median(progress.step_seconds[1:] or progress.step_seconds)),
        "train_seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "threads": threads,
        "seed": settings.seed,
        "settings": settings._asdict(),
        "classes": classes,
        "frames": shards.shape,
        "clips": counts,
        "versions": {"python": platform.python_version(), "numpy": np.__version__}
        | backend.versions(),
        "hardware": hardware(),
    }
    with replacing(output / "run.json") as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")


def parse_settings(text: str) -> Settings:
    """Settings from JSON. Raises NoctactError when a key is missing or unknown, or names no loss
    or optimizer that there is.
    """
    try:
        settings = Settings(**json.loads(text))
    except (json.JSONDecodeError, TypeError) as error:
        raise NoctactError(f"--settings: {error}; needed: {', '.join(Settings._fields)}") from error
    for name, known in ((settings.loss, LOSSES), (settings.optimizer, OPTIMIZERS)):
        if name not in known:
            raise NoctactError(f"--settings: no {name!r}; there are {', '.join(known)}")
    return settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--model", required=True, help="simple_rnn, lstm, gru, cnn_lstm, ...")
    parser.add_argument("--settings", required=True, help="JSON: loss, optimizer, ...")
    parser.add_argument("--split", type=Path, required=True, help="CSV of stage split")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="HDF5 files")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads to use")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = parse_settings(args.settings)
    split = pd.DataFrame(read_csv(args.split, SPLIT), columns=SPLIT)
    shards = Shards(args.shards)
    train(args.model, settings, split, shards, args.threads, args.output)
