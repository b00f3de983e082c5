"""What the split remembers, so that a clip stays in its split when others are added.

The file lies beside split.csv, apart from it: Snakemake deletes the results of a job that is to
start, and of one that failed.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from noctact.atomic import replacing
from noctact.division import SPLITS


class Memory(NamedTuple):
    """The split of each clip at the last time, and the classes that were divided by clips."""

    splits: Mapping[str, str]
    scarce: Iterable[str]


NOTHING = Memory({}, ())


def write_json(file: Path, tree: object) -> None:
    """Write `tree` to `file`, keys sorted."""
    with replacing(file) as partial:
        partial.write_text(
            json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def remember(file: Path, settings: Mapping[str, object], memory: Memory) -> None:
    """Write `memory` of a split that was made with `settings`."""
    tree = {"settings": dict(settings), "splits": dict(memory.splits)}
    write_json(file, tree | {"scarce": sorted(memory.scarce)})


def recall(file: Path, settings: Mapping[str, object]) -> Memory:
    """The memory in `file`, if it was made with `settings`; otherwise says why not."""
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        made_with = dict(tree["settings"])
        memory = Memory(dict(tree["splits"]), list(tree["scarce"]))
    except FileNotFoundError:
        return NOTHING
    except (OSError, ValueError, TypeError, KeyError) as error:
        return forget(file, f"damaged ({error})")
    changed = [
        f"{key} {made_with.get(key)}, not {value}"
        for key, value in settings.items()
        if made_with.get(key) != value
    ]
    if changed:
        return forget(file, f"made with {', '.join(changed)}")
    if not all(split in SPLITS for split in memory.splits.values()):
        return forget(file, f"damaged (splits other than {', '.join(SPLITS)})")
    return memory


def forget(file: Path, reason: str) -> Memory:
    """Say that `file` is of no use, and why."""
    print(f"{file}: {reason}; all clips are split anew")
    return NOTHING
