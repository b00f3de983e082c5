"""Recordings divided into train, val and test by their names, so that new ones move no old ones.

A name is a text and its last number (`Run_g07_c02` is `Run_g07_c` and 2). Its place in [0, 1) is

    frac(hash(seed, text) + number * 0.6180339887...)

Places below `test` go to test, those from there to `test + val` to val, the others to train. The
multiples of the golden ratio spread evenly, however many they are (D. E. Knuth, The Art of Computer
Programming, volume 3, section 6.4): recordings numbered in a row meet the fractions closely, class
by class; other names meet them as independent draws do.

To stratify, recordings are lent where that is not close enough: a class of n clips, the largest
recording of which has m, has f n clips in a split of fraction f (val or test), give or take

    max(f n / 2, m)

and at least one recording in each split. The recording whose place lies nearest is lent. One with
more than half of the clips of a class is trained on. The bound is met by every class whose
recordings hold no clips of other classes, if no recording is old and no f is over 1/2.
"""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from noctact.errors import NoctactError

SPLITS = ("train", "val", "test")
GOLDEN_64 = 0x9E3779B97F4A7C15  # 2**64 / golden ratio


def place(name: str, seed: int) -> float:
    """The place of the recording or clip `name` in [0, 1), by the formula above."""
    stem = name.rsplit(".", 1)[0] if "/" in name else name
    numbers = list(re.finditer(r"\d+", stem))
    last = numbers[-1] if numbers else None
    text = stem[: last.start()] + "\0" + stem[last.end() :] if last else stem
    start = int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:8])
    return (start + (int(last[0]) if last else 0) * GOLDEN_64) % 2**64 / 2**64


class Loan(NamedTuple):
    """A recording that is moved for the sake of a class."""

    recording: str
    lender: str
    borrower: str
    label: str


class IndivisibleError(NoctactError):
    """The class `label` can't have a recording in each split."""

    def __init__(self, label: str) -> None:
        super().__init__(f"class {label!r} can't be divided")
        self.label = label


class Division:
    """Recordings divided: `splits` of each, and the `loans` behind it.

    `recordings` gives the number of clips of each class by recording; `old` the split of those that
    stay where they are, but for the last resort: when a class has no other to fill a split with.
    Raises IndivisibleError for a class that can't have a recording in each split.
    """

    def __init__(
        self,
        recordings: Mapping[str, Mapping[str, int]],
        val: float,
        test: float,
        seed: int,
        old: Mapping[str, str],
    ) -> None:
        self.recordings, self.old = recordings, old
        self.fractions = {"test": test, "val": val} if test else {"val": val}
        ends = {"test": (0.0, test), "val": (test, test + val), "train": (test + val, 1.0)}
        self.ends = {split: (low, high) for split, (low, high) in ends.items() if high > low}
        self.places = {name: place(name, seed) for name in sorted(recordings)}
        self.members: dict[str, dict[str, int]] = defaultdict(dict)
        for name in self.places:
            for label, clips in recordings[name].items():
                self.members[label][name] = clips
        self.totals = {label: sum(sizes.values()) for label, sizes in self.members.items()}
        self.largest = {label: max(sizes.values()) for label, sizes in self.members.items()}
        self.splits = {name: old.get(name, self.home(name)) for name in self.places}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.clips: Counter[tuple[str, str]] = Counter()
        for name, split in self.splits.items():
            self.put(name, split, 1)
        self.loans: list[Loan] = []
        self.giants: set[str] = set()
        for label in sorted(self.members):
            self.settle_giant(label)
        for label in sorted(self.members):
            self.balance(label)

    def home(self, name: str) -> str:
        """The split in which the place of `name` lies."""
        at = self.places[name]
        return next(split for split, (low, high) in self.ends.items() if low <= at < high)

    def put(self, name: str, split: str, sign: int) -> None:
        """Count `name` as in `split` (`sign` 1), or no more (-1)."""
        for label, clips in self.recordings[name].items():
            self.counts[label, split] += sign
            self.clips[label, split] += sign * clips

    def slack(self, label: str, split: str) -> float:
        """How many clips `label` may be off its fraction of `split`."""
        if split not in self.fractions:
            return math.inf
        return max(self.fractions[split] * self.totals[label] / 2, self.largest[label])

    def bounds(self, label: str, split: str) -> tuple[float, float]:
        """Fewest and most clips of `label` in `split`."""
        wanted = self.fractions.get(split, 0) * self.totals[label]
        return wanted - self.slack(label, split), wanted + self.slack(label, split)

    def is_met(self, label: str, split: str) -> bool:
        """Whether `label` has as many clips in `split` as it should."""
        low, high = self.bounds(label, split)
        return low <= self.clips[label, split] <= high

    def bound(self, split: str) -> int:
        """How many clips a class may be off its fraction of `split`, the largest of all classes."""
        return int(max(self.slack(label, split) for label in self.totals))

    def beyond(self, split: str) -> list[str]:
        """The classes that are off by more, for all lending."""
        return sorted(label for label in self.totals if not self.is_met(label, split))

    def settle_giant(self, label: str) -> None:
        """Train on a new recording with more than half of the clips of `label`."""
        name = max(self.members[label], key=self.members[label].__getitem__)
        if 2 * self.largest[label] > self.totals[label] and name not in self.old:
            self.giants.add(name)
            if self.splits[name] != "train":
                self.move(Loan(name, self.splits[name], "train", label))

    def move(self, loan: Loan) -> None:
        """Make the loan."""
        self.put(loan.recording, loan.lender, -1)
        self.put(loan.recording, loan.borrower, 1)
        self.splits[loan.recording] = loan.borrower
        self.loans.append(loan)

    def may_leave(self, name: str) -> bool:
        """Whether each class of `name` has another recording in its split."""
        own = self.splits[name]
        return name not in self.giants and all(
            self.counts[label, own] > 1 for label in self.recordings[name]
        )

    def is_missed(self, name: str) -> bool:
        """Whether a class of `name` would have too few clips in its split without it."""
        own = self.splits[name]
        return any(
            self.clips[label, own] - clips < self.bounds(label, own)[0]
            for label, clips in self.recordings[name].items()
        )

    def lend(self, label: str, lender: str | None, borrower: str) -> bool:
        """Move the nearest recording of `label`, from `lender` or any split, to `borrower`.

        An empty split comes before the fractions of others, and before the peace of the old.
        """
        low, high = self.ends[borrower]
        is_empty = not self.counts[label, borrower]
        ranks = [
            (
                name in self.old,
                self.is_missed(name),
                max(low - self.places[name], self.places[name] - high),
                name,
            )
            for name in self.members[label]
            if self.splits[name] == (lender or self.splits[name]) != borrower
            and self.may_leave(name)
        ]
        ranks = [rank for rank in ranks if is_empty or not (rank[0] or rank[1])]
        if not ranks:
            return False
        nearest = min(ranks)[-1]
        self.move(Loan(nearest, self.splits[nearest], borrower, label))
        return True

    def balance(self, label: str) -> None:
        """Lend recordings until `label` is in each split, and within its bounds where it can be."""
        for split in self.ends:
            low, high = self.bounds(label, split)
            while (not self.counts[label, split] or self.clips[label, split] < low) and self.lend(
                label, None, split
            ):
                pass
            while self.clips[label, split] > high and self.lend(label, split, "train"):
                pass
            if not self.counts[label, split]:
                raise IndivisibleError(label)
