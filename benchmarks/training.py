"""A training step of the six models beside stock Keras and beside the arithmetic it can't avoid.

`python benchmarks/training.py` prints a table a batch size, for frames of full size, on two
threads, each measurement in a process of its own:

a         the loop of notebooks on stock Keras layers: eager `tf.GradientTape`, then a second
          forward pass for the metric
b         stock Keras layers with `compile` and `fit` at their defaults
ours      what stage train does, in float32; bf16 in mixed_bfloat16
bare      the matrix products of the step alone, float32: of the encoder, and of the input of the
          first recurrent layer; all that comes later is negligible, with a thousandth of the
          weights of that layer on pixels, a hundredth on encoded frames
adam      one update of the kernel of that layer, which waits for the memory of the machine
reserved  the memory that the workflow reserves for the training (mem_mb), without a cache

s is seconds a step (median after two to warm up; for bare the least), MB the highest resident
memory (10**6 bytes). "nan" is a process that was killed, as when memory runs out. a and b get the
same batch in each step; ours gets copies, read ahead by a thread as in stage train, so that the
memory of batches that wait is counted for ours alone.

All of it takes long: `--models cnn_gru --batch-sizes 16` is a quick look. The machine should have
nothing else to do.
"""

import argparse
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noctact import backend
from noctact.batches import Batches
from noctact.config import check, model_settings
from noctact.memory import GATES, training_mb
from noctact.models import build_model
from noctact.models.layers import FILTERS, STRIDE
from noctact.train import Settings
from noctact.training import compiled_model
from noctact.workers import peak_mb

import keras  # isort: skip - after noctact.backend, which chooses the backend
import tensorflow as tf  # isort: skip

THREADS = 2
CLASSES = 12
UNITS = (128, 64, 32)
DROPOUT = 0.5
WARM_UP = 2  # steps that don't count

NOCTACT_TRAIN_CLIPS = round(6613 * 0.7)
NOCTACT_BATCH = 64


class Case(NamedTuple):
    """What is measured."""

    model: str
    batch_size: int
    steps: int
    frames: tuple[int, int, int]  # count, height, width


def settings_of(case: Case) -> Settings:
    """The defaults of the config, with the batch size of `case`."""
    settings = Settings(**json.loads(model_settings(check({}), case.model, 1)))
    return settings._replace(batch_size=case.batch_size)


def random_batch(case: Case) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Frames and one-hot targets, the same each time."""
    random = np.random.default_rng(1)
    frames = random.integers(0, 256, (case.batch_size, *case.frames, 3), "uint8")
    labels = random.integers(0, CLASSES, case.batch_size)
    return frames, np.eye(CLASSES, dtype=np.float32)[labels]


def median_step(ends: list[float]) -> float:
    """Seconds a step, from the times when the steps ended."""
    return float(np.median(np.diff(ends)[WARM_UP - 1 :]))


# Stock Keras


def stock_model(case: Case) -> keras.Model:
    """The model of stock layers, as anybody would write it."""
    layers = keras.layers
    recurrent = {"simple_rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}
    frames = keras.Input((*case.frames, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255)(frames)
    if case.model.startswith("cnn_"):
        for layer in (
            layers.Conv2D(FILTERS, STRIDE, STRIDE, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Dropout(DROPOUT),
            layers.Flatten(),
        ):
            x = layers.TimeDistributed(layer)(x)
    else:
        x = layers.Reshape((case.frames[0], -1))(x)
    for units in UNITS:
        kind = recurrent[case.model.removeprefix("cnn_")]
        x = kind(units, return_sequences=units != UNITS[-1])(x)
        x = layers.Dropout(DROPOUT)(x)
    return keras.Model(frames, layers.Dense(CLASSES, activation="softmax")(x))


def notebook_loop(case: Case) -> float:
    """Seconds a step of an eager loop with a second forward pass for the metric."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    model = stock_model(case)
    optimizer = keras.optimizers.Adam(1e-4)
    loss = keras.losses.MeanSquaredLogarithmicError()
    metric = keras.metrics.CategoricalAccuracy()
    frames, targets = random_batch(case)
    ends = []
    for _ in range(case.steps):
        with tf.GradientTape() as tape:
            error = loss(targets, model(frames, training=True))
        gradients = tape.gradient(error, model.trainable_weights)
        optimizer.apply(gradients, model.trainable_weights)
        metric.update_state(targets, model(frames, training=False))
        float(metric.result())
        ends.append(time.monotonic())
    return median_step(ends)


class Repeated(keras.utils.PyDataset):
    """The same batch in each step."""

    def __init__(self, case: Case) -> None:
        """An epoch has the steps of `case`."""
        super().__init__()
        self._batch, self._steps = random_batch(case), case.steps

    def __len__(self) -> int:
        """Steps an epoch."""
        return self._steps

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The batch."""
        return self._batch


def stock_fit(case: Case) -> float:
    """Seconds a step of `fit` at its defaults."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    model = stock_model(case)
    model.compile(keras.optimizers.Adam(1e-4), loss="msle", metrics=["accuracy"])
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.monotonic())
    )
    model.fit(Repeated(case), verbose=0, callbacks=[clock])
    return median_step(ends)


# Ours


class CopiedFrames:
    """In the place of `noctact.shards.Shards`: each batch is a copy of one."""

    def __init__(self, case: Case) -> None:
        """Make the batch."""
        self._frames, _ = random_batch(case)

    def read(self, video_ids: list[str]) -> NDArray[np.uint8]:
        """The frames, whichever clips are asked for."""
        return self._frames.copy()


def ours(case: Case, precision: str = "float32") -> float:
    """Seconds a step of stage train."""
    backend.configure(THREADS, 1)
    settings = settings_of(case)._replace(precision=precision)
    model = compiled_model(case.model, case.frames, CLASSES, settings, case.steps)
    shards: Any = CopiedFrames(case)
    clips = case.steps * case.batch_size
    targets = np.random.default_rng(1).integers(0, CLASSES, clips).tolist()
    batches = Batches(shards, [""] * clips, targets, CLASSES, case.batch_size, seed=1)
    ends = []
    # As in noctact.training.Training.epoch.
    for frames, classes, weights in batches.epoch():
        logs = model.train_on_batch(frames, classes, sample_weight=weights, return_dict=True)
        float(logs["loss"])
        ends.append(time.monotonic())
    return median_step(ends)


def ours_bfloat16(case: Case) -> float:
    """Seconds a step of stage train in mixed_bfloat16."""
    return ours(case, "mixed_bfloat16")


# The arithmetic alone


def bare(case: Case) -> float:
    """Seconds of the matrix products that no step can do without.

    Nothing is before the encoder, or before the recurrent layer of a model without one: the
    gradient of the input is left out there.
    """
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    count, height, width = case.frames
    images = case.batch_size * count
    gates = GATES[case.model.removeprefix("cnn_")] * UNITS[0]
    if not case.model.startswith("cnn_"):
        return products(images, height * width * 3, gates, case.steps)
    rows, columns = math.ceil(height / STRIDE), math.ceil(width / STRIDE)
    features = math.ceil(rows / 2) * math.ceil(columns / 2) * FILTERS
    encoder = products(images * rows * columns, STRIDE * STRIDE * 3, FILTERS, case.steps)
    return encoder + products(images, features, gates, case.steps, input_gradient=True)


def adam(case: Case) -> float:
    """Seconds of one update of the first recurrent layer's kernel by Adam: it reads weights,
    gradient and two moments, and writes all but the gradient, as fast as the memory can.
    """
    backend.configure(THREADS, 1)
    model = build_model(case.model, case.frames, CLASSES, list(UNITS), DROPOUT)
    shape = model.get_layer("recurrent_1").kernel.shape
    variable = keras.Variable(tf.zeros(shape))
    optimizer = backend.adam(1e-4)
    optimizer.build([variable])
    return fastest(
        case.steps, lambda gradient: optimizer.apply([gradient], [variable]), tf.ones(shape)
    )


def products(
    rows: int, features: int, columns: int, runs: int, input_gradient: bool = False
) -> float:
    """Seconds of x W, of the gradient of W and, on demand, of that of x; the least of `runs` each.

    x is (rows, features), W (features, columns).
    """
    x = tf.random.normal((rows, features))
    w = tf.random.normal((features, columns))
    dz = tf.random.normal((rows, columns))
    total = fastest(runs, tf.matmul, x, w) + fastest(runs, tf.matmul, x, dz, transpose_a=True)
    if input_gradient:
        total += fastest(runs, tf.matmul, dz, w, transpose_b=True)
    return total


def fastest(runs: int, operation: Callable[..., Any], *tensors: Any, **options: Any) -> float:
    """Seconds of the fastest run of `operation` as a `tf.function`, after one to trace it."""
    function = tf.function(lambda *inputs: operation(*inputs, **options))
    seconds = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        function(*tensors)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


# A process for each, and the report


VARIANTS: dict[str, Callable[[Case], float]] = {
    "a": notebook_loop,
    "b": stock_fit,
    "ours": ours,
    "bf16": ours_bfloat16,
    "bare": bare,
    "adam": adam,
}


class Taken(NamedTuple):
    """What one variant takes; NaN if its process was killed."""

    seconds: float
    mb: float


def measure(variant: str, case: Case) -> Taken:
    """Measure in another process, which runs this file with `--variant`."""
    command = [sys.executable, str(Path(__file__).resolve()), "--variant", variant]
    command += ["--models", case.model, "--batch-sizes", str(case.batch_size)]
    command += ["--steps", str(case.steps), "--frames", *map(str, case.frames)]
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    if done.returncode == -signal.SIGKILL:
        return Taken(math.nan, math.nan)
    done.check_returncode()
    return Taken(*json.loads(done.stdout.splitlines()[-1]))


def row_of(case: Case) -> dict[str, float]:
    """A row of the table."""
    taken = {}
    for variant in VARIANTS:
        taken[variant] = measure(variant, case)
        seconds, mb = taken[variant]
        note = f"{case.model}, batch {case.batch_size}, {variant}: {seconds:.3f} s, {mb:.0f} MB"
        print(note, file=sys.stderr, flush=True)
    own, stock = taken["ours"], taken["b"]
    reserved = training_mb(case.model, case.frames, settings_of(case)._asdict(), cache_mb=0)
    return {
        **{f"{variant} s": taken[variant].seconds for variant in VARIANTS},
        "a/ours": taken["a"].seconds / own.seconds,
        "b/ours": stock.seconds / own.seconds,
        "ours/bare": own.seconds / taken["bare"].seconds,
        "ours/(bare+adam)": own.seconds / (taken["bare"].seconds + taken["adam"].seconds),
        "b MB": stock.mb,
        "ours MB": own.mb,
        "ours/b": own.mb / stock.mb,
        "reserved MB": reserved,
        "ours/reserved": own.mb / reserved,
    }


def text_of(table: pd.DataFrame) -> str:
    """`table` with as many digits as mean something."""
    digits = {"s": 3, "MB": 0}  # by the unit of a column; 2 for a ratio
    rounded = {
        name: f"{{:.{digits.get(name.rpartition(' ')[2], 2)}f}}".format for name in table.columns
    }
    return table.to_string(formatters=rounded)


def published_protocol(seconds: "pd.Series[float]") -> str:
    """What the steps of the published protocol take on NoctACT-HAR; `seconds` a step by model."""
    epochs = check({})["training"]["epochs"]
    steps = math.ceil(NOCTACT_TRAIN_CLIPS / NOCTACT_BATCH) * epochs
    hours = ", ".join(f"{model} {steps * step / 3600:.2f}" for model, step in seconds.items())
    return (
        f"Hours for the {steps:,} steps of {epochs} epochs on NoctACT-HAR "
        f"({NOCTACT_TRAIN_CLIPS:,} clips to train on, batches of {NOCTACT_BATCH}), ours: {hours}"
    )


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time and memory of a training step.")
    models = check({})["models"]
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[16, NOCTACT_BATCH])
    parser.add_argument("--steps", type=int, default=8, help="the first two don't count")
    parser.add_argument(
        "--frames",
        nargs=3,
        type=int,
        default=[10, 240, 320],
        metavar=("COUNT", "HEIGHT", "WIDTH"),
    )
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        help="measure in this process, for the first model and batch size: [seconds, MB]",
    )
    options = parser.parse_args()
    if options.steps <= WARM_UP:
        parser.error(f"--steps: more than {WARM_UP} are needed")
    return options


def main() -> None:
    """Measure and print."""
    options = parse_arguments()
    frames = tuple(options.frames)
    if options.variant:
        case = Case(options.models[0], options.batch_sizes[0], options.steps, frames)
        seconds = VARIANTS[options.variant](case)
        print(json.dumps([seconds, peak_mb()]))
        return
    for batch_size in options.batch_sizes:
        rows = [row_of(Case(model, batch_size, options.steps, frames)) for model in options.models]
        table = pd.DataFrame(rows, index=options.models)
        title = f"{' x '.join(map(str, frames))} x 3, batch {batch_size}, {THREADS} threads"
        print(f"\n{title}\n{text_of(table)}\n", flush=True)
        if batch_size == NOCTACT_BATCH:
            print(published_protocol(table["ours s"]), flush=True)


if __name__ == "__main__":
    main()
