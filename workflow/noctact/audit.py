"""Stage audit: the manifest of all clips, which show one recording, which could not be used."""

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from noctact.arguments import positive
from noctact.clips import compile_pattern
from noctact.duplicates import JOINED, near_duplicates
from noctact.errors import NoctactError
from noctact.shards import read_columns
from noctact.signatures import Signatures
from noctact.tables import (
    DECODED,
    GROUPS,
    INDEX,
    MANIFEST,
    PAIRS,
    QUARANTINE,
    read_csv,
    write_csv,
)
from noctact.wording import counted, some

Pair = tuple[str, str, str, float]  # video_id, other, evidence, similarity

# Names calibrate sight: of the pairs that it would join, so many must have the same recording by
# name; unless there are too few pairs of known names to tell.
TRUSTED, ENOUGH = 0.9, 10


def recordings(pattern: str | None, ids: Sequence[str]) -> dict[str, str]:
    """What the group of `pattern` finds in the file names of `ids`, for those that it matches.

    Prints which it does not match. Raises NoctactError when it matches none, or puts all into one
    group.
    """
    if not pattern:
        return {}
    compiled = compile_pattern(pattern)
    found = {clip: compiled.search(clip.split("/", 1)[1]) for clip in ids}
    names = {clip: match["group"] for clip, match in found.items() if match}
    unmatched = [clip for clip in ids if not names.get(clip)]
    if unmatched:
        text = f"config key groups.pattern: {pattern!r} does not match {len(unmatched)} of"
        text += f" {len(ids)} clips, such as {some(unmatched)}"
        if len(unmatched) == len(ids):
            raise NoctactError(text)
        print(f"{text}: each counts as a recording of its own")
    if len(set(names.values())) == 1 and not unmatched:
        raise NoctactError(
            f"config key groups.pattern: {pattern!r} puts all clips in one group,"
            f" {next(iter(names.values()))!r}: {some(ids)}"
        )
    return {clip: name for clip, name in names.items() if name}


def same(clips: pd.DataFrame, column: str, evidence: str) -> list[Pair]:
    """Pairs of `clips` with the same text in `column`: the first of each kind with each other."""
    pairs = []
    for _, alike in clips[clips[column] != ""].groupby(column)["video_id"]:
        first, *others = sorted(alike)
        pairs += [(first, other, evidence, 1.0) for other in others]
    return pairs


def seen(signatures: Sequence[Path], ids: Iterable[str], threads: int) -> list[Pair]:
    """Pairs of the clips `ids` that look alike, surely or not."""
    usable = set(ids)
    names, pairs = near_duplicates(signatures, threads)
    found = []
    for pair in pairs:
        one, other = sorted((names[pair.one], names[pair.other]))
        if one in usable and other in usable:
            found.append((one, other, "sight", min(pair.similarity, 1.0)))
    return found


def trusts_sight(pairs: Sequence[Pair], names: dict[str, str]) -> bool:
    """Whether sight may join clips: not where the names of those that it would join disagree.

    Prints what it found where it may not. Drawn figures, for example, all move alike.
    """
    known = [
        (one, other)
        for one, other, evidence, similarity in pairs
        if evidence == "sight" and similarity >= JOINED and one in names and other in names
    ]
    agree = sum(names[one] == names[other] for one, other in known)
    if len(known) < ENOUGH or agree >= TRUSTED * len(known):
        return True
    print(
        f"sight can't tell the recordings of these clips apart: {len(known) - agree} of"
        f" {counted(len(known), 'pair')} that look alike have different recordings by name;"
        " it joins none"
    )
    return False


def group_clips(
    ids: Iterable[str], names: dict[str, str], pairs: Sequence[Pair]
) -> list[tuple[str, str, str]]:
    """Rows (video_id, group, evidence) of the clips `ids`, sorted by video_id.

    Clips of one name in `names`, and those of each of `pairs`, share a group; what is joined by
    either is one group. It is called as the first of its names, or as its first clip. The evidence
    is `name`, `content`, `frames` and `sight`, joined by `+`, or `single`.
    """
    sets = DisjointSet(sorted(ids))
    evidence: dict[str, set[str]] = defaultdict(set)
    members: dict[str, list[str]] = defaultdict(list)
    for clip in sorted(names):
        members[names[clip]].append(clip)
    by_name = [
        (first, other, "name", 1.0) for first, *others in members.values() for other in others
    ]
    for one, other, kind, _ in [*by_name, *pairs]:
        sets.merge(one, other)
        evidence[one].add(kind)
        evidence[other].add(kind)
    order = ("name", "content", "frames", "sight")
    rows = []
    for group in sets.subsets():
        name = min((names[clip] for clip in group if clip in names), default=min(group))
        for clip in group:
            kinds = "+".join(kind for kind in order if kind in evidence[clip]) or "single"
            rows.append((clip, name, kinds))
    return sorted(rows)


def tell_groups(rows: Sequence[tuple[str, str, str]]) -> None:
    """Print how many groups `rows` are, and what is odd about them: more than half of the clips in
    one, several classes in one, a class in one only.
    """
    table = pd.DataFrame(rows, columns=GROUPS)
    table["label"] = table["video_id"].str.split("/").str[0]
    print(f"{len(table)} clips in {table['group'].nunique()} groups")
    sizes = table["group"].value_counts()
    if len(sizes) > 1 and sizes.iloc[0] > len(table) / 2:
        members = table[table["group"] == sizes.index[0]]["video_id"]
        print(f"group {sizes.index[0]!r} holds {sizes.iloc[0]} of them: {some(members)}")
    classes = table.groupby("group")["label"].nunique()
    mixed = table[table["group"].map(classes) > 1]
    if len(mixed):
        several = mixed["group"].nunique()
        print(f"{counted(several, 'group')} of several classes: {some(mixed['video_id'])}")
    for label, clips in table.groupby("label"):
        if clips["group"].nunique() == 1:
            group = clips["group"].iloc[0]
            text = f"class {label!r}: all clips in one group, {group!r}: {some(clips['video_id'])}"
            if clips["evidence"].str.contains("sight").any():
                text += "; where they show different recordings, set groups.sight to false"
            print(text)


def decoded(shard: Path) -> pd.DataFrame:
    """What `shard` says of its clips: video_id, the columns DECODED and `frames`, a hash of the
    frames, all as text.

    Raises NoctactError for a file that is no shard.
    """
    own = [name for name in DECODED if name != "repeated"]
    columns = read_columns(shard, ["video_id", "frame_index", "sha256", *own])
    taken, frames = columns.pop("frame_index"), columns.pop("sha256")
    clips = pd.DataFrame(columns)
    clips["frames"] = frames
    clips["repeated"] = [len(indices) - len(set(indices)) for indices in taken]
    clips["rate"] = ["" if math.isnan(rate) else f"{rate:.6g}" for rate in clips["rate"]]
    return clips.astype(str)


def light(files: Sequence[Path]) -> pd.DataFrame:
    """What the signatures in `files` say of their clips: video_id, brightness and salt, as text."""
    signatures = Signatures(files)
    columns = {
        "video_id": signatures.video_ids,
        "brightness": [f"{value:.4g}" for value in signatures.brightness],
        "salt": [f"{value:.4g}" for value in signatures.salt],
    }
    return pd.DataFrame(columns, dtype=str)


def audit(
    index: Path,
    shards: Sequence[Path],
    signatures: Sequence[Path],
    faults: Sequence[Path],
    output: Path,
    pattern: str | None = None,
    sight: bool = True,
    threads: int = 1,
) -> None:
    """Write to the folder `output` quarantine.csv, what is in the `faults` files; manifest.csv:
    `index`, and what `shards` and `signatures` say of each clip; pairs.csv: the clips that are
    alike; and groups.csv.

    Clips that look alike are joined where `sight` is true. Prints how many clips repeat frames or
    lost some, and how many are in the quarantine, by class, since what is left out can tilt the
    comparison. Raises NoctactError when a class has no clip left, and when one that is left is in
    none of the shards.
    """
    clips = pd.DataFrame(read_csv(index, INDEX), columns=INDEX).merge(
        pd.concat(map(decoded, shards)), how="left", on="video_id"
    )
    clips = clips.merge(light(signatures), how="left", on="video_id").fillna("")
    unusable = [row for file in faults for row in read_csv(file, QUARANTINE)]
    bad = pd.DataFrame(unusable, columns=QUARANTINE).sort_values("video_id")
    usable = clips[~clips["video_id"].isin(bad["video_id"])]
    check_usable(clips, usable, bad)
    names = recordings(pattern, sorted(usable["video_id"]))
    if not pattern:
        print(
            "config key groups.pattern: none, so recordings are told by content and by sight alone"
            if sight
            else "config key groups.pattern: none, so each clip counts as a recording of its own;"
            " clips of one recording may lie on both sides of the split"
        )
    # A copy of a file has the same frames, too, and is told of once only.
    copies = same(usable, "sha256", "content")
    first = usable[~usable["video_id"].isin({other for _, other, *_ in copies})]
    copies += same(first, "frames", "frames")
    known = {pair[:2] for pair in copies}
    alike = [
        pair for pair in seen(signatures, usable["video_id"], threads) if pair[:2] not in known
    ]
    trusted = sight and trusts_sight(alike, names)
    joined = [pair for pair in [*copies, *alike] if is_joined(pair, trusted)]
    groups = group_clips(usable["video_id"], names, joined)
    write_csv(output / "manifest.csv", MANIFEST, clips[[*MANIFEST]].itertuples(index=False))
    write_csv(output / "quarantine.csv", QUARANTINE, bad.itertuples(index=False))
    write_csv(output / "pairs.csv", PAIRS, pair_rows([*copies, *alike], groups))
    write_csv(output / "groups.csv", GROUPS, groups)
    tell_pairs(joined, len(copies) + len(alike) - len(joined))
    tell_groups(groups)
    tell_faults(usable, bad, output)


def check_usable(clips: pd.DataFrame, usable: pd.DataFrame, bad: pd.DataFrame) -> None:
    """Raise NoctactError for a class of `clips` without a `usable` one, and for one of these that
    no shard has.
    """
    emptied = sorted(set(clips["label"]) - set(usable["label"]))
    if emptied:
        label = emptied[0]
        first = bad[bad["video_id"].str.startswith(f"{label}/")].iloc[0]
        raise NoctactError(
            f"class {label!r}: none of its clips can be used; the first, {first['path']}: "
            f"{first['reason']}; mend them or move the folder away"
        )
    absent = usable[(usable["n_decoded"] == "") | (usable["brightness"] == "")]
    if len(absent):
        raise NoctactError(
            f"{absent.iloc[0]['video_id']}: not in the shards; run stage extract again"
        )


def is_joined(pair: Pair, trusted: bool) -> bool:
    """Whether the clips of `pair` are taken for one recording; by sight only where `trusted`."""
    _, _, evidence, similarity = pair
    return evidence != "sight" or (trusted and similarity >= JOINED)


def pair_rows(
    pairs: Sequence[Pair], groups: Sequence[tuple[str, str, str]]
) -> list[tuple[str, str, str, str, str]]:
    """Rows of pairs.csv, sorted; joined are clips of one group, by whatever evidence."""
    group_of = {clip: group for clip, group, _ in groups}
    return [
        (one, other, kind, f"{similarity:.3f}", "yes" if group_of[one] == group_of[other] else "no")
        for one, other, kind, similarity in sorted(pairs)
    ]


def tell_pairs(joined: Sequence[Pair], doubtful: int) -> None:
    """Print how many pairs of clips are alike, by evidence."""
    count = Counter(kind for _, _, kind, _ in joined)
    words = {"content": "of the same content", "frames": "of the same frames", "sight": "by sight"}
    parts = [
        f"{counted(count[kind], 'pair')} {text}" for kind, text in words.items() if count[kind]
    ]
    if doubtful:
        parts.append(f"{counted(doubtful, 'pair')} alike but not joined")
    if parts:
        print("; ".join(parts) + ": pairs.csv")


def tell_faults(usable: pd.DataFrame, bad: pd.DataFrame, output: Path) -> None:
    """Print how many clips repeat frames or lost some, and how many could not be used."""
    repeating, losing = ((usable[name] != "0").sum() for name in ("repeated", "n_lost"))
    if repeating or losing:
        manifest = output / "manifest.csv"
        print(f"{repeating} clips repeat frames, {losing} lost some; which: {manifest}")
    if len(bad):
        by_class = bad["video_id"].str.split("/").str[0].value_counts().sort_index()
        counts = ", ".join(f"{label}: {count}" for label, count in by_class.items())
        print(f"{len(bad)} in quarantine ({counts}); reasons: {output / 'quarantine.csv'}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--index", type=Path, required=True, help="CSV of stage index")
    parser.add_argument(
        "--shards", type=Path, nargs="+", required=True, help="HDF5 files of stage extract"
    )
    parser.add_argument(
        "--signatures", type=Path, nargs="+", required=True, help="HDF5 files of stage extract"
    )
    parser.add_argument(
        "--faults", type=Path, nargs="+", required=True, help="CSVs of clips that can't be used"
    )
    parser.add_argument("--pattern", help="regular expression with (?P<group>...)")
    parser.add_argument(
        "--sight", choices=("yes", "no"), default="yes", help="whether to join what looks alike"
    )
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for manifest.csv, groups.csv, pairs.csv and quarantine.csv",
    )


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    audit(
        args.index,
        args.shards,
        args.signatures,
        args.faults,
        args.output,
        args.pattern,
        args.sight == "yes",
        args.threads,
    )
