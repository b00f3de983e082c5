"""What changed between the params of a job and those of its last run, in words.

Standard library only: the Snakefile imports this. Params are the texts that Snakemake records:
`repr` of each value, without names or order.
"""

import ast
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

CODE = re.compile(r"(noctact/\S+\.py) [0-9a-f]{16}")  # as sources.code gives it
DIGEST = re.compile(r"[0-9a-f]{64}")  # of a list of clips


def leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values in a tree of dicts by their dotted keys."""
    for key, branch in tree.items():
        if isinstance(branch, dict):
            yield from leaves(branch, f"{path}{key}.")
        else:
            yield f"{path}{key}", branch


class Params:
    """Some params of a job, sorted out by what they are."""

    def __init__(self, texts: Collection[str]) -> None:
        """`texts` as Snakemake records them."""
        self.code: set[str] = set()  # files
        self.clips = False  # whether a digest of clips is among them
        self.settings: dict[str, Any] = {}  # by dotted key
        self.others: list[str] = []
        for text in sorted(texts):
            self._take(str(ast.literal_eval(text)))

    def _take(self, value: str) -> None:
        if found := CODE.fullmatch(value):
            self.code.add(found[1])
        elif DIGEST.fullmatch(value):
            self.clips = True
        elif value.startswith('{"'):
            self.settings |= leaves(json.loads(value))
        else:
            self.others.append(value)


def describe(before: Collection[str], now: Collection[str]) -> str:
    """What differs: `before` holds the params that are gone, `now` those that are new."""
    old, new = Params(before), Params(now)
    parts = []
    if files := old.code | new.code:
        parts.append(f"code of {', '.join(sorted(files))}")
    if old.clips or new.clips:
        parts.append("names or sizes of the clips")
    for key in sorted({*old.settings, *new.settings}):
        was, is_now = old.settings.get(key), new.settings.get(key)
        if was != is_now:
            parts.append(f"{key}: {was} -> {is_now}")
    if old.others or new.others:
        was, is_now = (" ".join(each.others) or "(nothing)" for each in (old, new))
        parts.append(f"{was} -> {is_now}")
    return "; ".join(parts)
