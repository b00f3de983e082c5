"""The user's own split: a column of a CSV that says train, val or test for each clip."""

import csv
import unicodedata
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from noctact.division import SPLITS
from noctact.errors import NoctactError
from noctact.split_facts import label_of
from noctact.wording import counted, some


def read_column(file: Path, column: str) -> list[tuple[str, str]]:
    """The pairs (video_id, cell of `column`) in `file`, which a spreadsheet may have written.

    Raises NoctactError when it can't be read, is no CSV or lacks one of the two columns.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            header, *rows = [*csv.reader(stream, strict=True)] or [[]]
    except OSError as error:
        raise NoctactError(
            f"{file}: {error.strerror}; name your CSV in config key split.file"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise NoctactError(
            f"{file}: not a CSV table in UTF-8 ({error}); config key split.file names one"
        ) from error
    for name in ("video_id", column):
        if (times := header.count(name)) != 1:
            found = f"{times} columns" if times else "no column"
            raise NoctactError(
                f"{file}: {found} {name!r} among {', '.join(map(repr, header))}; it needs video_id,"
                " and the one that config key split.column names"
            )
    at = [header.index(name) for name in ("video_id", column)]
    cells = [[row[i] if i < len(row) else "" for i in at] for row in rows if row]
    return [(unicodedata.normalize("NFC", clip), word) for clip, word in cells]


def split_by_column(
    file: Path, column: str, clips: Collection[str], quarantine: Collection[str]
) -> dict[str, str]:
    """The split of each of `clips` by `column` of `file`.

    Prints which classes have no clip in val or test. Raises NoctactError when the file can't be
    read, does not name each clip once, names one that is neither in `clips` nor in `quarantine`,
    has words other than train, val and test, or leaves a class without a clip to train on or the
    whole without any to validate on.
    """
    pairs = sorted(set(read_column(file, column)))
    named = Counter(clip for clip, _ in pairs)
    wrong = {
        f"words other than {', '.join(SPLITS)} in column {column!r}": [
            f"{clip}: {word}" for clip, word in pairs if word not in SPLITS
        ],
        "several splits": [clip for clip, times in named.items() if times > 1],
        "no such clip": set(named) - {*clips, *quarantine},
        "missing": set(clips) - set(named),
    }
    for what, names in wrong.items():
        if names:
            raise NoctactError(
                f"{file}: {what}: {counted(len(names), 'clip')}, {some(names)}; each clip needs "
                "one row, with video_id as in manifest.csv"
            )
    splits = {clip: split for clip, split in pairs if clip in clips}
    check_classes(f"{file}, column {column!r}", splits)
    return splits


def check_classes(source: str, splits: dict[str, str]) -> None:
    """Look for classes that are not in each split; `source` is named in what is said of them."""
    found = {(label_of(clip), split) for clip, split in splits.items()}
    classes = {label for label, _ in found}
    for split in SPLITS:
        without = {label for label in classes if (label, split) not in found}
        if split == "train" and without:
            raise NoctactError(
                f"{source}: no clip to train on in {len(without)} of {len(classes)} classes, "
                f"{some(without)}; each class needs some"
            )
        if split == "val" and without == classes:
            raise NoctactError(f"{source}: no clip in val; some are needed")
        if split == "test" and without == classes:
            print(f"{source}: no clip in test; the models are compared on val")
        elif without:
            print(
                f"warning: {source}: no clip in {split} in {len(without)} of {len(classes)} "
                f"classes, {some(without)}"
            )
