"""Random changes of the frames of a clip, to train on more than was filmed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Augmentation(NamedTuple):
    """Which changes; by default none. `augment` says what each does."""

    mirror: bool = False
    brightness: float = 0.0  # 0 to 1
    salt: float = 0.0  # 0 to 1


UNCHANGED = Augmentation()


def augment(
    frames: NDArray[np.uint8], augmentation: Augmentation, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Change the `frames` of a clip, uint8 (count, height, width, 3), in place; returns them.

    `mirror`: all frames left to right, with probability 1/2. `brightness` b: all values times one
    factor f, uniform in [1 - b, 1 + b], to round(f v), at most 255. `salt` s: each pixel of each
    frame becomes white with probability p, uniform in [0, s] and the same for the whole clip.
    They come in this order, and what is off draws no number.
    """
    if augmentation.mirror and random.random() < 0.5:
        frames[...] = frames[:, :, ::-1]
    if augmentation.brightness:
        factor = random.uniform(1 - augmentation.brightness, 1 + augmentation.brightness)
        table = np.rint(np.arange(256) * factor).clip(0, 255).astype(np.uint8)
        frames[...] = table[frames]
    if augmentation.salt:
        share = random.uniform(0, augmentation.salt)
        frames[random.random(frames.shape[:3], np.float32) < share] = 255
    return frames
