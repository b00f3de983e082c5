"""Stage extract: the frames of one shard of clips, as HDF5."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import h5py
from tqdm import tqdm

from noctact.arguments import positive
from noctact.atomic import replacing
from noctact.clips import Clip, list_clips, shard_of
from noctact.errors import NoctactError
from noctact.shards import ClipFrames, write_shard
from noctact.tables import QUARANTINE, write_csv
from noctact.video import UndecodableError, read_frames


def clip_rows(
    clips: list[Clip], shape: tuple[int, int, int], quarantine: list[tuple[str, str, str]]
) -> Iterator[ClipFrames]:
    """Decode `clips` one by one; those that can't be go to `quarantine` with the reason."""
    for clip in tqdm(clips, unit="clip", disable=None):
        try:
            frames, indices, n_decoded = read_frames(clip.path, *shape)
        except (UndecodableError, OSError) as error:
            quarantine.append((clip.video_id, str(clip.path), str(error)))
        else:
            yield ClipFrames(clip.video_id, clip.label, frames, indices, n_decoded)


def extract(
    root: Path,
    shard: int,
    shards: int,
    shape: tuple[int, int, int],
    output: Path,
    quarantine: Path,
) -> None:
    """Write the frames of the clips of shard `shard` of `shards`, and what could not be decoded.

    `shape` is (count, height, width) of the frames of a clip. Raises NoctactError for a shard that
    is none of the `shards`, and as `clips.list_clips` does.
    """
    if not 0 <= shard < shards:
        raise NoctactError(f"shard {shard} of {shards}: shards count from 0 to {shards - 1}")
    cv2.setNumThreads(1)
    # What FFmpeg says of a damaged clip is in the quarantine; its log would only repeat it.
    av.logging.set_level(av.logging.PANIC)
    clips = [clip for clip in list_clips(root)[0] if shard_of(clip.video_id, shards) == shard]
    versions = {"av": av.__version__, "opencv": cv2.__version__, "h5py": h5py.__version__}
    settings = {
        "sampling": "int(i * n_decoded / count)",
        "padding": "zero, centred",
        "resize": "bilinear",
        "shard": f"{shard} of {shards}",
    }
    faults: list[tuple[str, str, str]] = []
    with replacing(output) as partial:
        write_shard(partial, clip_rows(clips, shape, faults), shape, versions | settings)
        write_csv(quarantine, QUARANTINE, faults)
    print(f"shard {shard}: {len(clips) - len(faults)} clips, {len(faults)} in quarantine")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--clips", type=Path, required=True, help="folder of <class>/<clip>")
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 0")
    parser.add_argument("--shards", type=positive, required=True, help="number of shards")
    parser.add_argument("--count", type=positive, required=True, help="frames a clip")
    parser.add_argument("--height", type=positive, required=True, help="pixels")
    parser.add_argument("--width", type=positive, required=True, help="pixels")
    parser.add_argument("--output", type=Path, required=True, help="HDF5 file to write")
    parser.add_argument("--quarantine", type=Path, required=True, help="CSV to write")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    shape = (args.count, args.height, args.width)
    extract(args.clips, args.shard, args.shards, shape, args.output, args.quarantine)
