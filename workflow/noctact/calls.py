"""Calls of the workflow: which is at work in a folder, and processes that end with another one.

A call that is killed (SIGKILL, loss of power) can't tidy up: it leaves its lock on the folder, and
its jobs go on. So each call leaves a note of itself while it lives, and its jobs watch it.
"""

import atexit
import fcntl
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from typing import TextIO

import psutil

CALLER = "NOCTACT_CALLER"  # environment variable, with what `caller` gives
PLANNING = 3600  # seconds between note and lock, at most
GRACE = 20  # seconds to tidy up; SLURM gives 30 (KillWait), Docker 10
# The notes of this process, held open: the system lets go of them when it ends, however it ends.
_held: dict[Path, TextIO] = {}


def hold(note: Path) -> bool:
    """Lock the file `note` for this process. False when another one holds it, or on a file system
    without locks.
    """
    stream = note.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return False
    _held[note] = stream
    return True


def drop(note: Path) -> None:
    """Delete a note if this process holds it."""
    if note in _held:
        note.unlink(missing_ok=True)
        _held.pop(note).close()


def take_note(folder: Path, locks: Path) -> Path | None:
    """Note in `folder` that this process is at work, until it ends. Gives the note, or None where
    the file system has no locks.

    Also removes the files in `locks`, Snakemake's folder, where every call that noted itself was
    killed, and prints so. The lock of a call on another machine stays: nobody here knows of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname()
    own = folder.absolute() / f"{os.getpid()}_{host}"
    if not hold(own):
        return None
    atexit.register(drop, own)
    others = [note for note in own.parent.glob("*_*") if note != own]
    dead = [note for note in others if note.name.split("_", 1)[1] == host and hold(note)]
    left = list(locks.glob("*.lock"))
    if left and dead and len(dead) == len(others):
        for lock in left:
            lock.unlink(missing_ok=True)
        print("Unlocked the folder: the call that had locked it was killed.", file=sys.stderr)
        left = []
    for note in others:
        # Where nothing is locked, a call elsewhere is over, or is only just planning.
        if note not in dead and not left and time.time() - note.stat().st_mtime > PLANNING:
            note.unlink(missing_ok=True)
    for note in dead:
        if left:
            _held.pop(note).close()  # for when the others are known to be dead, too
        else:
            drop(note)
    return own


def caller() -> str:
    """This process, for its jobs: its number, and the space of numbers that it is one of (a
    container has its own).
    """
    space = Path("/proc/self/ns/pid")
    return f"{os.getpid()} {space.readlink() if space.is_symlink() else ''}"


def end_with_caller() -> None:
    """End this process as soon as the call that it is a job of is gone, as CALLER names it, or the
    shell between them: the next call must find nobody at work.

    Does nothing for a command typed by hand, nor where the call can't be seen.
    """
    shell = os.getppid()
    number, _, space = os.environ.get(CALLER, "").partition(" ")
    if number and space == caller().partition(" ")[2]:
        for process in (int(number), shell):
            Thread(target=_end_after, args=(process,), daemon=True).start()


def _end_after(number: int) -> None:
    """Wait for the end of process `number`, then end this one."""
    try:
        # Sees also the end of a process that nobody has asked how it ended.
        select.select([os.pidfd_open(number)], [], [])
    except ProcessLookupError:
        pass  # gone already
    except (AttributeError, OSError):  # macOS, or an old or guarded kernel
        with suppress(psutil.NoSuchProcess):
            psutil.Process(number).wait()
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        # It has something to tidy up first, as a training has that copied its shards to a node.
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
    os._exit(1)


def end_with_parent() -> None:
    """End this process as soon as the one that it was spawned from is gone."""

    def watch() -> None:
        parent = parent_process()
        if parent:
            parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
