"""Whole runs of the workflow in a folder of their own: how tests start and compare them."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
MODELS = ["simple_rnn", "lstm", "gru", "cnn_simple_rnn", "cnn_lstm", "cnn_gru"]

# Times and memory are measured, or were reserved with another cache_mb; a training that was cut off
# has started twice: the same work gives others.
MEASURED = {"seconds_per_step", "train_seconds", "waiting_share", "peak_memory_mb", "inference_ms"}
MEASURED |= {"inference_ms_1", "inference_ms_32", "starts", "predicted_memory_mb"}
# What tells of them, of the date, or of the machine.
OF_ONE_RUN = {
    *("report.html", "run.json", "ro-crate-metadata.json"),
    *(
        f"comparison/{chart}{end}"
        for chart in ("inference", "seconds_per_step")
        for end in (".png", ".svg")
    ),
}
# No results: what each job said and took, and what a training leaves to watch it or to go on from.
NO_RESULTS = {"logs", "benchmarks", "tensorboard", "checkpoints"}


def copy_sources(target: Path) -> Path:
    """Copy the sources alone to `target`, as in a fresh clone."""
    target.mkdir(exist_ok=True)
    shutil.copy(ROOT / "Snakefile", target)
    for folder in ("workflow", "config", "envs", "resources"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, target / folder, ignore=ignore, dirs_exist_ok=True)
    if not (target / "profiles").is_symlink():
        (target / "profiles").symlink_to("workflow/profiles")
    return target


def environment(**more: str) -> dict[str, str]:
    """The environment of a user: the library is not on the path."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | more


def snakemake(
    checkout: Path, *words: str, config: Mapping[str, Any] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake as a user would; its output is stdout and stderr in one."""
    if config is not None:
        (checkout / "my.yaml").write_text(yaml.safe_dump(dict(config), allow_unicode=True))
    if (checkout / "my.yaml").exists():
        words = (*words, "--configfile", "my.yaml")
    if "--cores" not in words:
        words = ("--cores", "2", *words)
    return subprocess.run(
        [SNAKEMAKE, *words],
        cwd=checkout,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def owed(checkout: Path, *words: str, **variables: str) -> dict[str, str]:
    """What a call would run, and why, as `make why` tells."""
    done = snakemake(checkout, "--dry-run", *words, NOCTACT_WHY="1", **variables)
    assert done.returncode == 0, done.stdout
    lines = re.findall(r"^((?:\w+)(?: [\w/-]+)?)  +(.+)$", done.stdout, re.M)
    assert lines or "Nothing to do." in done.stdout, done.stdout
    return {job.replace(" ", "-" if job.startswith("extract") else "_"): why for job, why in lines}


def executed_since(checkout: Path, before: Mapping[str, int]) -> set[str]:
    """The jobs that have run since `log_times` gave `before`, by name."""
    return {log for log, time in log_times(checkout).items() if before.get(log) != time}


def log_times(checkout: Path) -> dict[str, int]:
    """When each job, by the name of its log, last wrote it."""
    return {
        str(log.relative_to(folder).with_suffix("")): log.stat().st_mtime_ns
        for folder in checkout.glob("results/*/logs")
        for log in folder.rglob("*.log")
    }


def without_measured(tree: Any) -> Any:
    """`tree` of JSON without what is measured."""
    if isinstance(tree, dict):
        return {key: without_measured(part) for key, part in tree.items() if key not in MEASURED}
    return [without_measured(part) for part in tree] if isinstance(tree, list) else tree


def results_of(run: Path) -> dict[str, str]:
    """Hashes of the result files of `run` by their names; only whether it is there of one that
    tells of one run.
    """
    found = {}
    for file in sorted(file for file in run.rglob("*") if file.is_file()):
        name = str(file.relative_to(run))
        if name.split("/", 1)[0] in NO_RESULTS:
            continue
        content = file.read_bytes()
        if file.suffix == ".json":
            content = json.dumps(without_measured(json.loads(content))).encode()
        if name == "comparison/summary.csv":
            content = pd.read_csv(file).drop(columns=[*MEASURED], errors="ignore").to_csv().encode()
        found[name] = "" if name in OF_ONE_RUN else hashlib.sha256(content).hexdigest()
    return found
