"""Stage split: clips divided into train, val and test, by recording.

How recordings are divided: division.py. A clip that was there at the last time stays where it was
(split_memory.py), whatever is added, with two exceptions: when an added clip shows recordings of
several splits to be one, they go where most of their clips were; and when a class would otherwise
have no clip in a split.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from sklearn.model_selection import train_test_split

from noctact.division import SPLITS, Division, IndivisibleError
from noctact.errors import NoctactError
from noctact.split_column import split_by_column
from noctact.split_facts import Outcome, facts_of, label_of, notes, shares
from noctact.split_memory import NOTHING, Memory, recall, remember, write_json
from noctact.tables import GROUPS, QUARANTINE, SPLIT, read_csv, write_csv
from noctact.wording import counted, some

LASTING = ("group", "random")  # the strategies with a memory


class Settings(NamedTuple):
    """How to divide: `val` and `test` are fractions, `scarce` is `stop` or `clips`."""

    strategy: str
    val: float
    test: float
    seed: int
    scarce: str = "stop"

    def effective(self) -> dict[str, object]:
        """The settings; None for those that the strategy does not go by."""
        own = self._asdict()
        return own if self.strategy in LASTING else dict.fromkeys(own) | {"strategy": self.strategy}


def majority(splits: Iterable[str]) -> str:
    """The most frequent of `splits`; of equals, the first of train, val, test."""
    count = Counter(splits)
    return max(SPLITS, key=lambda split: count[split])


def divide_units(
    unit_of: Mapping[str, str], settings: Settings, splits: Mapping[str, str]
) -> Division:
    """Divide what `unit_of` maps the clips to: recordings or clips. `splits` has the old clips."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    old: dict[str, list[str]] = defaultdict(list)
    for clip, unit in unit_of.items():
        labels[unit][label_of(clip)] += 1
        if clip in splits:
            old[unit].append(splits[clip])
    stay = {unit: majority(own) for unit, own in old.items()}
    return Division(labels, settings.val, settings.test, settings.seed, stay)


def divide_clips(
    group_of: Mapping[str, str], settings: Settings, memory: Memory = NOTHING
) -> tuple[dict[str, str], Division, list[str]]:
    """The split of each clip by strategy group or random, the division behind it, and the classes
    divided by clips.

    Raises NoctactError for fractions that leave nothing to train on, and for a class that has too
    few recordings (too few clips, where it may be divided by clips).
    """
    if not (settings.val > 0 and settings.test >= 0 and settings.val + settings.test < 1):
        raise NoctactError(
            f"val {settings.val} and test {settings.test}: fractions of 1 that leave some to train"
            " on"
        )
    by_clips = settings.strategy == "random"
    may_leak = settings.scarce == "clips" and not by_clips
    scarce = {*memory.scarce} & {*map(label_of, group_of)} if may_leak else set()
    while True:
        unit_of = {
            clip: clip if by_clips or label_of(clip) in scarce else group
            for clip, group in group_of.items()
        }
        try:
            division = divide_units(unit_of, settings, memory.splits)
        except IndivisibleError as error:
            if not may_leak or error.label in scarce:
                raise NoctactError(explain(error.label, unit_of, settings)) from None
            scarce.add(error.label)
        else:
            splits = {clip: division.splits[unit] for clip, unit in unit_of.items()}
            return splits, division, sorted(scarce)


def explain(label: str, unit_of: Mapping[str, str], settings: Settings) -> str:
    """Why class `label` can't be divided, and what to do."""
    members = defaultdict(list)
    for clip, unit in unit_of.items():
        if label_of(clip) == label:
            members[unit].append(clip)
    wanted = ("train", "val", "test") if settings.test else ("train", "val")
    if all(clips == [unit] for unit, clips in members.items()):
        thing, shown = "clip", [some(members)]
    else:
        thing = "recording"
        shown = [f"{unit!r} ({some(members[unit], 2)})" for unit in sorted(members)[:3]]
    text = f"class {label!r}: {counted(len(members), thing)} can't be divided into "
    text += f"{', '.join(wanted)}: {', '.join(shown)}"
    if len(members) >= len(wanted):
        text += "; they hold clips of other classes, too"
    ways = [f"add {thing}s"]
    ways += ["set split.test to 0"] if settings.test else []
    enough = sum(map(len, members.values())) >= len(wanted)
    if enough and settings.strategy == "group":
        ways.append("set split.scarce to clips, which divides recordings")
    return f"{text}; {', or '.join(ways)}"


def split_published(video_ids: Iterable[str]) -> dict[str, str]:
    """The notebooks' split: 80/20 at random, and the 20 are test and validation in one (`val`)."""
    train, val = train_test_split(sorted(video_ids), test_size=0.2, random_state=31)
    return dict.fromkeys(train, "train") | dict.fromkeys(val, "val")


def count_kept(group_of: Mapping[str, str], settings: Settings, splits: Mapping[str, str]) -> int:
    """How many of the old clips, in `splits`, a fresh split would put elsewhere."""
    if not splits:
        return 0
    try:
        fresh, _, _ = divide_clips(group_of, settings)
    except NoctactError:  # possible with the memory only
        return 0
    return sum(fresh[clip] != split for clip, split in splits.items())


def make_split(
    group_of: Mapping[str, str], settings: Settings, memory: Memory = NOTHING
) -> Outcome:
    """Divide the clips, `group_of` of which gives the recording, by any strategy but column.

    `group`: no recording is in two splits; `random`: each clip by itself; `published`: see there.
    Raises NoctactError, see `divide_clips`.
    """
    if settings.strategy == "published":
        return Outcome(split_published(group_of), asked={"train": 0.8, "val": 0.2})
    splits, division, scarce = divide_clips(group_of, settings, memory)
    old = {clip: split for clip, split in memory.splits.items() if clip in group_of}
    return Outcome(
        splits,
        asked={"train": 1 - settings.val - settings.test} | division.fractions,
        bound={split: division.bound(split) for split in division.fractions},
        beyond={split: division.beyond(split) for split in division.fractions},
        lent=[name for name, own in sorted(division.splits.items()) if own != division.home(name)],
        loans=division.loans,
        moved=sorted(clip for clip, split in old.items() if splits[clip] != split),
        kept=count_kept(group_of, settings, old),
        scarce=scarce,
    )


def rows_of(
    group_of: Mapping[str, str], splits: Mapping[str, str]
) -> list[tuple[str, str, str, str]]:
    """The rows of split.csv: video_id, label, group, split."""
    return [(clip, label_of(clip), group_of[clip], splits[clip]) for clip in sorted(group_of)]


def split_clips(
    groups: pd.DataFrame, strategy: str, val: float, test: float, seed: int
) -> list[tuple[str, str, str, str]]:
    """The rows of split.csv for the clips in `groups` (video_id, group), without a memory.

    Raises NoctactError, see `divide_clips`.
    """
    group_of = dict(zip(groups["video_id"], groups["group"], strict=True))
    return rows_of(group_of, make_split(group_of, Settings(strategy, val, test, seed)).splits)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--groups", type=Path, required=True, help="CSV of stage audit")
    parser.add_argument("--strategy", choices=(*LASTING, "published", "column"), required=True)
    parser.add_argument("--val", type=float, default=0.15, help="fraction, 0 to 1; default 0.15")
    parser.add_argument("--test", type=float, default=0.15, help="fraction, 0 to 1; default 0.15")
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    parser.add_argument(
        "--scarce",
        choices=("stop", "clips"),
        default="stop",
        help="a class with too few recordings: stop (default), or divide its clips one by one",
    )
    parser.add_argument("--file", type=Path, help="strategy column: CSV with your own split")
    parser.add_argument("--column", default="split", help="its column; default split")
    parser.add_argument(
        "--quarantine", type=Path, help="CSV of stage audit: clips that the file may name in vain"
    )
    parser.add_argument("--output", type=Path, required=True, help="CSV to write")
    parser.add_argument("--facts", type=Path, help="JSON to write: what there is to know of it")
    parser.add_argument(
        "--memory", type=Path, help="JSON to read, if there, and to write: old clips stay by it"
    )


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    group_of = {row["video_id"]: row["group"] for row in read_csv(args.groups, GROUPS)}
    settings = Settings(args.strategy, args.val, args.test, args.seed, args.scarce)
    # Not `scarce`: a way out for classes that can't be divided is no reason to move others.
    lasting = {key: value for key, value in settings.effective().items() if key != "scarce"}
    memory = recall(args.memory, lasting) if args.memory else NOTHING
    if args.strategy == "column":
        outcome = Outcome(read_own_split(args, group_of))
    else:
        outcome = make_split(group_of, settings, memory)
    write_csv(args.output, SPLIT, rows_of(group_of, outcome.splits))
    if args.facts:
        is_own = args.strategy == "column"
        own = {
            "file": str(args.file) if is_own else None,
            "column": args.column if is_own else None,
        }
        write_json(args.facts, settings.effective() | own | facts_of(outcome, group_of))
    if args.memory:
        remember(args.memory, lasting, Memory(outcome.splits, outcome.scarce))
    tell(outcome, group_of, args.memory)


def read_own_split(args: argparse.Namespace, group_of: Mapping[str, str]) -> dict[str, str]:
    """The split of each clip by the file of strategy column."""
    if not args.file:
        raise NoctactError("--file: needed with --strategy column")
    unusable = read_csv(args.quarantine, QUARANTINE) if args.quarantine else []
    quarantine = {row["video_id"] for row in unusable}
    return split_by_column(args.file, args.column, group_of, quarantine)


def tell(outcome: Outcome, group_of: Mapping[str, str], memory: Path | None) -> None:
    """Print the clips by class and split, what is worth knowing, and the fractions."""
    clips = [(label_of(clip), split) for clip, split in outcome.splits.items()]
    table = pd.DataFrame(clips, columns=["label", "split"])
    counts = pd.crosstab(table["label"], table["split"], margins=True, margins_name="all")
    order = [split for split in (*SPLITS, "all") if split in counts]
    print(counts[order].rename_axis(index=None, columns="clips").to_string())
    print(*notes(outcome, group_of, memory), *shares(outcome, group_of), sep="\n")
