"""Calls of the workflow: which is at work in a folder, and jobs that end with the call they are of.

A call that is killed (SIGKILL, loss of power) can't tidy up: it leaves its lock on the folder, and
its jobs go on. So each call leaves a note of itself while it lives, and its jobs watch it.
"""

import atexit
import os
import socket
from pathlib import Path
from threading import Thread

import psutil

CALLER = "NOCTACT_CALLER"  # environment variable: process number of the call that started a job
SAME = 1  # s: the start of a process, counted from that of the machine, is known to less


def note_of(process: psutil.Process) -> str:
    """The name of the note of a call: machine, number and start of its process."""
    return f"{process.pid}_{process.create_time():.2f}_{socket.gethostname()}"


def is_alive(note: str) -> bool | None:
    """Whether the call of `note` is at work; None for one of another machine, which can't be known.

    A process of the same number that began at another time is another one.
    """
    pid, began, host = note.split("_", 2)
    if host != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(began)) < SAME
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def take_note(folder: Path, locks: Path) -> bool:
    """Note in `folder` that this process is at work, until it ends; remove a lock of the dead.

    `locks` is Snakemake's folder of lock files. They are removed where the calls that may have made
    them were killed, and none of the others is alive or of another machine. True when that was so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / note_of(psutil.Process())
    own.touch()  # before looking at the others: of two that start together, each sees the other
    atexit.register(own.unlink, missing_ok=True)
    others = {note: is_alive(note.name) for note in folder.glob("*_*_*") if note != own}
    locked = list(locks.glob("*.lock"))
    killed = bool(locked) and set(others.values()) == {False}
    if killed or not locked:
        # Without a lock a note says nothing any more, whatever the machine that it is of.
        for file in [*locked, *(note for note, alive in others.items() if not alive)]:
            file.unlink(missing_ok=True)
    return killed


def end_with_caller() -> None:
    """End this process as soon as the call that it is a job of is gone, as CALLER names it.

    The next call must find nobody at work. Does nothing for a command typed by hand.
    """
    if CALLER not in os.environ:
        return
    try:
        caller = psutil.Process(int(os.environ[CALLER]))
    except psutil.NoSuchProcess:
        return  # as in a container, which has numbers of its own

    def watch() -> None:
        caller.wait()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
