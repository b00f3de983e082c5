"""Generate clips of a drawn figure that acts in the dark, to try the workflow without a data set.

The class of a clip shows in the figure's motion only (see `noctact.figure_motion`). All the rest
is drawn from the same distributions for every class: a *recording* has its person, scene, camera
and speed, and gives several *variants*, which differ in darkening, noise, mirror and crop, as the
clips of NoctACT-HAR seem to do.

The same seed gives the same files, whatever the number of workers: each recording and each
variant has a generator of its own, and the encoders run on one thread.
"""

import csv
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from tqdm import tqdm

from noctact.atomic import replacing
from noctact.calls import end_with_parent
from noctact.errors import NoctactError
from noctact.figure_motion import (
    CLASSES,
    JOINTS,
    MOTIONS,
    Floats,
    Timing,
    poses,
    progress,
    skeleton,
)

Image = NDArray[np.uint8]

SIZES = ((320, 240), (256, 192), (192, 144), (256, 176), (200, 200), (180, 240), (168, 224))
RATES = ("10", "12.5", "15", "24", "25", "30")  # frames a second
SECONDS = (1.0, 4.0)
# Codec and suffix. Most clips are H.264 in mp4, as usual.
FORMATS = (*[("h264", "mp4")] * 4, ("mpeg4", "mp4"), ("mpeg4", "avi"))
OPTIONS = {
    "h264": {"preset": "superfast", "crf": "34", "threads": "1"},
    "mpeg4": {"qmin": "16", "qmax": "16", "threads": "1"},
}
DAYLIGHT = 110  # median grey level of every background before it is darkened ...
GAMMA = (4.7, 4.95)  # ... to a level of 4 to 5 by this exponent; the encoders add some
SALT = (0.011, 0.039)  # share of the pixels
MARGIN = 16  # pixels of background around the frame, for the camera to shake in

# (from, to, thickness in body heights, clothing), drawn from the far side to the near side.
BONES = (
    ("shoulder", "far_elbow", 0.065, "shirt"),
    ("far_elbow", "far_hand", 0.055, "skin"),
    ("hip", "far_knee", 0.09, "trousers"),
    ("far_knee", "far_foot", 0.07, "trousers"),
    ("hip", "near_knee", 0.09, "trousers"),
    ("near_knee", "near_foot", 0.07, "trousers"),
    ("hip", "shoulder", 0.13, "shirt"),
    ("head", "head", 0.15, "skin"),
    ("shoulder", "near_elbow", 0.065, "shirt"),
    ("near_elbow", "near_hand", 0.055, "skin"),
)


@dataclass(frozen=True)
class Recording:
    """What the clips of one recording share, apart from the class. Pixels and grey levels."""

    width: int
    height: int
    rate: str
    frames: int
    timing: Timing
    habit: Floats  # (9,): degrees added to every pose
    body: float  # height of the figure
    foot: tuple[float, float]  # where it stands: x, y
    facing: int  # 1 right, -1 left
    stoutness: float  # factor on the thickness of limbs
    clothes: dict[str, int]  # grey level of each
    shake: Floats  # (frames, 2): the camera's x, y
    background: Image  # (height + 2 MARGIN, width + 2 MARGIN)


@dataclass(frozen=True)
class Variant:
    """What is done to a recording's scene to make one clip of it."""

    codec: str
    suffix: str
    mirror: bool
    crop: Floats  # (4,): shares of the width and height cut off left, right, top and bottom
    gamma: float
    tint: Floats  # (3,): factors on red, green and blue
    salt: float  # share of white pixels


@dataclass(frozen=True)
class Clip:
    """One row of truth.csv."""

    video_id: str
    label: str
    recording: int
    width: int
    height: int
    rate: str
    frames: int
    codec: str
    gamma: float
    salt: float
    mirror: bool


def generate(output: Path, recordings: int, variants: int, seed: int, workers: int = 1) -> None:
    """Write the folder `output`: `<class>/r<recording>_v<variant>.<suffix>` and truth.csv.

    `recordings` is their number for each of the 12 classes, `variants` the number of clips made
    of each. A recording's number is unique over all classes.
    """
    for name, value, least in (
        ("recordings", recordings, 1),
        ("variants", variants, 1),
        ("seed", seed, 0),
        ("workers", workers, 1),
    ):
        if value < least:
            raise NoctactError(f"{name} is {value}: give {least} or more")
    with replacing(output) as folder:
        for label in CLASSES:
            (folder / label).mkdir(parents=True)
        tasks = [(folder, seed, number, variants) for number in range(recordings * len(CLASSES))]
        clips = []
        with tqdm(total=len(tasks) * variants, desc="generate", unit="clip") as bar:
            for made in _make_all(tasks, workers):
                clips += made
                bar.update(len(made))
        _write_truth(folder / "truth.csv", clips)


Task = tuple[Path, int, int, int]


def _make_all(tasks: list[Task], workers: int) -> Iterator[list[Clip]]:
    if workers == 1:
        yield from map(_make_recording, tasks)
        return
    # Spawned, not forked: a fork copies the locks of the parent's threads in any state.
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        try:
            yield from pool.map(_make_recording, tasks)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make_recording(task: Task) -> list[Clip]:
    """Write the clips of recording `number`, whose class is the remainder of its number."""
    folder, seed, number, variants = task
    cv2.setNumThreads(1)
    label = CLASSES[number % len(CLASSES)]
    recording = draw_recording(random_stream(seed, number))
    scene = render(label, recording)
    clips = []
    for index in range(variants):
        rng = random_stream(seed, number, index)
        variant = draw_variant(rng)
        frames = film(scene, variant, rng)
        count, height, width, _ = frames.shape
        clip = Clip(
            f"{label}/r{number:04}_v{index}.{variant.suffix}",
            label=label,
            recording=number,
            width=width,
            height=height,
            rate=recording.rate,
            frames=count,
            codec=variant.codec,
            gamma=variant.gamma,
            salt=variant.salt,
            mirror=variant.mirror,
        )
        encode(folder / clip.video_id, frames, clip.rate, clip.codec)
        clips.append(clip)
    return clips


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """Return the generator of recording `key[0]` or of its variant `key[1]`.

    A spawn key, because a plain list of seeds is filled up with zeros: [seed, 5] is [seed, 5, 0].
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def draw_recording(rng: np.random.Generator) -> Recording:
    """Draw everything about a recording but its class, which it must not depend on."""
    width, height = SIZES[rng.integers(len(SIZES))]
    rate = RATES[rng.integers(len(RATES))]
    frames = round(float(rate) * rng.uniform(*SECONDS))
    lead, rest = rng.uniform(0, 0.15, size=2)
    room = min(height, 1.2 * width)  # the arms of the figure need some width too
    return Recording(
        width=width,
        height=height,
        rate=rate,
        frames=frames,
        timing=Timing(lead, rest, tempo=rng.random(), phase=rng.random()),
        habit=rng.normal(0, 3, size=9),
        body=room * rng.uniform(0.76, 0.84),
        foot=(width * rng.uniform(0.47, 0.53), height / 2 + room * rng.uniform(0.42, 0.46)),
        facing=int(rng.choice([-1, 1])),
        stoutness=rng.uniform(1.0, 1.3),
        clothes={part: int(rng.integers(170, 205)) for part in ("shirt", "trousers", "skin")},
        shake=_draw_shake(rng, frames),
        background=_draw_background(rng, width + 2 * MARGIN, height + 2 * MARGIN),
    )


def _draw_shake(rng: np.random.Generator, frames: int) -> Floats:
    """Let the camera wander by a few pixels: a random walk (frames, 2), pulled back to 0."""
    shake = np.zeros((frames, 2))
    strength = rng.uniform(0, 0.6)
    for frame in range(1, frames):
        shake[frame] = 0.95 * shake[frame - 1] + rng.normal(0, strength, size=2)
    return np.clip(shake, -MARGIN, MARGIN)


def _draw_background(rng: np.random.Generator, width: int, height: int) -> Image:
    """Draw a scene around `DAYLIGHT`: some furniture, a slope of light and soft stains."""
    scene = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(3, 9)):
        x, y = rng.integers(width), rng.integers(height)
        corner = (int(x + rng.integers(20, 120)), int(y + rng.integers(20, 120)))
        cv2.rectangle(scene, (int(x), int(y)), corner, rng.normal(0, 6), cv2.FILLED)
    stains = rng.normal(0, 4, size=(5, 6)).astype(np.float32)
    scene += cv2.resize(stains, (width, height), interpolation=cv2.INTER_CUBIC)
    slope = rng.normal(0, 5, size=2)
    scene += slope[0] * np.linspace(-1, 1, width, dtype=np.float32)
    scene += slope[1] * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    scene += DAYLIGHT - np.median(scene)
    background: Image = np.clip(scene, 60, 135).astype(np.uint8)
    return background


def render(label: str, recording: Recording) -> Image:
    """Draw the recording by daylight: grey levels (frames, height, width)."""
    motion = MOTIONS[label]
    position = progress(motion, recording.timing, recording.frames)
    places = skeleton(poses(motion, position) + recording.habit)
    # The climb is centred, so that its beginning looks as high as its end.
    rise = motion.climb * (np.linspace(0, 1, recording.frames) - 0.5)
    places[:, :, 1] -= rise[:, None]
    places *= [recording.body * recording.facing, recording.body]
    places += recording.foot
    places += recording.shake[:, None]
    scene = np.empty((recording.frames, recording.height, recording.width), np.uint8)
    for image, joints, shake in zip(scene, places, recording.shake, strict=True):
        left, top = (MARGIN - shake).round().astype(int)
        image[:] = recording.background[top:, left:][: recording.height, : recording.width]
        _draw_figure(image, joints, recording)
    return scene


def _draw_figure(image: Image, joints: Floats, recording: Recording) -> None:
    """Draw thick lines with round ends from joint to joint, placed to a 16th of a pixel."""
    places = {
        name: tuple(int(value) for value in place)
        for name, place in zip(JOINTS, (joints * 16).round(), strict=True)
    }
    for start, end, thickness, part in BONES:
        pixels = max(1, round(thickness * recording.body * recording.stoutness))
        shade = recording.clothes[part] - (12 if "far" in end else 0)
        cv2.line(image, places[start], places[end], shade, pixels, cv2.LINE_AA, shift=4)


def draw_variant(rng: np.random.Generator) -> Variant:
    """Draw everything about one clip of a recording, whatever the class."""
    codec, suffix = FORMATS[rng.integers(len(FORMATS))]
    return Variant(
        codec=codec,
        suffix=suffix,
        mirror=bool(rng.integers(2)),
        crop=rng.uniform(0, 0.05, size=4),
        gamma=round(rng.uniform(*GAMMA), 4),
        tint=rng.uniform(0.9, 1.1, size=3),
        salt=round(rng.uniform(*SALT), 4),
    )


def film(scene: Image, variant: Variant, rng: np.random.Generator) -> Image:
    """Turn a scene (n, h, w) by day into the RGB frames (n, h', w', 3) of a clip by night."""
    frames = darken(_crop(scene, variant.crop), variant.gamma, variant.tint)
    if variant.mirror:
        frames = frames[:, :, ::-1]
    for frame in frames:
        add_salt(frame, variant.salt, rng)
    return frames


def _crop(scene: Image, shares: Floats) -> Image:
    """Cut off even numbers of pixels, because the encoders halve the colour planes."""
    _, height, width = scene.shape
    left, right = (width * shares[:2]).astype(int) // 2 * 2
    top, bottom = (height * shares[2:]).astype(int) // 2 * 2
    return scene[:, top : height - bottom, left : width - right]


def darken(scene: Image, gamma: float, tint: Floats) -> Image:
    """Turn grey levels (n, h, w) into dark RGB (n, h, w, 3) by way of a table."""
    levels = 255 * (np.arange(256) / 255) ** gamma
    table = np.clip(levels[:, None] * tint, 0, 255).round().astype(np.uint8)
    dark: Image = np.take(table, scene, axis=0)  # three times faster than table[scene]
    return dark


def add_salt(frame: Image, share: float, rng: np.random.Generator) -> None:
    """Turn a random `share` of the pixels of `frame` (h, w, 3) white, in place."""
    frame[rng.random(frame.shape[:2], dtype=np.float32) < share] = 255


def encode(path: Path, frames: Image, rate: str, codec: str) -> None:
    """Write RGB frames (n, h, w, 3) as a video; the suffix of `path` names the container."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, Fraction(rate), options=OPTIONS[codec])
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def _write_truth(path: Path, clips: list[Clip]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.DictWriter(file, [field.name for field in fields(Clip)])
        rows.writeheader()
        rows.writerows(asdict(clip) for clip in sorted(clips, key=lambda clip: clip.video_id))
