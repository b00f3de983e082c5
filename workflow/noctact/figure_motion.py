"""How the stick figure of the generated clips moves: one motion for each class.

A pose is nine angles, a motion a few key poses with smooth steps between them. Some classes share
their key poses, so that no single frame, nor the set of all frames, tells them apart:

| classes                        | share                  | differ only in                     |
|--------------------------------|------------------------|------------------------------------|
| Picking, stand                 | upright ... crouched   | order: down; up                    |
| receiving the phone, Drink     | hand at hip ... head   | order: up to the ear; down again   |
| walking with flashlight, Run   | one gait cycle         | speed: one cycle; two a clip       |

Whole gait cycles show each of their poses equally often. Speeds are cycles a clip, not a second,
because clips are cut to their action: then the length of a clip says nothing about its class.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Pose(NamedTuple):
    """Angles in degrees. Limbs: 0 hangs straight down, positive swings forward (+x).

    `lean` tilts the torso forward; elbows and knees count from the limb above, elbows forward
    and knees backward. `near` and `far` are the sides of the body seen from the camera.
    """

    lean: float = 0
    near_shoulder: float = 4
    near_elbow: float = 8
    far_shoulder: float = -6
    far_elbow: float = 8
    near_hip: float = 4
    near_knee: float = 2
    far_hip: float = -5
    far_knee: float = 2


@dataclass(frozen=True)
class Motion:
    """Key poses at even steps: once from first to last, or round and round if `cycles` is given."""

    keys: tuple[Pose, ...]
    cycles: tuple[float, float] | None = None  # lowest and highest number in a clip
    backward: bool = False
    climb: float = 0  # rise of the figure over a clip, in body heights


def _swap_arms(pose: Pose) -> Pose:
    return pose._replace(
        near_shoulder=pose.far_shoulder,
        near_elbow=pose.far_elbow,
        far_shoulder=pose.near_shoulder,
        far_elbow=pose.near_elbow,
    )


def _swap_legs(pose: Pose) -> Pose:
    return pose._replace(
        near_hip=pose.far_hip,
        near_knee=pose.far_knee,
        far_hip=pose.near_hip,
        far_knee=pose.near_knee,
    )


_REST = Pose()

_STOOP = (
    _REST,
    Pose(40, 15, 5, 0, 10, 30, 45, 25, 45),
    Pose(75, 25, 0, 10, 10, 75, 105, 65, 105),
)

_HAND_TO_HEAD = (
    _REST,
    Pose(-5, 60, 50, -6, 8),
    Pose(-15, 95, 125, -6, 8),
)

_STRIDE = Pose(8, 60, 30, 30, 60, 40, 10, -40, 20)
_PASSING = Pose(8, 50, 40, 0, 60, 0, 5, 20, 85)
_GAIT = (_STRIDE, _PASSING, _swap_legs(_STRIDE)._replace(far_shoulder=-40), _swap_legs(_PASSING))

_STEP_UP = Pose(18, -25, 15, 30, 15, 85, 90, -10, 0)
_STEP_ON = Pose(12, 0, 15, 0, 15, 25, 25, 10, 40)
_CLIMB = (_STEP_UP, _STEP_ON, *(_swap_arms(_swap_legs(step)) for step in (_STEP_UP, _STEP_ON)))

_PUNCH = Pose(20, 95, 0, 40, 120, 50, 65, -20, 45)
_GUARD = Pose(-5, 40, 120, 40, 120, 50, 65, -20, 45)

_WAVE = (
    Pose(10, 120, 0, -6, 8, 20, 5, -20, 5),
    Pose(-15, 140, 80, -6, 8, 20, 5, -20, 5),
)

_SHOVE = (
    Pose(10, -10, 100, -15, 100, 35, 40, -20, 10),
    Pose(35, 85, 0, 80, 0, 50, 50, -35, 5),
)

_THROW = (
    Pose(0, -40, 10, 60, 10, 10, 5, -15, 5),
    Pose(-25, -140, 40, 90, 10, 25, 5, -20, 30),
    Pose(10, -230, 20, 20, 10, 30, 20, -25, 10),
    Pose(40, -320, 0, -40, 10, 35, 40, -40, 10),
)

_SQUAT = Pose(10, 25, 20, -25, -20, 65, 100, 45, 80)
_RACK = Pose(0, 55, 115, -55, -115, 15, 15, -15, -15)
_OVERHEAD = Pose(0, 160, 15, -160, -15, 15, 0, -15, 0)

MOTIONS = {
    "Drink": Motion(_HAND_TO_HEAD, backward=True),
    "Picking": Motion(_STOOP),
    "Push": Motion(_SHOVE),
    "Run": Motion(_GAIT, cycles=(2, 2)),
    "Throwing objects": Motion(_THROW),
    "boxing": Motion((_PUNCH, _GUARD, _swap_arms(_PUNCH), _GUARD), cycles=(1.5, 2.0)),
    "lifting weights": Motion((_SQUAT, _RACK, _OVERHEAD, _RACK), cycles=(1.2, 1.6)),
    "receiving the phone": Motion(_HAND_TO_HEAD),
    "stand": Motion(_STOOP, backward=True),
    "walking on stairs": Motion(_CLIMB, cycles=(0.9, 1.4), climb=0.45),
    "walking with flashlight": Motion(_GAIT, cycles=(1, 1)),
    "waving": Motion(_WAVE, cycles=(1.8, 2.4)),
}
CLASSES = tuple(sorted(MOTIONS))  # capitals first


@dataclass(frozen=True)
class Timing:
    """How one performance of a motion fits its clip; all in parts of 1, the same for every class.

    A motion that is made once rests for `lead` of the clip before and for `rest` after it; one
    that goes round begins at `phase`, at `tempo` between its slowest and its fastest.
    """

    lead: float
    rest: float
    tempo: float
    phase: float


def progress(motion: Motion, timing: Timing, frames: int) -> Floats:
    """Say how far the motion is at each frame: (frames,), one for the whole motion or one cycle."""
    time = np.linspace(0, 1, frames)
    if motion.cycles is None:
        once = np.clip((time - timing.lead) / (1 - timing.lead - timing.rest), 0, 1)
        return 1 - once if motion.backward else once
    slow, fast = motion.cycles
    return timing.phase + (slow + timing.tempo * (fast - slow)) * time


def poses(motion: Motion, position: Floats) -> Floats:
    """Return the angles (n, 9), in degrees, at each of `position` (n,) along the key poses."""
    keys = np.array(motion.keys, dtype=float)
    count = len(keys)
    if motion.cycles is None:
        step = position * (count - 1)
        before = np.minimum(step.astype(int), count - 2)
    else:
        step = position * count
        before = np.floor(step).astype(int)
    share = (1 - np.cos(np.pi * (step - before))) / 2
    first, second = keys[before % count], keys[(before + 1) % count]
    angles: Floats = first + share[:, None] * (second - first)
    return angles


# Lengths in body heights.
TORSO, NECK, UPPER_ARM, FOREARM, THIGH, SHIN = 0.30, 0.11, 0.17, 0.17, 0.245, 0.245
JOINTS = (
    *("hip", "shoulder", "head"),
    *("near_elbow", "near_hand", "far_elbow", "far_hand"),
    *("near_knee", "near_foot", "far_knee", "far_foot"),
)


def skeleton(angles: Floats) -> Floats:
    """Turn angles (n, 9) into the places (n, 11, 2) of `JOINTS`.

    In body heights, x forward and y down; the hip is at x = 0 and the lower foot at y = 0.
    """
    lean, *limbs = np.radians(angles).T

    def reach(start: Floats, angle: Floats, length: float) -> Floats:
        return start + length * np.stack([np.sin(angle), np.cos(angle)], axis=1)

    hip = np.zeros((len(angles), 2))
    shoulder = reach(hip, np.pi - lean, TORSO)
    joints = [hip, shoulder, reach(shoulder, np.pi - lean, NECK)]
    for upper, bend in (limbs[0:2], limbs[2:4]):
        elbow = reach(shoulder, upper, UPPER_ARM)
        joints += [elbow, reach(elbow, upper + bend, FOREARM)]
    for upper, bend in (limbs[4:6], limbs[6:8]):
        knee = reach(hip, upper, THIGH)
        joints += [knee, reach(knee, upper - bend, SHIN)]
    places = np.stack(joints, axis=1)
    lowest = places[:, [JOINTS.index("near_foot"), JOINTS.index("far_foot")], 1].max(axis=1)
    places[:, :, 1] -= lowest[:, None]
    return places
