"""The training of one model: epochs of steps, a checkpoint after each, and what is left at the end.

Nothing here is of one Keras backend; `noctact.backend` is.
"""

import gc
import hashlib
import json
import math
import platform
import re
import shutil
import time
import zipfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tensorboard.summary import Writer

from noctact import backend, checkpoint
from noctact.atomic import discard, replacing
from noctact.augment import Augmentation
from noctact.batches import Batches
from noctact.errors import NoctactError
from noctact.models import build_model
from noctact.models.layers import to_stock
from noctact.shards import Shards
from noctact.sources import code
from noctact.tables import HISTORY, SPLIT, read_csv
from noctact.train import Job, Settings
from noctact.workers import peak_mb

import keras  # isort: skip - after noctact.backend, which chooses the backend

LOSSES = {
    "msle": keras.losses.MeanSquaredLogarithmicError,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
}
OPTIMIZERS = {
    "adam": backend.adam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}

Row = dict[str, float]  # of history.csv


class Progress:
    """A line an epoch, and one every half minute within, with the time that is left."""

    EVERY = 30  # seconds

    def __init__(self, name: str, epochs: int, done: int, clips: int, steps: int) -> None:
        """`done` of the `epochs` are history; an epoch has `clips` clips in `steps` steps."""
        self._name, self._epochs, self._done = name, epochs, done
        self._clips, self._steps = clips, steps
        self._first = done
        self._began = self._shown = time.monotonic()

    def begin_epoch(self) -> None:
        """An epoch begins."""
        self._epoch_began = time.monotonic()

    def step(self, number: int, logs: Mapping[str, float]) -> None:
        """Step `number`, from 1, of the present epoch is done."""
        if time.monotonic() - self._shown > self.EVERY:
            self._show(f"step {number}/{self._steps}", logs, self._done + number / self._steps)

    def end_epoch(self, row: Mapping[str, float]) -> None:
        """An epoch is done, validation too."""
        rate = self._clips / (time.monotonic() - self._epoch_began)
        self._done += 1
        self._show(f"{rate:.1f} clips/s", row, self._done)

    def _show(self, detail: str, logs: Mapping[str, float], done: float) -> None:
        self._shown = time.monotonic()
        left = (self._shown - self._began) / (done - self._first) * (self._epochs - done)
        figures = "  ".join(f"{name} {logs[name]:.4f}" for name in HISTORY[1:] if name in logs)
        print(
            f"{self._name}  epoch {math.ceil(done)}/{self._epochs}  {figures}  {detail}  "
            f"{timedelta(seconds=round(left))} left",
            flush=True,
        )


class Events:
    """Loss and accuracy of each epoch, for TensorBoard: one run to train, one to validate."""

    def __init__(self, folder: Path, history: list[Row]) -> None:
        """Begin both runs in `folder` anew with `history`, so that no epoch is there twice."""
        runs = {"": folder / "train", "val_": folder / "validation"}
        for run in runs.values():
            discard(run)
        self._writers = {prefix: Writer(str(run)) for prefix, run in runs.items()}
        for row in history:
            self.add(row)

    def add(self, row: Row) -> None:
        """Write one epoch."""
        for prefix, writer in self._writers.items():
            for measure in ("loss", "accuracy"):
                writer.add_scalar(f"epoch_{measure}", row[prefix + measure], int(row["epoch"]))
            writer.flush()

    def close(self) -> None:
        """Write what waits."""
        for writer in self._writers.values():
            writer.close()


class Means:
    """Means over the clips of an epoch, so far: Keras gives those of one batch."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(("loss", "accuracy"), 0.0)
        self._clips = 0

    def with_batch(self, logs: Mapping[str, Any], clips: int) -> Row:
        """The means when `logs`, those of a batch of so many clips, are counted in."""
        self._clips += clips
        for name in self._sums:
            self._sums[name] += float(logs[name]) * clips
        return {name: total / self._clips for name, total in self._sums.items()}


class Training:
    """A model on its way: what a checkpoint holds, and the steps that change it."""

    def __init__(self, job: Job, model: keras.Model, batches: dict[str, Batches]) -> None:
        """At the start of `job`; `model` is that of `compiled_model`, `batches` are those of train
        and val.
        """
        self.job, self.settings, self.model, self.batches = job, job.settings, model, batches
        self.history: list[Row] = []
        self.best: list[NDArray[Any]] = []  # weights, kept for `checkpoint: best` only
        # Over all starts:
        self.starts = 1
        self.step_seconds: list[float] = []
        self.seconds = self.waited = 0.0

    def variables(self) -> dict[str, Any]:
        """All that changes from step to step."""
        return {
            "model": self.model.variables,  # the states of the dropout's random numbers too
            "optimizer": self.model.optimizer.variables,
            "best": self.best,
        }

    def save(self, identity: str) -> None:
        """Write the checkpoint."""
        facts = {
            "history": self.history,
            "starts": self.starts,
            "step_seconds": self.step_seconds,
            "seconds": self.seconds,
            "waited": self.waited,
        }
        checkpoint.write(self.job.checkpoint, identity, facts, self.variables())

    def restore(self, identity: str) -> bool:
        """Go back, or forth, to the checkpoint; whether there is one."""
        variables = {name: self.variables()[name] for name in ("model", "optimizer")}
        saved = checkpoint.read(self.job.checkpoint, identity, variables)
        if saved is None:
            return False
        self.best = saved.rest.get("best", [])
        self.history = saved.facts["history"]
        self.starts = saved.facts["starts"] + 1
        self.step_seconds = saved.facts["step_seconds"]
        self.seconds, self.waited = saved.facts["seconds"], saved.facts["waited"]
        return True

    def is_done(self) -> bool:
        """Whether the epochs are over, or `early_stopping` says so."""
        epochs, patience = len(self.history), self.settings.early_stopping
        if epochs >= self.settings.epochs:
            return True
        return patience is not None and epochs > 0 and epochs - best_epoch(self.history) >= patience

    def epoch(self, progress: Progress) -> None:
        """Train one epoch, and validate."""
        began, waited = time.monotonic(), self.batches["train"].waited
        progress.begin_epoch()
        row = self.steps(progress)
        self.waited += self.batches["train"].waited - waited
        row |= {f"val_{name}": value for name, value in self.validate().items()}
        must_be_finite(row, "val_loss")
        self.history.append(row)
        if self.settings.checkpoint == "best" and best_epoch(self.history) == len(self.history):
            self.best = self.model.get_weights()
        self.seconds += time.monotonic() - began
        progress.end_epoch(row)

    def steps(self, progress: Progress) -> Row:
        """Loss and accuracy on the train clips, while going through them."""
        means = Means()
        row: Row = {"epoch": len(self.history) + 1}
        batches = self.batches["train"].epoch(len(self.history))
        for number, (frames, targets, weights) in enumerate(batches, 1):
            step_began = time.monotonic()
            logs = self.model.train_on_batch(
                frames, targets, sample_weight=weights, return_dict=True
            )
            self.step_seconds.append(time.monotonic() - step_began)
            row |= means.with_batch(logs, len(frames))
            must_be_finite(row, "loss")
            progress.step(number, row)
        return row

    def validate(self) -> Row:
        """Loss and accuracy on the val clips."""
        means, row = Means(), {}
        for frames, targets, _ in self.batches["val"].epoch():
            logs = self.model.test_on_batch(frames, targets, return_dict=True)
            row = means.with_batch(logs, len(frames))
        return row


def best_epoch(history: list[Row]) -> int:
    """The epoch, from 1, with the lowest val_loss; the earliest of equals."""
    return 1 + min(range(len(history)), key=lambda number: history[number]["val_loss"])


def must_be_finite(row: Row, measure: str) -> None:
    """Raise FloatingPointError when `measure` is NaN or infinite."""
    if not math.isfinite(row[measure]):
        raise FloatingPointError(f"{measure} is {row[measure]} in epoch {row['epoch']}")


def compiled_model(
    name: str, frames: tuple[int, int, int], classes: int, settings: Settings, steps: int
) -> keras.Model:
    """The model `name`, ready to train, in the precision of `settings`; `steps` an epoch.

    Raises NoctactError for a loss or optimizer that there is not, and for mixed_float16 without a
    GPU.
    """
    known: tuple[tuple[str, dict[str, Any]], ...] = (
        (settings.loss, LOSSES),
        (settings.optimizer, OPTIMIZERS),
    )
    for choice, choices in known:
        if choice not in choices:
            raise NoctactError(f"--settings: no {choice!r}; there are {', '.join(choices)}")
    if settings.precision == "mixed_float16" and not backend.has_gpu():
        raise NoctactError(
            f"{name}: precision mixed_float16 needs a GPU, and there is none; use float32, or "
            "mixed_bfloat16 on a CPU with bfloat16 instructions"
        )
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, settings.epochs * steps)
    keras.mixed_precision.set_dtype_policy(settings.precision)
    model = build_model(name, frames, classes, settings.units, settings.dropout)
    model.compile(
        optimizer=OPTIMIZERS[settings.optimizer](rate, global_clipnorm=settings.clip_norm),
        loss=LOSSES[settings.loss](),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        # XLA's matrix products are slower on a CPU than TensorFlow's own: benchmarks/training.py.
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    return model


def save_model(model: keras.Model, file: Path) -> None:
    """Save `model` as one of stock layers, to open with `keras.models.load_model` alone; it can't
    be trained after that. Same weights, same bytes: see `reproducible`.
    """
    # Lets go of the optimizer: Adam's moments are twice as large as the weights.
    model.compile()
    gc.collect()
    # A dropout layer draws a seed when it is made, and it is saved.
    keras.utils.set_random_seed(0)
    stock = to_stock(model)
    with replacing(file) as partial:
        stock.save(partial)
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


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {"python": platform.python_version(), "numpy": np.__version__} | backend.versions()


def identity_of(job: Job, split: pd.DataFrame, classes: list[str], shards: Shards) -> str:
    """A hash of all that the result of a training follows from: a checkpoint of another one must
    not be used.
    """
    clips = split[split["split"] != "test"]
    rows = clips[["video_id", "label", "split"]].to_numpy().tolist()
    facts = [
        job.model,
        job.settings._asdict(),
        classes,
        rows,
        shards.shape,
        shards.digest(clips["video_id"].tolist()),
        versions(),
        code("training", f"models.{job.model}"),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def train(job: Job) -> None:
    """Do `job`: write model.keras, history.csv and run.json to its folder.

    Goes on from the job's checkpoint if there is one. It stays until the model is evaluated: where
    both are one job of a cluster, and its time is up between, the next try only saves the model.
    Raises NoctactError when there is no GPU but should be, when there is no train or val clip, and
    when the loss is not finite.
    """
    settings = job.settings
    backend.configure(job.threads, settings.seed)
    if job.gpu and not backend.has_gpu():
        raise NoctactError(
            f"{job.model}: gpu: true in the config, but TensorFlow finds no GPU here; see "
            "docs/slurm.md, or set gpu: false to train on the CPU"
        )
    split = pd.DataFrame(read_csv(job.split, SPLIT), columns=SPLIT)
    shards = Shards(job.shards, job.cache_mb)
    classes = sorted(split["label"].unique())
    batches = {
        part: batches_of(part, split, classes, shards, settings) for part in ("train", "val")
    }
    model = compiled_model(job.model, shards.shape, len(classes), settings, len(batches["train"]))
    identity = identity_of(job, split, classes, shards)
    training = Training(job, model, batches)
    training.restore(identity)
    clips = split["split"].value_counts()
    print(
        f"{job.model}  {clips['train']} clips to train on, {clips['val']} to watch, up to "
        f"{job.memory_mb} MB of memory"
        + (f"; goes on after epoch {len(training.history)}" if training.history else ""),
        flush=True,
    )
    run_epochs(training, identity, int(clips["train"]))
    if training.best:
        model.set_weights(training.best)
    save_model(model, job.output / "model.keras")
    write_history(job, training.history)
    facts = {
        "model": job.model,
        "parameters": int(sum(np.prod(weight.shape) for weight in model.trainable_weights)),
        **facts_of(training),
        "predicted_memory_mb": job.memory_mb,
        "peak_memory_mb": peak_mb(),
        "threads": job.threads,
        "seed": settings.seed,
        "settings": settings._asdict(),
        "classes": classes,
        "frames": shards.shape,
        "clips": {part: int(clips[part]) for part in ("train", "val")},
        "versions": versions(),
        "hardware": hardware(),
    }
    with replacing(job.output / "run.json") as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")
    discard(last_good(job))


def batches_of(
    part: str, split: pd.DataFrame, classes: list[str], shards: Shards, settings: Settings
) -> Batches:
    """The batches of `part`, train or val; what changes the clips is for train alone.

    Raises NoctactError when the part has no clips.
    """
    clips = split[split["split"] == part]
    if clips.empty:
        raise NoctactError(f"the split has no {part} clips; raise split.{part} in the config")
    for_training: dict[str, Any] = {
        "seed": settings.seed,
        "augmentation": Augmentation(settings.mirror, settings.brightness, settings.salt),
        "label_smoothing": settings.label_smoothing,
        "class_weights": settings.class_weights,
    }
    return Batches(
        shards,
        clips["video_id"].tolist(),
        clips["label"].map(classes.index).tolist(),
        len(classes),
        settings.batch_size,
        **(for_training if part == "train" else {}),
    )


def run_epochs(training: Training, identity: str, clips: int) -> None:
    """Train to the end, with a checkpoint after each epoch.

    Raises NoctactError when the loss is not finite; the model of the epoch before is then kept
    beside the checkpoint.
    """
    job = training.job
    done = len(training.history)
    steps = len(training.batches["train"])
    progress = Progress(job.model, job.settings.epochs, done, clips, steps)
    events = Events(job.tensorboard, training.history)
    try:
        while not training.is_done():
            training.epoch(progress)
            write_history(job, training.history)
            events.add(training.history[-1])
            training.save(identity)
    except FloatingPointError as error:
        kept = keep_last_good(training, identity)
        raise NoctactError(
            f"{job.model}: {error}; lower learning_rate, set clip_norm, or use precision float32. "
            + kept
        ) from error
    finally:
        events.close()


def keep_last_good(training: Training, identity: str) -> str:
    """Save the model of the last epoch whose loss was finite; the sentence that says where."""
    if not training.history:
        return "No epoch before that one to keep"
    if not training.restore(identity):
        return "The checkpoint of the epoch before can't be read"
    file = last_good(training.job)
    save_model(training.model, file)
    return f"Epoch {len(training.history)} is kept in {file}"


def last_good(job: Job) -> Path:
    """Where the model is kept when the loss becomes NaN: not among the outputs of the job, which
    Snakemake removes when it fails.
    """
    return job.checkpoint.with_suffix(".keras")


def write_history(job: Job, history: list[Row]) -> None:
    """Write history.csv."""
    with replacing(job.output / "history.csv") as partial:
        pd.DataFrame(history, columns=HISTORY).to_csv(partial, index=False)


def facts_of(training: Training) -> dict[str, Any]:
    """What run.json says of the course of the training."""
    best = best_epoch(training.history)
    kept = best if training.best else len(training.history)
    return {
        "epochs": len(training.history),
        "kept_epoch": kept,
        "best_epoch": best,
        "best_val_loss": training.history[best - 1]["val_loss"],
        "seconds_per_step": float(np.median(training.step_seconds)),
        "train_seconds": training.seconds,
        "waiting_share": training.waited / training.seconds,
        "starts": training.starts,
    }
