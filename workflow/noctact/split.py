"""Stage split: clips divided into train, val and test, by recording.

Where a recording goes depends on its own name and the seed alone, so that adding clips never moves
old ones. A name is a text and its last number (`Run_g07_c02` is `Run_g07_c` and 2). Its place in
[0, 1) is

    frac(hash(seed, text) + number * 0.6180339887...)

Places below `test` go to test, those from there to `test + val` to val, the others to train. The
multiples of the golden ratio spread evenly, however many they are (D. E. Knuth, The Art of Computer
Programming, volume 3, section 6.4): recordings numbered in a row meet the fractions closely, class
by class; other names meet them as independent draws do.

To stratify, recordings are lent where that is not close enough: each class has its fraction of val
and of test within a half of it or one recording, whichever is more, and at least one recording. The
recording whose place lies nearest is lent, and each loan is reported. Adding clips moves an old one
in two cases only: when a loan begins or ends, and when an added clip shows two recordings to be
one, or is a copy of a clip that had no group name.
"""

import argparse
import hashlib
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

from noctact.errors import NoctactError
from noctact.tables import GROUPS, SPLIT, read_csv, write_csv

GOLDEN_64 = 0x9E3779B97F4A7C15  # 2**64 / golden ratio


def place(name: str, seed: int) -> float:
    """The place of the recording or clip `name` in [0, 1), by the formula above."""
    stem = name.rsplit(".", 1)[0] if "/" in name else name
    numbers = list(re.finditer(r"\d+", stem))
    last = numbers[-1] if numbers else None
    text = stem[: last.start()] + "\0" + stem[last.end() :] if last else stem
    start = int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:8])
    return (start + (int(last[0]) if last else 0) * GOLDEN_64) % 2**64 / 2**64


def assign(labels: dict[str, set[str]], val: float, test: float, seed: int) -> dict[str, str]:
    """The split of each recording; `labels` gives the classes of its clips.

    A recording of several classes may keep one of them from its bounds. Raises NoctactError for a
    class that can't have a recording in each split.
    """
    ends = {"test": (0.0, test), "val": (test, test + val), "train": (test + val, 1.0)}
    ends = {split: (low, high) for split, (low, high) in ends.items() if high > low}
    places = {name: place(name, seed) for name in sorted(labels)}
    splits = {
        name: next(split for split, (low, high) in ends.items() if low <= at < high)
        for name, at in places.items()
    }
    totals = Counter(label for classes in labels.values() for label in classes)
    counts = Counter((label, splits[name]) for name in splits for label in labels[name])

    def bounds(label: str, split: str) -> tuple[float, float]:
        """Fewest and most recordings of `label` in `split`."""
        if split == "train":
            return 1, math.inf
        wanted = totals[label] * (ends[split][1] - ends[split][0])
        slack = max(1.0, wanted / 2)
        return max(1, math.ceil(wanted - slack)), max(1, math.floor(wanted + slack))

    def lend(label: str, lender: str | None, borrower: str) -> bool:
        """Move the nearest recording of `label`, from `lender` or any split, to `borrower`."""
        low, high = ends[borrower]
        filled = counts[label, borrower] > 0  # an empty split comes before the shares of others
        lendable = [
            (max(low - places[name], places[name] - high), name)
            for name, own in splits.items()
            if label in labels[name]
            and own == (lender or own) != borrower
            and all(
                counts[one, own] > (bounds(one, own)[0] if filled else 1) for one in labels[name]
            )
        ]
        if not lendable:
            return False
        _, nearest = min(lendable)
        for one in labels[nearest]:
            counts[one, splits[nearest]] -= 1
            counts[one, borrower] += 1
        print(
            f"recording {nearest!r} is lent to {borrower} by {splits[nearest]}, for class {label!r}"
        )
        splits[nearest] = borrower
        return True

    for label in sorted(totals):
        for split in ends:
            fewest, most = bounds(label, split)
            while counts[label, split] < fewest and lend(label, None, split):
                pass
            while counts[label, split] > most and lend(label, split, "train"):
                pass
            if not counts[label, split]:
                raise NoctactError(
                    f"class {label!r}: {totals[label]} recordings can't be divided into "
                    f"{', '.join(ends)}; add recordings, set split.test to 0, or split.strategy to "
                    "random"
                )
    return splits


def split_published(video_ids: list[str]) -> dict[str, str]:
    """The notebooks' split: 80/20 at random, and the 20 are test and validation in one (`val`)."""
    train, val = train_test_split(sorted(video_ids), test_size=0.2, random_state=31)
    return dict.fromkeys(train, "train") | dict.fromkeys(val, "val")


def split_clips(
    groups: pd.DataFrame, strategy: str, val: float, test: float, seed: int
) -> list[tuple[str, str, str, str]]:
    """Rows (video_id, label, group, split) of the clips in `groups` (video_id, group).

    `strategy` is `group` (no recording is in two splits), `random` (each clip by itself) or
    `published`.
    """
    if not (val > 0 and test >= 0 and val + test < 1):
        raise NoctactError(f"val {val} and test {test}: fractions of 1 that leave some to train on")
    group_of = dict(zip(groups["video_id"], groups["group"], strict=True))
    label_of = {clip: clip.split("/", 1)[0] for clip in group_of}
    if strategy == "published":
        split_of = split_published(list(group_of))
    else:
        unit_of = group_of if strategy == "group" else {clip: clip for clip in group_of}
        labels: dict[str, set[str]] = defaultdict(set)
        for clip, unit in unit_of.items():
            labels[unit].add(label_of[clip])
        assigned = assign(labels, val, test, seed)
        split_of = {clip: assigned[unit] for clip, unit in unit_of.items()}
    return [(clip, label_of[clip], group_of[clip], split_of[clip]) for clip in sorted(group_of)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--groups", type=Path, required=True, help="CSV of stage audit")
    parser.add_argument("--strategy", choices=("group", "random", "published"), required=True)
    parser.add_argument("--val", type=float, required=True, help="fraction, 0 to 1")
    parser.add_argument("--test", type=float, required=True, help="fraction, 0 to 1")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="CSV to write")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    groups = pd.DataFrame(read_csv(args.groups, GROUPS), columns=GROUPS)
    rows = split_clips(groups, args.strategy, args.val, args.test, args.seed)
    write_csv(args.output, SPLIT, rows)
    table = pd.DataFrame(rows, columns=SPLIT)
    clips = pd.crosstab(table["label"], table["split"], margins=True, margins_name="all")
    order = [split for split in ("train", "val", "test", "all") if split in clips]
    print(clips[order].rename_axis(index=None, columns="clips").to_string())
