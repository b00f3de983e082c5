"""The demo, and how much of its CPU time is the workflow's own: Snakemake, start-up and imports.

Prints a row a rule: the CPU seconds of its jobs, and how much of that went by before the first line
of work. The demo runs in a folder of its own, from nothing.
"""

import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
# Read by every bash that Snakemake starts: leaves behind what it ran, and the CPU time of it.
TIMES = 'trap \'{ times; echo "$BASH_EXECUTION_STRING"; } > "$(mktemp "$TIMES/XXXXXX")"\' EXIT\n'
# Snakemake, and at the end the CPU time of its own process.
MAIN = (
    "import atexit, os, resource, sys; from snakemake.cli import main;"
    "atexit.register(lambda: print(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),"
    " file=open(os.environ['TIMES'] + '/main', 'w'))); main()"
)


def seconds(*command: str) -> float:
    """CPU seconds of `command`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def startup(stage: str) -> float:
    """CPU seconds in which a job of `stage` starts and imports what it needs."""
    began = seconds(sys.executable, "-m", "noctact", stage, "--help")
    if stage == "train":  # which does its work in a second process
        began += seconds(sys.executable, "-c", "import noctact.training")
    return began


def job(text: str) -> tuple[str, float]:
    """Stage and CPU seconds of a job, from what TIMES leaves: the second line is the children's."""
    children = re.findall(r"(\d+)m([\d.]+)s", text.splitlines()[1])
    stage = re.findall(r"python -m noctact (\w+)", text)[0]
    return stage, sum(60 * int(m) + float(s) for m, s in children)


def main() -> None:
    """Run the demo, print the table."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trap.sh").write_text(TIMES)
        times = Path(folder) / "times"
        times.mkdir()
        command = [sys.executable, "-c", MAIN, "--snakefile", str(ROOT / "Snakefile")]
        command += ["--workflow-profile", str(ROOT / "workflow/profiles/default")]
        command += ["--configfile", str(ROOT / "config/demo.yaml"), "--directory", folder]
        environment = os.environ | {"BASH_ENV": f"{folder}/trap.sh", "TIMES": str(times)}
        print(shlex.join(command[3:]), flush=True)
        subprocess.run(command, check=True, env=environment, capture_output=True)
        own = float((times / "main").read_text())
        jobs = pd.DataFrame(
            [job(file.read_text()) for file in sorted(times.iterdir()) if file.name != "main"],
            columns=["rule", "cpu_s"],
        )
    table = jobs.groupby("rule")["cpu_s"].agg(jobs="count", cpu_s="sum")
    table["before_work_s"] = table["jobs"] * [startup(str(stage)) for stage in table.index]
    table.loc["snakemake itself"] = [1, own, own]
    table.loc["all"] = table.sum()
    table["overhead"] = (table["before_work_s"] / table["cpu_s"]).map("{:.0%}".format)
    print(table.round(1).sort_values("cpu_s", ascending=False).to_string())


if __name__ == "__main__":
    main()
