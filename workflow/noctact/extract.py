"""Stage extract: the frames and the signatures of one shard of clips, as HDF5."""

import argparse
import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import h5py
from tqdm import tqdm

from noctact.arguments import add_frame_settings, frame_settings, positive
from noctact.atomic import replacing
from noctact.checksums import write_checksum
from noctact.clips import Clip, list_clips, shard_of
from noctact.errors import NoctactError
from noctact.sampling import FrameSettings
from noctact.seeking import read_by_seeking
from noctact.shards import ClipFrames, write_shard
from noctact.signatures import SETTINGS, Signature, Writer, sign, writing
from noctact.tables import QUARANTINE, write_csv
from noctact.video import Reading, read_frames
from noctact.workers import Failure, guarded

# What the system and FFmpeg, and OpenCV, say when there is no more memory to be had.
OUT_OF_MEMORY = ("Cannot allocate memory", "Insufficient memory")


class Lines(tqdm):  # type: ignore[type-arg]
    """Progress for a log: a line every 10 s, where a terminal has a bar that moves."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line; a `msg` would only wipe off the bar."""
        if msg is None:
            print(self, file=self.fp, flush=True)


def progress(shard: int, n_clips: int) -> "tqdm[Any]":
    """A bar on a terminal, or lines."""
    name = f"shard {shard}"
    if sys.stderr.isatty():
        return tqdm(total=n_clips, desc=name, unit="clip")
    line = "{desc}: {n} of {total} clips, {rate_noinv:.1f} clips/s, {remaining} left{postfix}"
    return Lines(
        total=n_clips, desc=name, bar_format=line, mininterval=10, delay=10, miniters=1, leave=False
    )


def read_clip(settings: FrameSettings, clip: Path) -> Reading:
    """Read `clip` as `settings` say; UndecodableError, OSError or MemoryError when it can't be."""
    cv2.setNumThreads(1)
    # What is wrong with a damaged clip is in the quarantine; the logs would only repeat it.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return (read_by_seeking if settings.decoding == "seek" else read_frames)(clip, settings)
    except (NoctactError, OSError, cv2.error) as error:
        if any(text in str(error) for text in OUT_OF_MEMORY):
            raise MemoryError from error
        raise


def read_and_sign(settings: FrameSettings, clip: Path) -> tuple[Reading, Signature]:
    """What `read_clip` gives, and the signature of the clip, which has moments of its own."""
    moments = read_clip(SETTINGS, clip)
    return read_clip(settings, clip), sign(moments.frames, moments.width, moments.height)


def clip_rows(
    clips: list[Clip],
    readings: Iterable[tuple[Reading, Signature] | Failure],
    bar: "tqdm[Any]",
    signatures: Writer,
    quarantine: list[tuple[str, str, str]],
) -> Iterator[ClipFrames]:
    """The rows of `clips`, whose signatures are written to `signatures`; one whose reading failed
    goes to `quarantine` with the reason.
    """
    bar.set_postfix_str("0 in quarantine", refresh=False)
    for clip, reading in zip(clips, readings, strict=True):
        if isinstance(reading, Failure):
            quarantine.append((clip.video_id, str(clip.path), reading.reason))
            bar.set_postfix_str(f"{len(quarantine)} in quarantine", refresh=False)
        else:
            frames, signature = reading
            signatures.append(clip.video_id, signature)
            yield ClipFrames(clip.video_id, clip.label, **frames._asdict())
        bar.update()


def extract(
    root: Path,
    shard: int,
    shards: int,
    settings: FrameSettings,
    output: Path,
    signatures: Path,
    quarantine: Path,
    checksum: Path,
    seconds: int,
    memory_mb: int,
) -> None:
    """Write the frames of the clips of shard `shard` of `shards`, their signatures, what could not
    be decoded, and the checksum of the shard.

    A clip may take `seconds` and `memory_mb` MB to decode. Raises NoctactError for a shard that is
    none of the `shards`, for a full disk, and as `clips.list_clips` and `workers.guarded` do.
    """
    if not 0 <= shard < shards:
        raise NoctactError(f"shard {shard} of {shards}: shards count from 0 to {shards - 1}")
    clips = [clip for clip in list_clips(root)[0] if shard_of(clip.video_id, shards) == shard]
    attributes = {
        "sampling": settings.sampling,
        "by": settings.by,
        "decoding": settings.decoding,
        "truncated": settings.truncated,
        "padding": "zero, centred",
        "resize": "bilinear",
        "shard": f"{shard} of {shards}",
        "av": av.__version__,
        "opencv": cv2.__version__,
        "h5py": h5py.__version__,
    }
    shape = (settings.count, settings.height, settings.width)
    faults: list[tuple[str, str, str]] = []
    read = partial(read_and_sign, settings)
    readings = guarded(read, [clip.path for clip in clips], seconds, memory_mb)
    try:
        with replacing(output) as temporary, replacing(signatures) as signed:
            with closing(readings), progress(shard, len(clips)) as bar, writing(signed) as writer:
                rows = clip_rows(clips, readings, bar, writer, faults)
                write_shard(temporary, rows, shape, attributes)
            write_csv(quarantine, QUARANTINE, faults)
        write_checksum(output, checksum)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoctactError(
            f"{output}: no space left on the disk: free some and run again"
        ) from error
    print(f"shard {shard}: {len(clips) - len(faults)} clips, {len(faults)} in quarantine")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--clips", type=Path, required=True, help="folder of <class>/<clip>")
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 0")
    parser.add_argument("--shards", type=positive, required=True, help="number of shards")
    add_frame_settings(parser)
    parser.add_argument("--seconds", type=positive, default=120, help="to decode a clip, at most")
    parser.add_argument("--memory", type=positive, default=1000, help="MB, likewise")
    parser.add_argument("--output", type=Path, required=True, help="HDF5 file to write")
    parser.add_argument("--signatures", type=Path, required=True, help="HDF5 file to write")
    parser.add_argument("--quarantine", type=Path, required=True, help="CSV to write")
    parser.add_argument("--checksum", type=Path, required=True, help="SHA-256 to write")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    extract(
        args.clips,
        args.shard,
        args.shards,
        frame_settings(args),
        args.output,
        args.signatures,
        args.quarantine,
        args.checksum,
        args.seconds,
        args.memory,
    )
