"""Apply a function to many arguments in a worker process, with limits that hold come what may.

A decoder that loops, eats memory or crashes takes down its worker only: there is no result for
that argument, but a reason that a person understands, and a new worker for the next.
"""

import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from noctact.errors import NoctactError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

OUT_OF_MEMORY = 77  # exit code of a worker, any that nothing else uses


class Failure(NamedTuple):
    """In place of a result."""

    reason: str


class Channel:
    """One end of a connection between two processes, for whatever can be pickled.

    The bytes of arrays go beside the pickle and straight into place: in it, and through a pipe of
    multiprocessing, 2 MB cost 5 ms more.
    """

    def __init__(self, end: socket.socket) -> None:
        """`end` is one of a pair of sockets."""
        self.socket = end
        self.stream = end.makefile("rb")

    def send(self, value: object) -> None:
        """Send `value`. Raises OSError when the other end is gone."""
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(value, 5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        self.socket.sendall(pickle.dumps([view.nbytes for view in views]))
        for view in views:
            self.socket.sendall(view)
        self.socket.sendall(data)

    def receive(self) -> Any:
        """Wait for the next value. Raises EOFError or OSError when the other end is gone."""
        try:
            buffers = [bytearray(size) for size in pickle.load(self.stream)]
            if any(self.stream.readinto(buffer) < len(buffer) for buffer in buffers):
                raise EOFError
            return pickle.load(self.stream, buffers=buffers)
        except pickle.UnpicklingError as error:
            raise EOFError from error  # it went in the middle of a value

    def close(self) -> None:
        """Close this end."""
        self.stream.close()
        self.socket.close()


def peak_mb() -> float:
    """The most memory that this process has had at once, MB."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 10**6
    # On Linux getrusage would count what the parent had when it started this process.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 10**6


def watch(most_mb: float) -> None:
    """End this process when it has had more than `most_mb` MB, or its parent is gone.

    Not by a limit of the system (RLIMIT_AS): that counts what threads set aside and never use, a
    lot on many cores, and to FFmpeg a refusal is "invalid data", or just a frame less.
    """
    parent = parent_process()
    while parent and parent.is_alive():
        parent.join(0.05)
        end_above(most_mb)
    os._exit(1)


def end_above(most_mb: float) -> None:
    """End this process if it has had more than `most_mb` MB."""
    if peak_mb() > most_mb:
        os._exit(OUT_OF_MEMORY)


def attempt(function: Callable[[Any], Any], argument: Any) -> Any:
    """The result of `function`, or a Failure; MemoryError passes."""
    try:
        return function(argument)
    except MemoryError:
        raise
    except (NoctactError, OSError) as error:
        return Failure(str(error))
    except Exception as error:  # noqa: BLE001, one odd clip must not stop the others
        traceback.print_exc()
        return Failure(f"{type(error).__name__}: {error}")


def serve(
    function: Callable[[Any], Any], end: socket.socket, seconds: float, memory_mb: int
) -> None:
    """The life of a worker: send None when ready, then an answer for each argument that comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C; the parent deals with it
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # that is, the system ends the process
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most_mb = peak_mb() + memory_mb
    Thread(target=watch, args=(most_mb,), daemon=True).start()
    channel = Channel(end)
    try:
        channel.send(None)
        while True:
            argument = channel.receive()
            # The clock of the system needs neither the parent, which may be busy, nor this
            # process, which may be in a loop of C.
            signal.setitimer(signal.ITIMER_REAL, seconds)
            answer = attempt(function, argument)
            signal.setitimer(signal.ITIMER_REAL, 0)
            end_above(most_mb)  # if it was for less than a moment
            channel.send(answer)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except (EOFError, ConnectionError):
        pass  # the parent is gone


class Worker:
    """A process that applies `function` to one argument after another."""

    def __init__(self, function: Callable[[Any], Any], seconds: float, memory_mb: int) -> None:
        """Start it, and wait until it is ready. Raises NoctactError when it does not get there."""
        self.seconds = seconds
        self.memory_mb = memory_mb
        self.asked = 0
        here, there = socket.socketpair()
        self.channel = Channel(here)
        # Not by a fork, which would copy locks in whatever state they are.
        self.process = get_context("spawn").Process(
            target=serve, args=(function, there, seconds, memory_mb), daemon=True
        )
        with there:
            self.process.start()
        if isinstance(self.answer(), Failure):
            raise NoctactError("a worker process ended before it was ready; run again")

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.exitcode is not None

    def ask(self, argument: Any) -> None:
        """Have the worker start on `argument`."""
        self.asked += 1
        with suppress(ConnectionError):  # if it has ended, answer() tells how
            self.channel.send(argument)

    def answer(self) -> Any:
        """Wait for the result, or the Failure, of what was asked.

        Raises NoctactError when somebody told the worker to end.
        """
        try:
            return self.channel.receive()
        except (EOFError, OSError):
            self.close()
            return Failure(self.cause_of_death())

    def cause_of_death(self) -> str:
        """Why the process ended, in words."""
        code = self.process.exitcode or 0
        if code == -signal.SIGALRM:
            return f"decoding took more than {self.seconds} s"
        if code == OUT_OF_MEMORY:
            return f"decoding needs more than {self.memory_mb} MB"
        if -code in (signal.SIGTERM, signal.SIGKILL):
            # No fault of the clip, whose memory and time are limited: the next call reads it again.
            cause = signal.Signals(-code).name
            raise NoctactError(f"a worker process was ended from outside ({cause}); run again")
        if code < 0:
            return f"the decoder crashed ({signal.Signals(-code).name})"
        return f"the decoder ended the process (exit code {code})"

    def close(self) -> None:
        """End the process, if it has not ended."""
        self.process.kill()
        self.process.join()
        self.channel.close()


def guarded(
    function: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    seconds: float,
    memory_mb: int,
) -> Generator[Result | Failure]:
    """`function` of each of `arguments`, in their order, worked out in another process.

    A Failure stands for a result where `function` raised an error, took more than `seconds`, needed
    more than `memory_mb` MB beyond what the process has from the start, or crashed. While the
    caller deals with one result, the next is worked out, and none after it. `function`, arguments
    and results are pickled. Raises NoctactError when no worker can be started, or one is told to
    end.
    """
    worker = Worker(function, seconds, memory_mb)
    done: list[Result | Failure] = []
    try:
        for argument in arguments:
            if worker.ended:
                worker = Worker(function, seconds, memory_mb)
            worker.ask(argument)
            yield from done
            done = [worker.answer()]
            if worker.ended and worker.asked > 1:
                # What others left behind in the process may be to blame: once more in a new one.
                worker = Worker(function, seconds, memory_mb)
                worker.ask(argument)
                done = [worker.answer()]
        yield from done
    finally:
        worker.close()
