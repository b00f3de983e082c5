"""Perceptual signatures: what of a clip stays when it is darkened, salted, mirrored, cropped,
scaled, encoded again or trimmed.

The frames are freed of salt by a median filter and scaled down. Their logarithm turns gamma, which
is x^g, into a factor, and every measure made of a signature is a correlation, which no factor or
offset changes. A signature has two parts: the *look*, the median over time, which clips of one
scene share; and the *motion*, what each moment adds to it, which those of one recording share.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from noctact.sampling import FrameSettings
from noctact.shards import Sink, must_be_shard, open_shard

Floats = NDArray[np.float32]

MOMENTS, HEIGHT, WIDTH = 32, 36, 48
# What a signature is made from, whatever frames the models get.
SETTINGS = FrameSettings(MOMENTS, 240, 320, truncated="keep")
DARK = 6.0  # added to the grey levels: the noise of the darkest ones must not become large
NOISE = 1.5  # motion below so many times its own median is noise
SALT = 40  # grey levels above the median of its neighbourhood that make a pixel salt

# Shares of height and width at which a window begins, and its size: a clip that was cropped to 85 %
# looks like one of the windows of what it was made from.
WINDOWS = [(0.0, 0.0, 1.0)] + [(y, x, 0.85) for y in (0, 0.075, 0.15) for x in (0, 0.075, 0.15)]
WAVES = 6  # lowest frequencies of each window, down and across


class Signature(NamedTuple):
    """What is kept of a clip."""

    look: NDArray[np.float16]  # (HEIGHT, WIDTH)
    motion: NDArray[np.int8]  # (MOMENTS, HEIGHT, WIDTH), in 127ths of its largest value
    windows: Floats  # (windows, 2, WAVES, WAVES): spectra of look and motion, each of norm 1
    brightness: float  # mean grey level of the frames, 0 to 255
    salt: float  # share of the pixels that stick out, 0 to 1


def picture_area(shape: tuple[int, int], width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of frames of `shape` (height, width) that the zero padding of a clip of
    `width` x `height` pixels does not touch; one of each at least.
    """
    scale = min(shape[0] / height, shape[1] / width)

    def inner(whole: int, part: float) -> slice:
        start = min(math.ceil((whole - part) / 2), whole - 1)
        return slice(start, max(start + 1, int((whole + part) / 2)))

    return inner(shape[0], height * scale), inner(shape[1], width * scale)


def normal(image: Floats) -> Floats:
    """`image` with mean 0 and standard deviation 1."""
    result: Floats = (image - image.mean()) / (image.std() + 1e-6)
    return result


def strength(motion: Floats) -> Floats:
    """Where how much moves: the root mean square of `motion` (moments, height, width) over time."""
    result: Floats = np.sqrt(np.square(motion).mean(axis=0))
    return result


def spectra(look: Floats, motion: Floats) -> Floats:
    """The lowest frequencies of look and strength of motion in each of WINDOWS, without the mean:
    (windows, 2, WAVES, WAVES). A mirrored clip has the odd columns negated.
    """
    rows = []
    for image in (look, strength(motion)):
        for y, x, size in WINDOWS:
            down, across = (
                slice(round(start * whole), round((start + size) * whole))
                for start, whole in ((y, HEIGHT), (x, WIDTH))
            )
            small = cv2.resize(image[down, across], (16, 16), interpolation=cv2.INTER_AREA)
            waves = cv2.dct(normal(small))[:WAVES, :WAVES]
            waves[0, 0] = 0
            rows.append(waves / (np.linalg.norm(waves) + 1e-6))
    both = np.reshape(rows, (2, len(WINDOWS), WAVES, WAVES))
    return np.ascontiguousarray(both.swapaxes(0, 1), np.float32)


def separate(small: Floats) -> tuple[Floats, Floats]:
    """Look and motion of grey levels (moments, height, width)."""
    tones = np.log(small + DARK)
    low, high = np.percentile(tones, [0.5, 99.5])
    tones = np.clip((tones - low) / (high - low + 1e-6), 0, 1)
    look = np.median(tones, axis=0)
    motion = tones - look
    motion -= np.median(motion, axis=(1, 2), keepdims=True)  # flicker of the whole picture
    motion = np.stack([cv2.GaussianBlur(moment, (0, 0), 0.8) for moment in motion])
    # Of a normal distribution, 1.48 times the median of the absolute values is the deviation.
    noise = NOISE * 1.48 * np.median(np.abs(motion))
    return look, np.sign(motion) * np.maximum(np.abs(motion) - noise, 0)


def sign(frames: NDArray[np.uint8], width: int, height: int) -> Signature:
    """The signature of a clip of `width` x `height` pixels.

    `frames` are those by SETTINGS: RGB (MOMENTS, 240, 320, 3), zero-padded.
    """
    rows, columns = picture_area(frames.shape[1:3], width, height)
    small = np.empty((len(frames), HEIGHT, WIDTH), np.float32)
    brightness, salt = [], []
    for frame, part in zip(frames, small, strict=True):
        grey = cv2.cvtColor(np.ascontiguousarray(frame[rows, columns]), cv2.COLOR_RGB2GRAY)
        if width < grey.shape[1]:  # enlarged: a grain of salt would be several pixels
            grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        clean = cv2.medianBlur(grey, 3)
        brightness.append(grey.mean())
        salt.append((cv2.subtract(grey, clean) > SALT).mean())
        part[:] = cv2.resize(
            clean.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA
        )
    look, motion = separate(small)
    peak = np.abs(motion).max() + 1e-6
    return Signature(
        look=look.astype(np.float16),
        motion=np.rint(127 * motion / peak).astype(np.int8),
        windows=spectra(look, motion),
        brightness=float(np.mean(brightness)),
        salt=float(np.mean(salt)),
    )


# Shape and dtype of what a file of signatures holds of each clip.
COLUMNS = {
    "look": ((HEIGHT, WIDTH), "float16"),
    "motion": ((MOMENTS, HEIGHT, WIDTH), "int8"),
    "windows": ((len(WINDOWS), 2, WAVES, WAVES), "float32"),
    "brightness": ((), "float32"),
    "salt": ((), "float32"),
}


class Writer:
    """Writes signatures to an HDF5 file as they come, one chunk each."""

    def __init__(self, sink: Sink, file: h5py.File) -> None:
        """Make the columns in `file`, which writes to `sink`."""
        self._sink = sink
        self.video_ids: list[str] = []
        self._columns = {
            name: file.create_dataset(
                name,
                (0, *shape),
                dtype,
                maxshape=(None, *shape),
                chunks=(1, *shape) if shape else (1024,),
                **hdf5plugin.LZ4(),
            )
            for name, (shape, dtype) in COLUMNS.items()
        }

    def append(self, video_id: str, signature: Signature) -> None:
        """Write the signature of one clip; raises OSError when the disk is full."""
        for name, column in self._columns.items():
            column.resize(len(self.video_ids) + 1, axis=0)
            column[-1] = getattr(signature, name)
        self.video_ids.append(video_id)
        self._sink.check()


@contextmanager
def writing(file: Path) -> Iterator[Writer]:
    """Give a Writer to `file`; raises OSError when it can't be written."""
    with Sink(file) as sink, h5py.File(sink, "w") as target:
        writer = Writer(sink, target)
        yield writer
        names = np.array(writer.video_ids, object)
        target.create_dataset("video_id", data=names, dtype=h5py.string_dtype())


class Signatures:
    """The signatures in several files, by their place in `video_ids`.

    All but the names is read when asked for. Of use in the process that made it only: HDF5 handles
    must not cross a fork.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Open `files`; raises NoctactError for one that holds no signatures."""
        self.video_ids: list[str] = []
        self._places: list[tuple[Path, int]] = []
        self._open: dict[Path, h5py.File] = {}
        for file in files:
            with must_be_shard(file):
                shard = self._open[file] = open_shard(file)
                names = shard["video_id"].asstr()[:].tolist()
                self.video_ids += names
                self._places += [(file, row) for row in range(len(names))]

    @property
    def windows(self) -> Floats:
        """The spectra of all clips: (clips, windows, 2, WAVES, WAVES)."""
        return self._column("windows")

    @property
    def brightness(self) -> Floats:
        """Mean grey level of each clip, 0 to 255."""
        return self._column("brightness")

    @property
    def salt(self) -> Floats:
        """Share of salt of each clip, 0 to 1."""
        return self._column("salt")

    def _column(self, name: str) -> NDArray[Any]:
        parts = []
        for file, shard in self._open.items():
            with must_be_shard(file):
                parts.append(shard[name][:])
        return np.concatenate(parts)

    def read(self, place: int) -> tuple[Floats, Floats]:
        """Look (HEIGHT, WIDTH) and motion (MOMENTS, HEIGHT, WIDTH) of the clip at `place`."""
        file, row = self._places[place]
        with must_be_shard(file):
            look, motion = (self._open[file][name][row] for name in ("look", "motion"))
        return look.astype(np.float32), motion.astype(np.float32)
