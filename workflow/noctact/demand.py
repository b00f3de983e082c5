"""How long the stages take at most, and how much disk, from shapes and numbers of clips alone: what
a cluster is asked for before anything is there to measure.

No Keras needed: the Snakefile imports this.
"""

import math
from collections.abc import Mapping
from typing import Any

from noctact.memory import weights

# A cluster ends what takes longer than it asked for, and its processors may be slower than the two
# cores (AMD Zen 4) on which these figures were measured. A retry asks for twice as much, but for a
# training, which then goes on from its last epoch: so there is no need to ask for much more.
MARGIN = 2
START_MINUTES = 10  # of each job: Python and packages from a busy file system, saving the results

# The six models at full size do 74 to 91 GFLOP a second and thread (docs/training.md, batch 64).
FLOPS_A_THREAD = 70e9
SECONDS_A_STEP = 0.05  # beside the products: small frames, three recurrent layers
READ = 200e6  # bytes a second of frames, from a shared file system

# Seconds a clip of up to 15 s, one process.
SECONDS_A_CLIP = {
    "acquire": 0.3,  # unpacking; a generated clip takes 0.25 (demo)
    "index": 0.05,  # 5 MB read and hashed
    "extract": 0.9,  # decoding for frames (docs/extraction.md: 0.1 to 0.3) and signature
    "audit": 0.02,  # verifying whom it looks like (docs/splits.md)
    "controls": 0.02,
    "compare": 0.02,
}


def stage_minutes(stage: str, clips: int) -> int:
    """Minutes of one job of `stage` that deals with so many clips."""
    return START_MINUTES + math.ceil(MARGIN * clips * SECONDS_A_CLIP[stage] / 60)


def step_seconds(
    model: str, frames: tuple[int, int, int], settings: Mapping[str, Any], threads: int
) -> float:
    """Seconds of one training step on a CPU, from its matrix products; `frames` is (count, height,
    width), `settings` are those of stage train.

    Two products for each kernel: forward, and the gradient of the kernel; behind an encoder one
    more, the gradient of the features. A product takes two operations a weight and frame.
    """
    count, height, width = frames
    products = 2 * weights(model, frames, settings["units"])
    if model.startswith("cnn_"):
        patches = math.ceil(height / 15) * math.ceil(width / 15)
        products = products * 3 // 2 + 2 * patches * (15 * 15 * 3) * 256
    operations: int = 2 * products * settings["batch_size"] * count
    return SECONDS_A_STEP + operations / (FLOPS_A_THREAD * threads)


def training_minutes(
    model: str,
    frames: tuple[int, int, int],
    settings: Mapping[str, Any],
    clips: float,
    threads: int,
) -> int:
    """Minutes of a training with all its epochs. `clips` are those that an epoch goes through
    forward and back; those that it only predicts count a third.

    A thread reads the frames meanwhile, so that the slower of both counts.
    """
    stepping = clips / settings["batch_size"] * step_seconds(model, frames, settings, threads)
    reading = clips * math.prod(frames) * 3 / READ
    seconds: float = MARGIN * settings["epochs"] * max(stepping, reading)
    return START_MINUTES + math.ceil(seconds / 60)


def frames_mb(frames: tuple[int, int, int], clips: int) -> int:
    """MB (10**6 bytes) of frames and signatures of so many clips, before they are compressed."""
    signature = 32 * 36 * 48 + 6500  # bytes: moments, and what else signatures.COLUMNS has
    return math.ceil(clips * (math.prod(frames) * 3 + signature) / 1e6)


def training_disk_mb(model: str, frames: tuple[int, int, int], settings: Mapping[str, Any]) -> int:
    """MB that a training writes: the model; a checkpoint of weights, best weights and two moments,
    twice while the new one replaces the old; 100 for the rest.
    """
    return 100 + math.ceil(weights(model, frames, settings["units"]) * 4 * (1 + 2 * 4) / 1e6)
