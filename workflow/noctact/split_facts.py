"""What there is to say of a split: lines to print, and split.json."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noctact.division import SPLITS, Loan
from noctact.wording import counted, some


def label_of(clip: str) -> str:
    """The class of `clip`, a video_id."""
    return clip.split("/", 1)[0]


@dataclass
class Outcome:
    """The split of each clip, and how it came about; most of it is empty for a split that is given.

    By split: the fraction `asked`; the `bound`, how many clips a class may be off it; the classes
    `beyond` that, which could not be helped. `lent`: recordings outside the split of their name;
    `loans`: those of this time. `moved`: clips that were in another split at the last time; `kept`:
    how many old clips a fresh split would put elsewhere. `scarce`: classes divided by clips.
    """

    splits: dict[str, str]
    asked: Mapping[str, float] = field(default_factory=dict)
    bound: Mapping[str, int] = field(default_factory=dict)
    beyond: Mapping[str, list[str]] = field(default_factory=dict)
    lent: Collection[str] = ()
    loans: Collection[Loan] = ()
    moved: Collection[str] = ()
    kept: int = 0
    scarce: Collection[str] = ()


def parts_of(outcome: Outcome, group_of: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The facts of each split that has clips."""
    parts: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        clips = [clip for clip, own in outcome.splits.items() if own == split]
        if clips:
            parts[split] = {
                "clips": len(clips),
                "recordings": len({group_of[clip] for clip in clips}),
                "asked": round(outcome.asked[split], 6) if split in outcome.asked else None,
                "got": round(len(clips) / len(outcome.splits), 6),
                "bound": outcome.bound.get(split),
                "beyond": outcome.beyond.get(split, []),
            }
    return parts


def facts_of(outcome: Outcome, group_of: Mapping[str, str]) -> dict[str, object]:
    """What split.json holds beside the settings."""
    return {
        "splits": parts_of(outcome, group_of),
        "across": len(several_splits(outcome.splits, group_of)),
        "lent": [*outcome.lent],
        "moved": [*outcome.moved],
        "kept": outcome.kept,
        "scarce_classes": [*outcome.scarce],
    }


def several_splits(splits: Mapping[str, str], group_of: Mapping[str, str]) -> list[str]:
    """The recordings that lie in several splits."""
    found = defaultdict(set)
    for clip, group in group_of.items():
        found[group].add(splits[clip])
    return sorted(group for group, own in found.items() if len(own) > 1)


def several_classes(group_of: Mapping[str, str]) -> dict[str, list[str]]:
    """Of each recording that holds clips of several classes, the first clip of each."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for clip in sorted(group_of):
        found[group_of[clip]].setdefault(label_of(clip), clip)
    return {group: [*own.values()] for group, own in sorted(found.items()) if len(own) > 1}


def notes(outcome: Outcome, group_of: Mapping[str, str], memory: Path | None) -> Iterator[str]:
    """What is worth knowing, a line each; `memory` is the file that the old clips stay by."""
    for loan in outcome.loans:
        yield (
            f"recording {loan.recording!r} is lent to {loan.borrower} by {loan.lender}, for class "
            f"{loan.label!r}"
        )
    mixed = several_classes(group_of)
    if mixed and outcome.bound:
        group, clips = next(iter(mixed.items()))
        yield (
            f"{counted(len(mixed), 'recording')} with clips of several classes, {group!r} for "
            f"example: {some(clips)}"
        )
    if outcome.scarce:
        yield (
            f"warning: too few recordings in {counted(len(outcome.scarce), 'class')}, "
            f"{some(outcome.scarce)}: divided by clips"
        )
    leaks = several_splits(outcome.splits, group_of)
    if leaks:
        yield (
            f"{counted(len(leaks), 'recording')} of {len(set(group_of.values()))} in several "
            f"splits, {some(leaks)}: a model may remember what it is tested on"
        )
    if outcome.moved:
        yield (
            f"{counted(len(outcome.moved), 'clip')} moved to another split, {some(outcome.moved)}:"
            " added clips show recordings to be one, or a class had no clip in a split"
        )
    if outcome.kept and memory:
        yield (
            f"{counted(outcome.kept, 'clip')} kept where a fresh split would not put them; delete "
            f"the folder {memory.parent} for one"
        )


def shares(outcome: Outcome, group_of: Mapping[str, str]) -> Iterator[str]:
    """A line a split: what was asked, what came out, and what was sure from the start."""
    for split, part in parts_of(outcome, group_of).items():
        text = f"{split}: {counted(part['clips'], 'clip')} of "
        text += f"{counted(part['recordings'], 'recording')}, "
        text += f"{100 * part['got']:.3g} %"
        if part["asked"] is not None:
            text += f" (asked {100 * part['asked']:.3g} %"
            if part["bound"] is not None:
                text += f"; at most {counted(part['bound'], 'clip')} off in a class"
            if part["beyond"]:
                text += f", but for {some(part['beyond'])}"
            text += ")"
        yield text
