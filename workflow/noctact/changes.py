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


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree of dicts by their dotted keys."""
    if not isinstance(tree, dict):
        yield path, tree
        return
    for key, branch in tree.items():
        yield from leaves(branch, f"{path}.{key}" if path else str(key))


def settings_of(values: Collection[Any]) -> dict[str, Any]:
    """The settings among `values`, which are there as one JSON object."""
    for value in values:
        if isinstance(value, str) and value.startswith("{"):
            return dict(leaves(json.loads(value)))
    return {}


def describe(before: Collection[str], now: Collection[str]) -> str:
    """What differs: `before` holds the params that are gone, `now` those that are new."""
    old, new = ([ast.literal_eval(text) for text in sorted(texts)] for texts in (before, now))
    parts = []
    files = {found[1] for value in (*old, *new) if (found := CODE.fullmatch(str(value)))}
    if files:
        parts.append(f"code of {', '.join(sorted(files))}")
    if any(DIGEST.fullmatch(str(value)) for value in (*old, *new)):
        parts.append("names or sizes of the clips")
    was, are = settings_of(old), settings_of(new)
    for key in sorted({*was, *are}):
        if was.get(key) != are.get(key):
            parts.append(f"{key}: {was.get(key)} -> {are.get(key)}")
    told = (CODE.fullmatch, DIGEST.fullmatch, re.compile(r"\{.*").fullmatch)
    gone, come = (
        [str(value) for value in values if not any(match(str(value)) for match in told)]
        for values in (old, new)
    )
    if gone or come:
        parts.append(f"{' '.join(gone) or '(nothing)'} -> {' '.join(come) or '(nothing)'}")
    return "; ".join(parts)
