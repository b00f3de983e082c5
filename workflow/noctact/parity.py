"""Stage parity: the clips of which seeking, the notebooks' way, gives other pictures than decoding.

A picture differs because seeking finds another frame, because the header's count of frames, by
which it chooses, is wrong, or because the pixels are not square, which seeking leaves so.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from noctact.arguments import add_frame_settings, frame_settings
from noctact.clips import list_clips
from noctact.errors import NoctactError
from noctact.index import printable
from noctact.sampling import FrameSettings
from noctact.seeking import read_by_seeking
from noctact.tables import write_csv
from noctact.video import Reading, UndecodableError, open_video, read_frames
from noctact.workers import Failure, guarded

COLUMNS = ("video_id", "path", "n_header", "n_decoded", "different", "first", "note")

# Even sizes of these OpenCV and PyAV turn into the same RGB to the digit, so that any difference is
# of the frames: in the 60 UT-Interaction clips wrong ones differ by 0.01 to 7.4 levels on average.
SAME_RGB = {
    *("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"),
    *("gray", "rgb24", "bgr0", "bgra", "gbrp"),
}
# Others they place and round otherwise: the same frame differs by up to 1.5 levels on average with
# 10 bits (recordings: 1.1 to 1.2), by up to 0.6 with odd sizes. There, smaller differences go
# unseen.
NOISE = 2.0


# Limits for one clip, read both ways.
SECONDS, MEMORY_MB = 240, 2000


class Comparison(NamedTuple):
    """The two ways of reading one clip; the numbers are None for a way that can't read it."""

    n_header: int | None  # frames by the header
    n_decoded: int | None
    different: int | None  # of the chosen frames
    first: int | None  # place, from 0, of the first that differs; None when none does
    note: str = ""  # why the clip can't be read


def conversion_noise(clip: Path) -> float:
    """How much two readings of one frame may differ, in levels of 255 on average."""
    with open_video(clip.absolute()) as (_, stream):
        even = stream.width % 2 == stream.height % 2 == 0
        return 0.0 if even and stream.pix_fmt in SAME_RGB else NOISE


def attempt(
    read: Callable[[Path, FrameSettings], Reading], clip: Path, settings: FrameSettings
) -> Reading | str:
    """What `read` gives, or the reason why it gives nothing."""
    try:
        return read(clip, settings)
    except (UndecodableError, OSError) as error:
        return str(error)


def compare_readings(clip: Path, settings: FrameSettings) -> Comparison:
    """Read `clip` both ways and compare the pictures, place by place."""
    cv2.setNumThreads(1)
    sought = attempt(read_by_seeking, clip, settings)
    exact = attempt(read_frames, clip, settings._replace(decoding="exact"))
    if isinstance(sought, str) or isinstance(exact, str):
        return Comparison(
            None if isinstance(sought, str) else sought.n_decoded,
            None if isinstance(exact, str) else exact.n_decoded,
            different=None,
            first=None,
            note="; ".join(
                f"{way}: {result}"
                for way, result in (("seek", sought), ("exact", exact))
                if isinstance(result, str)
            ),
        )
    distance = np.abs(sought.frames.astype(np.int16) - exact.frames).mean(axis=(1, 2, 3))
    places = np.flatnonzero(distance > conversion_noise(clip))
    first = int(places[0]) if len(places) else None
    return Comparison(sought.n_decoded, exact.n_decoded, len(places), first)


def compare_clips(root: Path, settings: FrameSettings) -> Iterator[tuple[str, Path, Comparison]]:
    """(video_id, path, comparison) of all clips under `root`, and of what can't be one.

    Raises NoctactError as `clips.list_clips` does.
    """
    clips, rejected = list_clips(root, fewest=1)
    for file in rejected:
        yield file.video_id, file.path, Comparison(None, None, None, None, file.reason)
    compare = partial(compare_readings, settings=settings)
    comparisons = guarded(compare, [clip.path for clip in clips], SECONDS, MEMORY_MB)
    bar = tqdm(comparisons, total=len(clips), unit="clip", disable=None)
    for clip, result in zip(clips, bar, strict=True):
        comparison = (
            Comparison(None, None, None, None, result.reason)
            if isinstance(result, Failure)
            else result
        )
        yield clip.video_id, clip.path, comparison


def parity(root: Path, settings: FrameSettings, output: Path) -> None:
    """Write a row to `output` for each clip that differs or can't be compared; print the numbers.

    Raises NoctactError as `compare_clips` does, and for a choice of frames by time.
    """
    if settings.by != "index":
        raise NoctactError("--by time: seeking knows no times; compare by index")
    rows: list[tuple[object, ...]] = []
    compared = differing = different = 0
    for video_id, path, comparison in compare_clips(root, settings):
        if comparison.different is not None:
            compared += 1
            differing += comparison.different > 0
            different += comparison.different
        if comparison.different != 0:
            rows.append((video_id, printable(path), *comparison))
    write_csv(output, COLUMNS, sorted(rows, key=lambda row: str(row[0])))
    frames = compared * settings.count
    print(f"{differing} of {compared} clips differ, in {different} of {frames} frames", end="")
    print(f"; {len(rows) - differing} can't be compared; list: {output}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--clips", type=Path, required=True, help="folder of <class>/<clip>")
    add_frame_settings(parser)
    parser.add_argument("--output", type=Path, required=True, help="CSV to write")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    parity(args.clips, frame_settings(args), args.output)
