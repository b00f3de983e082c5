"""Stage index: what clips there are, before any is decoded."""

import argparse
import os
from pathlib import Path

from noctact.arguments import positive
from noctact.checksums import sha256
from noctact.clips import list_clips, shard_of
from noctact.tables import INDEX, QUARANTINE, write_csv


def printable(path: Path) -> str:
    """`path` as text; bytes that are not UTF-8 become the replacement character."""
    return os.fsencode(path).decode(errors="replace")


def index(root: Path, shards: int, listing: Path, rejected: Path) -> None:
    """List the clips under `root` in `listing`, and what can't be one in `rejected`.

    A file that can't be read to its end counts as rejected. Raises NoctactError as
    `clips.list_clips` does.
    """
    clips, refused = list_clips(root)
    rows: list[tuple[object, ...]] = []
    faults = [(file.video_id, printable(file.path), file.reason) for file in refused]
    for clip in clips:
        try:
            content = sha256(clip.path)
        except OSError as error:
            faults.append((clip.video_id, str(clip.path), f"unreadable: {error.strerror}"))
            continue
        size = clip.path.stat().st_size
        shard = shard_of(clip.video_id, shards)
        rows.append((clip.video_id, str(clip.path), clip.label, size, content, shard))
    write_csv(listing, INDEX, rows)
    write_csv(rejected, QUARANTINE, sorted(faults))
    print(f"{len(rows)} clips, {len(faults)} files rejected")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--clips", type=Path, required=True, help="folder of <class>/<clip>")
    parser.add_argument("--shards", type=positive, required=True, help="number of shards")
    parser.add_argument("--index", type=Path, required=True, help="CSV to write")
    parser.add_argument("--rejected", type=Path, required=True, help="CSV to write")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    index(args.clips, args.shards, args.index, args.rejected)
