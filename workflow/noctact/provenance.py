"""How a run was made: what run.json says of it."""

import csv
import graphlib
import importlib.metadata
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noctact.errors import NoctactError
from noctact.replicates import folder_of, training_job
from noctact.tables import GROUPS, QUARANTINE, SPLIT, read_csv

PROJECT = Path(__file__).parents[2]
PARTS = ("train", "val", "test")
# What computes and draws the comparison; a training notes its own versions.
PACKAGES = ("snakemake", "matplotlib", "pandas", "scikit-learn", "scipy", "statsmodels")

Tree = dict[str, Any]
Edges = Sequence[tuple[str, str]]


def commit() -> Tree:
    """The `commit` of the sources that this runs from, and whether they were `changed` since.

    Both are None where git does not know these sources, or is not there.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(PROJECT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "Snakefile")
        changes = git("status", "--porcelain", "--", "Snakefile", "workflow")
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}


def in_order(rules: Edges) -> list[str]:
    """The names in `rules`, each after those that it needs.

    Raises NoctactError where two need each other.
    """
    needs: dict[str, list[str]] = {}
    for one, other in rules:
        needs.setdefault(other, []).append(one)
    try:
        return [*graphlib.TopologicalSorter(needs).static_order()]
    except graphlib.CycleError as error:
        raise NoctactError(f"--rules: a circle, {' -> '.join(error.args[1])}") from error


def stage_times(run: Path, rules: Sequence[str], replicates: Sequence[str]) -> list[Tree]:
    """One entry for each job that left a benchmark: rule, job, seconds, max_rss_mb.

    In the order of `rules`. A job is called as its rule, with a shard's number or one of
    `replicates` behind it; others are of an earlier config, and passed over.
    """
    folder = run / "benchmarks"
    jobs = []
    for file in sorted(folder.rglob("*.tsv")):
        job = file.relative_to(folder).with_suffix("").as_posix()
        rule = next((rule for rule in rules if is_job(job, rule, replicates)), None)
        if rule:
            lines = file.read_text(encoding="utf-8").splitlines()
            *_, values = {}, *csv.DictReader(lines, delimiter="\t")
            jobs.append(
                {
                    "rule": rule,
                    "job": job,
                    "seconds": measured(values.get("s")),
                    "max_rss_mb": measured(values.get("max_rss")),
                }
            )
    return sorted(jobs, key=lambda job: (rules.index(job["rule"]), job["job"]))


def is_job(name: str, rule: str, replicates: Sequence[str]) -> bool:
    """Whether the job `name` is of `rule`."""
    rest = name.removeprefix(rule)
    return name.startswith(rule) and (rest[1:] in ("", *replicates) or rest[1:].isdecimal())


def measured(text: str | None) -> float | None:
    """A number of a benchmark; None where a job was too short to be measured."""
    try:
        return float(text or "")
    except ValueError:
        return None


def missing_models(run: Path, config: Tree, summary: Tree) -> list[Tree]:
    """One entry for each model, or seed of a model, that is not compared: model, seed, reason."""
    compared = {(row["model"], row["seed"]) for row in summary["models"]}
    names = {name for name, _ in compared}
    missing = []
    for model in dict.fromkeys([*config["models"], *summary["missing"]]):
        if model not in config["models"]:
            reason = "not among the models of the config"
            missing.append({"model": model, "seed": None, "reason": reason})
            continue
        for seed in config["seeds"]:
            if (model, seed) in compared:
                continue
            folder = folder_of(model, seed, config["seeds"])
            one = seed if model in names or len(config["seeds"]) > 1 else None
            missing.append({"model": model, "seed": one, "reason": why_missing(run, folder)})
    return missing


def why_missing(run: Path, folder: str) -> str:
    """Why a training of the config has no results, with the last line of its log."""
    job = training_job(folder)
    if (run / "models" / folder / "model.keras").exists():
        job = f"evaluate_{folder}"
    log = run / "logs" / f"{job}.log"
    if not log.exists():
        return "in the config, but without results: not run yet"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return f"failed: see logs/{job}.log, which ends in: {last[:300]}"


def how_made(run: Path, models: Sequence[Tree], config: Tree, summary: Tree, rules: Edges) -> Tree:
    """How the run was made: the content of run.json."""
    versions: dict[str, set[str]] = {}
    for facts in models:
        for name, version in facts.get("versions", {}).items():
            versions.setdefault(name, set()).add(str(version))
    for name in PACKAGES:
        try:
            versions.setdefault(name, set()).add(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue  # an environment of this stage alone has no Snakemake
    replicates = [facts["folder"] for facts in models]
    # Less this stage itself: its time is not known yet, and what lies there is of an earlier run.
    names = [name for name in in_order(rules) if name != "report"]
    hardware = [facts["hardware"] for facts in models if "hardware" in facts]
    return {
        "run": run.name,
        **commit(),
        "seeds": config["seeds"],
        "versions": {name: sorted(found) for name, found in versions.items()},
        "hardware": [one for n, one in enumerate(hardware) if one not in hardware[:n]],
        "missing": missing_models(run, config, summary),
        "data": data_facts(run, summary["classes"]),
        "jobs": stage_times(run, names, replicates),
        "rules": list(rules),
        "config": config,
    }


def data_facts(run: Path, classes: Sequence[str]) -> Tree:
    """Clips by class and split, recordings by split, and what could not be used."""
    split = read_csv(run / "split" / "split.csv", SPLIT)
    groups = read_csv(run / "dataset" / "groups.csv", GROUPS)
    quarantine = read_csv(run / "dataset" / "quarantine.csv", QUARANTINE)
    clips = Counter((row["label"], row["split"]) for row in split)
    bad = Counter(row["video_id"].split("/")[0] for row in quarantine)
    return {
        "clips": {
            name: {part: clips[name, part] for part in PARTS} | {"quarantine": bad[name]}
            for name in dict.fromkeys([*classes, *sorted(bad)])
        },
        "recordings": {
            part: len({row["group"] for row in split if row["split"] == part}) for part in PARTS
        },
        "evidence": dict(sorted(Counter(row["evidence"] for row in groups).items())),
        "reasons": dict(Counter(row["reason"] for row in quarantine).most_common()),
    }
