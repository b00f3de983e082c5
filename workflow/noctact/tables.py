"""CSV tables that pass from stage to stage: every cell is text, written whole or not at all."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from noctact.atomic import replacing
from noctact.errors import NoctactError

QUARANTINE = ("video_id", "path", "reason")
SPLIT = ("video_id", "label", "group", "split")


def write_csv(file: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write `rows` under a header of `columns`."""
    with replacing(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        plain = csv.writer(stream, lineterminator="\n")
        # Python 3.11 leaves a carriage return unquoted; macOS has a file named "Icon\r".
        quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(columns)
        for row in rows:
            writer = quoted if any("\r" in str(cell) for cell in row) else plain
            writer.writerow(row)


def read_csv(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of `file` by column name; "NA" and "1" stay the text that they are.

    Raises NoctactError when the file lacks one of `columns`.
    """
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise NoctactError(f"{file}: no column {', '.join(sorted(missing))}; make it again")
        return list(reader)
