"""Counts and names in the lines that stages print."""

from collections.abc import Collection


def counted(number: int, thing: str) -> str:
    """`1 clip`, `2 clips`, `3 classes`."""
    ending = "" if number == 1 else "es" if thing.endswith("s") else "s"
    return f"{number} {thing}{ending}"


def some(names: Collection[str], most: int = 5) -> str:
    """The first `most` of `names` in quotes, on one line, and how many more there are."""
    shown = ", ".join(map(repr, sorted(names)[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
