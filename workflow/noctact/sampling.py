"""Which frames of a clip are taken: by index, or by time where the frame rate varies.

The rules place `count` points on the clip, i = 0 .. count - 1, in a clip of n frames (by index),
or that lasts T (by time):

| rule      | by index                      | by time                                    |
|-----------|-------------------------------|--------------------------------------------|
| left      | floor(i n / count)            | the frame on screen at i T / count         |
| center    | floor((2 i + 1) n / (2 count))| the frame on screen at (2 i + 1) T / (2 count) |
| endpoints | floor(i (n - 1) / (count - 1))| the frame on screen at i T' / (count - 1)  |

T' is the time from the first frame to the last. At a constant rate both ways agree. `left` is the
rule of the published notebooks.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

RULES = ("left", "center", "endpoints")


class FrameSettings(NamedTuple):
    """Which frames of a clip are taken, and how: the keys of `frames` in the config."""

    count: int  # type: ignore[assignment]  # in place of tuple.count, which counts equal fields
    height: int  # pixels
    width: int
    sampling: str = "left"  # one of RULES
    by: str = "index"  # index | time
    decoding: str = "exact"  # exact | seek
    truncated: str = "quarantine"  # quarantine | keep


def points(rule: str, count: int, length: int, last: int) -> list[int]:
    """The `count` points of `rule`, rounded down, in 0 .. `length` - 1 (`endpoints`: 0 .. `last`).

    Whole numbers throughout, so that no rounding moves a frame. One point of `endpoints` is 0.
    """
    if rule == "left":
        return [i * length // count for i in range(count)]
    if rule == "center":
        return [(2 * i + 1) * length // (2 * count) for i in range(count)]
    return [i * last // max(count - 1, 1) for i in range(count)]


def by_index(rule: str, count: int, n_frames: int) -> list[int]:
    """Indices of the chosen frames; a clip of fewer than `count` frames repeats some."""
    return points(rule, count, n_frames, n_frames - 1)


def by_time(rule: str, count: int, stamps: Sequence[int], end: int) -> list[int]:
    """Indices of the chosen frames; frame j is on screen from `stamps[j]` until the next one.

    `stamps` are in any unit, ascending; the clip ends at `end`.
    """
    start = stamps[0]
    chosen = points(rule, count, end - start, stamps[-1] - start)
    return [bisect_right(stamps, start + point) - 1 for point in chosen]
