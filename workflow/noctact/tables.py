"""CSV tables that pass from stage to stage: every cell is text, written whole or not at all."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from noctact.atomic import replacing
from noctact.errors import NoctactError

INDEX = ("video_id", "path", "label", "bytes", "sha256", "shard")
# What the shards say of a clip; empty cells for one in the quarantine.
DECODED = ("n_decoded", "repeated", "n_lost", "decoding", "width", "height", "rate")
# And what its signature says: mean grey level, 0 to 255, and share of salt, 0 to 1.
MANIFEST = (*INDEX, *DECODED, "brightness", "salt")
QUARANTINE = ("video_id", "path", "reason")
GROUPS = ("video_id", "group", "evidence")
PAIRS = ("video_id", "other", "evidence", "similarity", "joined")
SPLIT = ("video_id", "label", "group", "split")
HISTORY = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")


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

    Raises NoctactError when the file is no UTF-8 text, or lacks one of `columns`.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = set(columns) - set(reader.fieldnames or ())
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise NoctactError(f"{file}: not a CSV table ({error}); make it again") from error
    if missing:
        raise NoctactError(f"{file}: no column {', '.join(sorted(missing))}; make it again")
    return rows
