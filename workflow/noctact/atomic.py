"""Write under a temporary name, rename when complete: a final name never holds half a result."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def discard(path: Path) -> None:
    """Remove the file or folder `path`, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def partial_of(final: Path) -> Path:
    """The temporary name beside `final`."""
    return final.with_name(f".partial-{final.name}")


def settle(path: Path) -> None:
    """Wait until the file or folder `path` is on the disk."""
    if path.is_dir():
        os.sync()  # for a folder of thousands of files quicker than one by one
        return
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """Give a temporary path beside `final` to write a file or a folder at.

    On leaving the block without an error the temporary path is renamed to `final` (which it
    replaces); on an error it is removed and `final` stays as it was. Also when the power fails:
    what is renamed is on the disk before. The temporary name keeps the suffix of `final`, because
    writers choose a format by it.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(final)
    discard(partial)
    try:
        yield partial
        settle(partial)
    except BaseException:
        discard(partial)
        raise
    if final.is_dir():
        discard(final)
    partial.replace(final)
