"""Planning a run of many clips (`snakemake -n`), beside a workflow of one job a clip.

The clips are stand-ins of one byte: nothing is decoded. A shard of clips is a job, so that the
number of jobs does not grow with that of clips.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "-n"]
CLASSES = 12
MANY, MOST = 6_613, 100_000
ONE_JOB_A_CLIP = """
CLIPS = glob_wildcards("clips/{clip}.mp4").clip
rule all:
    input: expand("frames/{clip}.npy", clip=CLIPS)
rule extract:
    input: "clips/{clip}.mp4"
    output: "frames/{clip}.npy"
    shell: "extract {input} {output}"
"""


def cpu_seconds(*words: str, folder: Path) -> float:
    """CPU time of a call of Snakemake."""
    call = [sys.executable, "-m", "snakemake", *words]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(call, cwd=folder, **silent) as process:
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0, call
    return usage.ru_utime + usage.ru_stime


class Plan(NamedTuple):
    """What planning took, and how many jobs came of it."""

    seconds: float
    mb: float
    jobs: int


def plan(*flags: str, folder: Path) -> Plan:
    """Plan in `folder`, with `flags`."""
    began = time.perf_counter()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([*SNAKEMAKE, *flags], cwd=folder, **pipes) as process:
        assert process.stdout
        output = process.stdout.read().decode()
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0, output
    jobs = int(re.findall(r"^total +(\d+)$", output, re.M)[-1])
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return Plan(time.perf_counter() - began, usage.ru_maxrss / unit, jobs)


def make_clips(folder: Path, count: int) -> None:
    """Write `count` stand-ins as clips/<class>/<clip>.mp4 in `folder`."""
    for number in range(CLASSES):
        (folder / "clips" / f"class_{number:02}").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = f"class_{number % CLASSES:02}/clip_{number:06}.mp4"
        (folder / "clips" / name).write_bytes(b"x")


def main() -> None:
    """Print what planning takes."""
    flags = ["--snakefile", str(ROOT / "Snakefile")]
    flags += ["--configfile", str(ROOT / "config/config.yaml")]
    flags += ["--config", "source=folder", "path=clips"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plans = {}
        for count in (MANY, MOST):
            make_clips(folder, count)
            plans[count] = plan(*flags, folder=folder)
            seconds, mb, jobs = plans[count]
            print(f"{count:>7,} clips: {jobs} jobs, {seconds:.1f} s, {mb:.0f} MB", flush=True)
            if count == MANY:
                (folder / "Empty").write_text("rule all:\n")
                parsing = cpu_seconds("--list-target-rules", *flags, folder=folder)
                parsing -= cpu_seconds("--list-target-rules", "--snakefile", "Empty", folder=folder)
                print(f"        parsing the Snakefile, as each job does: {parsing:.2f} CPU s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clips(folder, MANY)
        (folder / "Snakefile").write_text(ONE_JOB_A_CLIP)
        plain = plan(folder=folder)
    print(f"{MANY:>7,} clips, one job each: {plain.seconds:.1f} s, {plain.mb:.0f} MB")
    print(f"ratio {plain.seconds / plans[MANY].seconds:.1f}")


if __name__ == "__main__":
    main()
