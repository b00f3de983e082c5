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
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from noctact.errors import NoctactError

PROFILE = "workflow/profiles/slurm/config.yaml"
SACCT = "JobID,State,ExitCode,Elapsed,Timelimit,ReqMem,MaxRSS,NodeList"


# The executor plugin calls each job by a random number for the whole call.
NAME = re.compile(r"(\w+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def ask(*words: str) -> list[str]:
    """The lines that a command of SLURM prints. Raises NoctactError when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoctactError(f"{words[0]}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def jobs_here(folder: Path) -> list[str]:
    """The numbers of the jobs that wait or run, and that a call of Snakemake in `folder` has
    submitted for this user, whatever became of the call. Raises NoctactError as `ask` does.
    """
    rows = (line.split("|", 2) for line in ask("squeue", "--me", "--noheader", "--format=%i|%j|%Z"))
    return [
        number
        for number, name, place in rows
        if NAME.fullmatch(name) and Path(place).resolve() == folder.resolve()
    ]


def wait_for_jobs_here(folder: Path, every: float = 15) -> None:
    """Wait until the jobs of earlier calls in `folder` have left the queue, and say so; asks again
    each `every` seconds, also where SLURM fails to answer. Raises NoctactError when it does not
    answer at first.
    """
    if not shutil.which("squeue"):
        return
    try:
        left = jobs_here(folder)
    except NoctactError as error:
        raise NoctactError(
            f"{error}; jobs of a call that was killed may still be at work in this folder: try "
            "again when SLURM answers, or delete .snakemake/slurm_logs if you know of none"
        ) from error
    if not left:
        return
    print(
        "Waiting for the jobs that an earlier call has left at work in this folder. Ctrl-C leaves "
        f"them at work; to give them up: scancel {' '.join(left)}",
        flush=True,
    )
    while left:
        time.sleep(every)
        with suppress(NoctactError):
            left = jobs_here(folder)
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


class Demand(NamedTuple):
    """What a job asks for; an empty `partition` is the default one."""

    partition: str
    cpus: int
    mem_mb: int
    minutes: int
    gpu: bool

    def __str__(self) -> str:
        words = [f"partition {self.partition or '(default)'}", f"{self.cpus} CPUs"]
        words += [f"{self.mem_mb} MB", f"{self.minutes} min", *(["a GPU"] if self.gpu else [])]
        return ", ".join(words)


def has_a_node_for(demand: Demand) -> bool:
    """Whether some node, in whatever state it is, has as much as `demand` takes.

    Raises NoctactError as `ask` does.
    """
    partition = [f"--partition={demand.partition}"] if demand.partition else []
    words = ["sinfo", "--Node", "--noheader", "--format=%c|%m|%G", *partition]
    for cpus, mem_mb, gres in (line.split("|", 2) for line in ask(*words)):
        # "4+" where nodes differ.
        fits = int(cpus.rstrip("+")) >= demand.cpus and int(mem_mb.rstrip("+")) >= demand.mem_mb
        if fits and (not demand.gpu or "gpu" in gres):
            return True
    return False


def what_to_edit(refusal: str, demand: Demand) -> str:
    """What to edit after `refusal`, an answer of `would_take`; empty where SLURM may answer in
    another way tomorrow, with all nodes up. Raises NoctactError as `ask` does.
    """
    words = refusal.lower()
    if "FILL-IN" in (demand.partition, *refusal.split()):
        return f"fill in the top of {PROFILE}"
    if "invalid account" in words or ("account" in words and "appears to be invalid" in words):
        return (
            f"slurm_account in {PROFILE} must be one that `sacctmgr show associations user=$USER "
            "format=account,partition` lists"
        )
    if "invalid partition" in words:
        return f"partitions in {PROFILE} must be named as `sinfo` lists them"
    if "time limit is invalid" in words:
        return (
            "no job may take as long there (`sinfo --format '%P %l'`): name another partition in "
            f"{PROFILE}, or train fewer epochs"
        )
    too_much = ("node configuration", "more processors", "memory")
    if not any(part in words for part in too_much) or has_a_node_for(demand):
        return ""
    if demand.gpu:
        return (
            "a partition with GPUs (`sinfo --format '%P %G'`) must stand with max_gpu in "
            f"{PROFILE}, or gpu: false in the config, to train on CPUs"
        )
    return (
        "no node there has as much (`sinfo --format '%P %c %m'`): lower training.batch_size, "
        f"cache_mb or threads in the config, or name another partition in {PROFILE}"
    )


def newest(files: Iterable[Path]) -> Path | None:
    """The one of `files` that was written last, of those that are there and not empty."""
    written = (file for file in files if file.exists() and file.stat().st_size)
    return max(written, key=os.path.getmtime, default=None)


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
