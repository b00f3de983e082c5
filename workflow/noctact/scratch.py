"""Copies of the shards on the disk of the node, for a file system that is slow in small reads.

They lie in a folder that is locked while its owner lives. An owner that is killed (SIGKILL, loss of
power) can't tidy up: it leaves the folder, but not the lock, and the next one there removes it.
"""

import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from noctact.checksums import sha256
from noctact.errors import NoctactError

MARGIN = 10**9  # bytes that the copies leave free, for what else the node does


def place() -> Path:
    """The folder to copy to. $TMPDIR even where it can't be used: Python would go on to /tmp, which
    may be small, or in memory.
    """
    return Path(os.environ.get("TMPDIR") or tempfile.gettempdir()).absolute()


def prefix() -> str:
    """How the names of our folders begin: those of another node, on a file system that several
    share, can be locked there without a sign of it here.
    """
    return f"noctact-{socket.gethostname()}-"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock `folder` meanwhile, or until this process ends, however it ends.

    Raises BlockingIOError when another process has locked it, FileNotFoundError when one has
    removed it, and other kinds of OSError where there are no locks.
    """
    # The folder, not a file in it: it is there at once, and systemd-tmpfiles spares a locked one.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()  # or somebody has removed it before it was locked
        yield
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove what can be removed of `folder`: what stays is no reason to lose a training."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_left() -> None:
    """Remove the folders that processes of this user on this node have left: those not locked."""
    for folder in place().glob(f"{prefix()}*"):
        with suppress(OSError):  # in use, or just being removed
            if folder.lstat().st_uid == os.getuid():
                with locked(folder):
                    remove(folder)


@contextmanager
def own_folder() -> Iterator[Path]:
    """A new folder, locked meanwhile and then removed. Raises OSError where there can't be one."""
    with ExitStack() as stack:
        new = Path(tempfile.mkdtemp(prefix=f".{prefix()}", dir=place()))
        stack.callback(remove, new)
        stack.enter_context(locked(new))
        # Has the name by which `remove_left` finds it only now that it is locked.
        folder = new.rename(new.with_name(new.name[1:]))
        stack.callback(remove, folder)
        yield folder


def must_fit(shards: Sequence[Path]) -> None:
    """Raise NoctactError when there is no room for copies of `shards`."""
    needed = sum(shard.stat().st_size for shard in shards) + MARGIN
    free = shutil.disk_usage(place()).free
    if free < needed:
        raise NoctactError(
            f"{place()}: {free / 1e6:,.0f} MB are free, {needed / 1e6:,.0f} MB needed "
            f"({MARGIN / 1e6:,.0f} MB of it to stay free)"
        )


def copy(shard: Path, folder: Path) -> Path:
    """Copy `shard` to the new `folder`, under its name.

    Raises OSError when that fails, and NoctactError when the copy does not have the checksum that
    lies beside the shard, if one does.
    """
    folder.mkdir()
    target = folder / shard.name
    shutil.copyfile(shard, target)
    checksum = shard.with_name(f"{shard.name}.sha256")
    if checksum.exists():
        expected = checksum.read_bytes()
        if expected != os.fsencode(f"{sha256(target)}  {shard.name}\n"):
            raise NoctactError(f"{shard}: its copy does not have the checksum in {checksum.name}")
    return target


@contextmanager
def staged(shards: Sequence[Path]) -> Iterator[list[Path]]:
    """Copies of `shards` in $TMPDIR, removed at the end; or `shards`, where they can't be copied.

    A line on stdout says which, and why. Each copy lies in a folder of its own.
    """
    with ExitStack() as stack:
        try:
            began = time.monotonic()
            remove_left()
            must_fit(shards)
            folder = stack.enter_context(own_folder())
            files = [copy(shard, folder / f"{n:03}") for n, shard in enumerate(shards)]
            took = time.monotonic() - began
            print(f"scratch: {len(files)} shards copied to {folder} in {took:.1f} s", flush=True)
        except (OSError, NoctactError) as error:
            stack.close()  # and what was copied is removed
            print(
                f"scratch: shards not copied to $TMPDIR but read where they are: {error}",
                flush=True,
            )
            files = list(shards)
        yield files
