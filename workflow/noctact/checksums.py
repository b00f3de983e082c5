"""SHA-256 of files, beside them in the format of `sha256sum`.

Standard library only: the Snakefile imports this.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from noctact.atomic import replacing


def sha256(file: Path) -> str:
    """SHA-256 of the content of `file`, as 64 hex digits. Raises OSError when it can't be read."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_checksum(file: Path, checksum: Path) -> None:
    """Write that of `file` to `checksum`, for `sha256sum --check` in their folder."""
    with replacing(checksum) as partial:
        partial.write_text(f"{sha256(file)}  {file.name}\n", encoding="utf-8")


def is_damaged(file: Path, checksum: Path) -> bool:
    """Whether `file` was changed after `checksum` was written, and has another one now.

    It is read only where its time tells of a change; when it is sound after all, `checksum` gets a
    new time. False where one of them is missing.
    """
    if not (file.exists() and checksum.exists()):
        return False
    if file.stat().st_mtime_ns <= checksum.stat().st_mtime_ns:
        return False
    if checksum.read_bytes() != os.fsencode(f"{sha256(file)}  {file.name}\n"):
        return True
    with suppress(OSError):  # it only spares the next call the reading
        checksum.touch()
    return False
