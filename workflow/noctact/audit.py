"""Stage audit: the manifest of all clips, which show one recording, which could not be used."""

import argparse
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from noctact.clips import compile_pattern
from noctact.errors import NoctactError
from noctact.shards import read_columns
from noctact.tables import DECODED, GROUPS, INDEX, MANIFEST, QUARANTINE, read_csv, write_csv


def recording(pattern: re.Pattern[str], video_id: str) -> str | None:
    """What the named group `group` of `pattern` finds in the file name of `video_id`."""
    found = pattern.search(video_id.split("/", 1)[1])
    return found["group"] if found else None


def group_clips(clips: pd.DataFrame, pattern: str | None) -> list[tuple[str, str, str]]:
    """Rows (video_id, group, evidence) of `clips` (video_id, sha256), sorted by video_id.

    Clips of the same content, and clips whose file names agree in the `group` of `pattern`, share
    a group; what is joined by either is one group. Its name is what the pattern found, or the
    first video_id. The evidence is `name`, `content`, both joined by `+`, or `single`.

    Prints how many clips `pattern` does not match. Raises NoctactError when it matches none, or
    puts all into one group.
    """
    ids = sorted(clips["video_id"])
    compiled = compile_pattern(pattern) if pattern else None
    names = {clip: recording(compiled, clip) for clip in ids} if compiled else {}
    unmatched = [clip for clip in ids if compiled and not names[clip]]
    if unmatched:
        text = f"config key groups.pattern: {pattern!r} does not match {len(unmatched)} of"
        text += f" {len(ids)} clips, {unmatched[0]!r} for example"
        if len(unmatched) == len(ids):
            raise NoctactError(text)
        print(f"{text}: each counts as a recording of its own")
    content = dict(zip(clips["video_id"], clips["sha256"], strict=True))
    sets = DisjointSet(ids)
    evidence: dict[str, set[str]] = defaultdict(set)
    for kind, keys in (("name", names), ("content", content)):
        members: dict[str, list[str]] = defaultdict(list)
        for clip in ids:
            if key := keys.get(clip):
                members[key].append(clip)
        for same in members.values():
            for clip in same[1:]:
                sets.merge(same[0], clip)
            if len(same) > 1:
                for clip in same:
                    evidence[clip].add(kind)
    if pattern and sets.n_subsets == 1:
        raise NoctactError(f"config key groups.pattern: {pattern!r} puts all clips in one group")
    rows = []
    for members_of_one in sets.subsets():
        first = min(members_of_one)
        name = min(filter(None, (names.get(clip) for clip in members_of_one)), default=first)
        for clip in members_of_one:
            kinds = "+".join(sorted(evidence[clip], reverse=True)) or "single"
            rows.append((clip, name, kinds))
    return sorted(rows)


def decoded(shard: Path) -> pd.DataFrame:
    """What `shard` says of its clips: video_id and the columns DECODED, as text.

    Raises NoctactError for a file that is no shard.
    """
    own = [name for name in DECODED if name != "repeated"]
    columns = read_columns(shard, ["video_id", "frame_index", *own])
    taken = columns.pop("frame_index")
    clips = pd.DataFrame(columns)
    clips["repeated"] = [len(indices) - len(set(indices)) for indices in taken]
    clips["rate"] = ["" if math.isnan(rate) else f"{rate:.6g}" for rate in clips["rate"]]
    return clips.astype(str)


def audit(
    index: Path,
    shards: Sequence[Path],
    faults: Sequence[Path],
    manifest: Path,
    groups: Path,
    quarantine: Path,
    pattern: str | None = None,
) -> None:
    """Gather the `faults` files into `quarantine`; write the groups of the clips that are left, and
    the manifest: `index`, and what `shards` say of each clip that is left.

    Prints how many clips repeat frames or lost some, and how many are in the quarantine, by class,
    since what is left out can tilt the comparison. Raises NoctactError when a class has no clip
    left, and when one that is left is in none of the shards.
    """
    clips = pd.DataFrame(read_csv(index, INDEX), columns=INDEX).merge(
        pd.concat(map(decoded, shards)), how="left", on="video_id"
    )
    clips = clips.fillna("")[[*MANIFEST]]
    unusable = [row for file in faults for row in read_csv(file, QUARANTINE)]
    bad = pd.DataFrame(unusable, columns=QUARANTINE).sort_values("video_id")
    usable = clips[~clips["video_id"].isin(bad["video_id"])]
    emptied = sorted(set(clips["label"]) - set(usable["label"]))
    if emptied:
        label = emptied[0]
        first = bad[bad["video_id"].str.startswith(f"{label}/")].iloc[0]
        raise NoctactError(
            f"class {label!r}: none of its clips can be used; the first, {first['path']}: "
            f"{first['reason']}; mend them or move the folder away"
        )
    absent = usable[usable["n_decoded"] == ""]
    if len(absent):
        raise NoctactError(
            f"{absent.iloc[0]['video_id']}: not in the shards; run stage extract again"
        )
    if not pattern:
        print(
            "config key groups.pattern: none, so each clip counts as a recording of its own; clips "
            "of one recording may lie on both sides of the split"
        )
    rows = group_clips(usable, pattern)
    write_csv(manifest, MANIFEST, clips.itertuples(index=False))
    write_csv(quarantine, QUARANTINE, bad.itertuples(index=False))
    write_csv(groups, GROUPS, rows)
    print(f"{len(usable)} clips in {len({group for _, group, _ in rows})} groups")
    repeating, losing = ((usable[name] != "0").sum() for name in ("repeated", "n_lost"))
    if repeating or losing:
        print(f"{repeating} clips repeat frames, {losing} lost some; which: {manifest}")
    if len(bad):
        by_class = bad["video_id"].str.split("/").str[0].value_counts().sort_index()
        counts = ", ".join(f"{label}: {count}" for label, count in by_class.items())
        print(f"{len(bad)} in quarantine ({counts}); reasons: {quarantine}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--index", type=Path, required=True, help="CSV of stage index")
    parser.add_argument(
        "--shards", type=Path, nargs="+", required=True, help="HDF5 files of stage extract"
    )
    parser.add_argument(
        "--faults", type=Path, nargs="+", required=True, help="CSVs of clips that can't be used"
    )
    parser.add_argument("--pattern", help="regular expression with (?P<group>...)")
    parser.add_argument("--manifest", type=Path, required=True, help="CSV to write")
    parser.add_argument("--groups", type=Path, required=True, help="CSV to write")
    parser.add_argument("--quarantine", type=Path, required=True, help="CSV to write")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    audit(
        args.index,
        args.shards,
        args.faults,
        args.manifest,
        args.groups,
        args.quarantine,
        args.pattern,
    )
