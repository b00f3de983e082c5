"""Stage train: one model, trained on the train clips and watched on the val clips.

The training itself (`noctact.training`) runs in a process of its own, so that there is somebody
left to say why when the system ends it.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, NoReturn

from noctact.atomic import discard, partial_of
from noctact.calls import end_with_parent
from noctact.errors import NoctactError
from noctact.imports import quick_imports
from noctact.memory import training_mb
from noctact.scratch import staged
from noctact.shards import frames_shape


class Settings(NamedTuple):
    """How a model is trained; config/README.md says what each means."""

    loss: str
    optimizer: str
    learning_rate: float
    schedule: str
    clip_norm: float | None
    batch_size: int
    epochs: int
    early_stopping: int | None
    checkpoint: str
    dropout: float
    units: list[int]
    class_weights: bool
    label_smoothing: float
    mirror: bool
    brightness: float
    salt: float
    precision: str
    seed: int


class Job(NamedTuple):
    """One training: what to train on what, and where to write."""

    model: str
    settings: Settings
    split: Path  # CSV of stage split
    shards: list[Path]
    cache_mb: int  # of frames that are kept in memory
    threads: int
    memory_mb: int  # that it is predicted to need at most
    output: Path  # folder
    checkpoint: Path  # file, there until the model is evaluated
    tensorboard: Path  # folder
    scratch: int  # 1 or 0: whether to copy the shards to $TMPDIR, and read them there
    gpu: int  # 1 or 0: whether it must have one


def parse_settings(text: str) -> Settings:
    """Settings from JSON. Raises NoctactError when a key is missing or unknown."""
    try:
        return Settings(**json.loads(text))
    except (json.JSONDecodeError, TypeError) as error:
        raise NoctactError(f"--settings: {error}; needed: {', '.join(Settings._fields)}") from error


def when_memory_runs_out(job: Job) -> str:
    """What was predicted, and what to lower."""
    return (
        f"{job.memory_mb} MB were predicted; lower batch_size, cache_mb, units or the size of "
        "the frames, or let fewer jobs run at once (snakemake --resources mem_mb=...)"
    )


def end_of(job: Job, code: int) -> str:
    """Why a process that left no word ended, with the exit code `code`."""
    if code >= 0:
        return f"{job.model}: ended with exit code {code}; the lines above say why"
    if code == -signal.SIGKILL:
        cause = "killed (SIGKILL), as the system does when memory runs out"
    elif -code in (signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV):
        cause = f"crashed (signal {-code}), which can be for want of memory"
    else:
        return f"{job.model}: ended by signal {-code}; the next call goes on from the last epoch"
    return f"{job.model}: {cause}. {when_memory_runs_out(job)}"


def work(job: Job, words: Connection) -> None:
    """The life of the process that trains: its last word is None, or what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C; the parent deals with it
    end_with_parent()
    # Keras, for this process only.
    with quick_imports():
        from noctact.backend import out_of_memory  # noqa: PLC0415
        from noctact.training import train  # noqa: PLC0415

    try:
        train(job)
    except (NoctactError, OSError) as error:
        words.send(str(error) or repr(error))
    except out_of_memory():
        words.send(f"{job.model}: out of memory. {when_memory_runs_out(job)}")
    except Exception as error:
        # A fault of the code, of a new model for example: Python shows where.
        words.send(f"{job.model}: {type(error).__name__}: {error}; the lines above show where")
        raise
    else:
        words.send(None)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM, by which batch systems end a job, raises SystemExit meanwhile: so there is time to
    tidy up. The exit code is the one that a shell gives for it.
    """

    def end(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # another would break off the tidying up
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def start(job: Job) -> None:
    """Train in another process, from copies of the shards if the job says so. Raises NoctactError
    with what went wrong, or with why the process was ended.
    """
    source = staged(job.shards) if job.scratch else nullcontext(job.shards)
    with sigterm_raises(), source as shards:
        failure = failure_of(job._replace(shards=shards))
    if failure is None:
        return
    for copy, shard in zip(shards, job.shards, strict=True):
        # The shard is there to be deleted, its copy not any more.
        failure = failure.replace(str(copy.parent), str(shard.parent))
    raise NoctactError(failure)


def failure_of(job: Job) -> str | None:
    """Train in another process: what it says went wrong, or why it was ended; None when done."""
    here, there = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=work, args=(job, there), daemon=True)
    process.start()
    there.close()
    failure: str | None
    try:
        failure = here.recv()
    except EOFError:
        process.join()
        failure = end_of(job, process.exitcode or 0)
    except (KeyboardInterrupt, SystemExit):
        process.kill()
        raise
    finally:
        process.join()
        discard(partial_of(job.checkpoint))
    return failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--model", required=True, help="simple_rnn, lstm, gru, cnn_lstm, ...")
    parser.add_argument("--settings", required=True, help="JSON: loss, optimizer, ...")
    parser.add_argument("--split", type=Path, required=True, help="CSV of stage split")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="HDF5 files")
    for name, text in (
        ("--scratch", "1: read copies of the shards in $TMPDIR"),
        ("--gpu", "1: stop when there is no GPU"),
    ):
        parser.add_argument(name, type=int, choices=(0, 1), default=0, help=text)
    parser.add_argument("--cache-mb", type=int, default=500, help="of frames kept in memory")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads to use")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--checkpoint", type=Path, required=True, help="file to go on from")
    parser.add_argument("--tensorboard", type=Path, required=True, help="folder for its events")


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    settings = parse_settings(args.settings)
    shape = frames_shape(args.shards[0])
    memory_mb = training_mb(args.model, shape, settings._asdict(), args.cache_mb)
    start(Job(**vars(args) | {"settings": settings, "memory_mb": memory_mb}))
