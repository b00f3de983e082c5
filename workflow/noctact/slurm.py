"""What the workflow asks SLURM itself, beside the executor plugin: jobs that an earlier call left,
and whether the cluster would take a job, before hours are lost.

Standard library only: the Snakefile imports this.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from noctact.errors import NoctactError

PROFILE = "workflow/profiles/slurm/config.yaml"
SACCT = "JobID,State,ExitCode,Elapsed,Timelimit,ReqMem,MaxRSS,NodeList"


class Queued(NamedTuple):
    """A job that waits or runs."""

    number: str
    state: str  # PENDING, RUNNING, ...


def jobs_here(folder: Path) -> list[Queued]:
    """The jobs of this user that a call of Snakemake in `folder` has submitted, whatever became of
    the call.

    They are told by their working directory, and by the comment that the executor plugin gives
    them: a job that this process may be itself has none. Raises NoctactError when SLURM does not
    answer.
    """
    listed = subprocess.run(
        ["squeue", "--me", "--noheader", "--format=%i|%T|%k|%Z"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        raise NoctactError(
            f"squeue: {listed.stderr.strip()}; jobs of a call that was killed may still be at work "
            "in this folder: try again when SLURM answers"
        )
    rows = (line.split("|", 3) for line in listed.stdout.splitlines())
    return [
        Queued(number, state)
        for number, state, comment, place in rows
        if comment.startswith("rule_") and Path(place).resolve() == folder.resolve()
    ]


def wait_for_jobs_here(folder: Path, every: float = 15) -> None:
    """Wait until the jobs of earlier calls in `folder` have left the queue, and say so; asks again
    each `every` seconds. Raises NoctactError as `jobs_here` does.
    """
    if not shutil.which("squeue"):
        return
    waited = False
    while jobs := jobs_here(folder):
        if not waited:
            numbers = " ".join(job.number for job in jobs)
            print(
                f"An earlier call has left {len(jobs)} jobs at work in this folder; waiting for "
                f"them. To give them up: scancel {numbers}",
                flush=True,
            )
        waited = True
        time.sleep(every)
    if waited:
        print("The jobs of the earlier call have ended.", flush=True)


def would_take(call: str) -> str:
    """Ask SLURM whether it would take the job of the sbatch command `call`: empty, or why not in
    its own words.

    `call` is a shell command as the executor plugin builds it; it submits nothing.
    """
    asked = subprocess.run(
        f"{call} --test-only --wrap true", shell=True, capture_output=True, text=True, check=False
    )
    if asked.returncode == 0:
        return ""
    words = [line.split("error: ", 1)[-1] for line in asked.stderr.splitlines() if line.strip()]
    return words[-1].removeprefix("allocation failure: ") if words else "no reason given"


def advice(refusal: str, gpu: bool) -> str:
    """What to edit after `refusal`, an answer of `would_take` to a job with or without a GPU."""
    answers = {
        "account": f"slurm_account in {PROFILE} must be one that `sacctmgr show associations "
        "user=$USER format=account,partition` lists",
        "invalid partition": f"partitions in {PROFILE} must be named as `sinfo` lists them",
        "time limit": "no job may take as long there (`sinfo --format '%P %l'`): name another "
        f"partition in {PROFILE}, or train less epochs or models of less weights",
    }
    for words, answer in answers.items():
        if words in refusal.lower():
            return answer
    if gpu:
        return (
            "a partition with GPUs (`sinfo --format '%P %G'`) must stand with max_gpu in "
            f"{PROFILE}, or gpu: false in the config, to train on CPUs"
        )
    return (
        "no node there has as much (`sinfo --format '%P %c %m'`): lower training.batch_size, "
        f"cache_mb or threads in the config, or name another partition in {PROFILE}"
    )


def newest(files: Iterable[Path]) -> Path | None:
    """The one of `files` that was written last, of those that are there."""
    return max((file for file in files if file.exists()), key=os.path.getmtime, default=None)


def last_words(said: Path | None, by_slurm: Path | None) -> list[str]:
    """Lines on the end of a job: the last ones of `said`, the log of its stage; what SLURM adds in
    its own log, `by_slurm`, which is called <number of the job>.log; the commands to look further.
    """
    lines, commands = [], []
    if said:
        lines += text_of(said)[-5:]
        commands.append(f"less {said}")
    if by_slurm:
        lines += [
            line for line in text_of(by_slurm) if re.match("(slurmstepd|srun).*: error:", line)
        ]
        commands += [f"less {by_slurm}", f"sacct -j {by_slurm.stem} --format {SACCT}"]
    return [*(f"    {line}" for line in lines), *(f"  more: {command}" for command in commands)]


def text_of(file: Path) -> list[str]:
    """The lines of a log, whatever bytes are in it."""
    return file.read_text(encoding="utf-8", errors="replace").splitlines()
