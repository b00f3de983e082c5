"""How much memory a training takes, from the shapes alone (no Keras needed to plan the jobs), and
how much there is.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4}

# Upper bounds on full-size frames (10 x 240 x 320), of the steps (`make bench` prints them beside
# the estimate) and of whole trainings, which take most when they save the model (run.json).
BASE_MB = 1200  # Python, TensorFlow and its graph
BYTES_A_WEIGHT = 34  # weight, gradient, two moments of Adam; at the end, copies to be saved
BYTES_A_VALUE = 9  # as float32, a copy of that; three batches that wait, or are made, as bytes
BYTES_OF_MAPS = 7  # for each value of a frame: what the convolution gives, and its gradient


def weights(model: str, frames: tuple[int, int, int], units: list[int]) -> int:
    """Weights of the first recurrent layer, which holds nearly all; `frames` is (count, height,
    width). A model with other layers than the published six counts as the largest kind, LSTM.
    """
    _, height, width = frames
    if model.startswith("cnn_"):
        rows, columns = (math.ceil(math.ceil(side / 15) / 2) for side in (height, width))
        features = rows * columns * 256
    else:
        features = height * width * 3
    gates = GATES.get(model.removeprefix("cnn_"), max(GATES.values()))
    return gates * units[0] * (features + units[0] + 1)


def training_mb(
    model: str, frames: tuple[int, int, int], settings: Mapping[str, Any], cache_mb: int
) -> int:
    """Memory of a training in MB, an upper bound: it may run beside others on what is left.

    `settings` are those of stage train; `cache_mb` is what the cache of frames may take.
    """
    copies = BYTES_A_WEIGHT + (4 if settings["checkpoint"] == "best" else 0)
    clip = math.prod(frames) * 3
    bytes_a_clip = clip * (BYTES_A_VALUE + (BYTES_OF_MAPS if model.startswith("cnn_") else 0))
    total: int = weights(model, frames, settings["units"]) * copies
    total += settings["batch_size"] * bytes_a_clip
    return BASE_MB + cache_mb + math.ceil(total / 1e6)


def machine_mb() -> int:
    """Memory in MB that the jobs of this machine may share: nine tenths of what it has, or of the
    limit of the container that this runs in.
    """
    total = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")  # bytes, or "max" for none
    if limit.exists() and limit.read_text().strip().isdecimal():
        total = min(total, int(limit.read_text()))
    return int(total * 0.9 / 1e6)
