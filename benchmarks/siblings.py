"""Siblings of real clips: what night-time data sets do to one recording, made to measure by.

Each clip is darkened or brightened, salted, mirrored, cropped, scaled, encoded again, trimmed, one
by one and together, and written as H.264. `make(folder, output)` keeps the class folders.
"""

import zlib
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
GAMMA, SALT = (0.3, 2.0), (0.01, 0.04)


def changes(rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """What is done for each kind of sibling."""
    dark = {"gamma": rng.uniform(1.5, 2), "salt": rng.uniform(*SALT)}

    def anything() -> dict[str, Any]:
        return {
            "gamma": float(np.exp(rng.uniform(*np.log(GAMMA)))),
            "salt": rng.uniform(*SALT),
            "mirror": bool(rng.integers(2)),
        }

    return {
        "gamma 0.3": {"gamma": 0.3},
        "gamma 2": {"gamma": 2.0},
        "salt 4 %": {"salt": 0.04},
        "mirrored": {"mirror": True},
        "cropped to 85 %": {"crop": 0.85},
        "half the size": {"scale": 0.5},
        "low quality": {"crf": 40},
        "trimmed by 20 %": {"trim": 0.2},
        "dark, salt": dark,
        "dark, salt, mirrored, cropped": dark | {"mirror": True, "crop": 0.85},
        "any gamma, salt, mirror; trimmed": anything() | {"trim": 0.2},
        "all of it, low quality": anything() | {"crop": 0.85, "trim": 0.2, "crf": 36},
    }


def alter(
    frames: list[Image],
    rng: np.random.Generator,
    gamma: float = 1,
    salt: float = 0,
    mirror: bool = False,
    crop: float = 1,
    scale: float = 1,
    trim: float = 0,
) -> list[Image]:
    """The frames (height, width, 3) of a sibling of `frames`."""
    kept = round(len(frames) * (1 - trim))
    start = rng.integers(len(frames) - kept + 1)
    height, width = frames[0].shape[:2]
    down, across = int(height * crop), int(width * crop)
    top, left = rng.integers(height - down + 1), rng.integers(width - across + 1)
    tones = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    altered = []
    for frame in frames[start : start + kept]:
        part = frame[top : top + down, left : left + across]
        part = part[:, ::-1] if mirror else part
        if scale != 1:
            part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        part = tones[part]
        part[rng.random(part.shape[:2]) < salt] = 255
        altered.append(part)
    return altered


def write(file: Path, frames: list[Image], rate: Fraction, crf: int) -> None:
    """Write `frames` as H.264; an odd last row or column is left out."""
    height, width = (size // 2 * 2 for size in frames[0].shape[:2])
    options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
    with av.open(file, "w") as container:
        stream = container.add_stream("h264", rate, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in frames:
            image = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())


def read(clip: Path) -> tuple[list[Image], Fraction, np.random.Generator]:
    """All frames of `clip`, their rate, and a generator of its own."""
    with av.open(clip) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        rate = container.streams.video[0].average_rate
    return frames, rate, np.random.default_rng(zlib.crc32(clip.name.encode()))


def make_siblings(clip: Path, target: Path) -> None:
    """Write `clip`, and a sibling of each kind, to the folder `target`."""
    frames, rate, rng = read(clip)
    write(target / f"{clip.stem}@original.mp4", frames, rate, 18)
    for kind, change in changes(rng).items():
        crf = change.pop("crf", 24)
        write(target / f"{clip.stem}@{kind}.mp4", alter(frames, rng, **change), rate, crf)


def make(folder: Path, output: Path, workers: int = 1) -> None:
    """Write the clips of `folder`, as `<class>/<name>@original.mp4` and so on, to `output`.

    The pixels are the same whatever the number of `workers`: each clip has its own generator.
    """
    clips = sorted(folder.glob("*/*.avi"))
    targets = [output / clip.parent.name for clip in clips]
    for target in targets:
        target.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        list(pool.map(make_siblings, clips, targets))
