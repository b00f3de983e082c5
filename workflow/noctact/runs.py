"""Finished runs side by side: what a change of the config, the code or the clips has done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from noctact.atomic import replacing
from noctact.errors import NoctactError
from noctact.results import (
    Model,
    Predictions,
    Recordings,
    by_name,
    check_comparable,
    evaluated,
    read_facts,
    read_model,
    read_object,
    shown_split,
    trained,
)
from noctact.significance import accuracy, draw, mcnemar_exact

FINISH = "finish this run"
COLUMNS = [
    *("model", "run", "clips", "accuracy", "other", "other_clips", "other_accuracy"),
    *("difference", "low", "high", "same_clips", "p"),
]


def read_run(run: Path) -> dict[str, list[Model]]:
    """The models of a finished run that its comparison is of, each with its seeds.

    Raises NoctactError when it has no comparison, or lacks a model of it.
    """
    file = run / "comparison" / "summary.json"
    try:
        wanted = {(row["model"], row["seed"]) for row in read_object(file, FINISH)["models"]}
    except (KeyError, TypeError):
        wanted = set()
    if not wanted:
        raise NoctactError(f"{file}: no list of models with their seeds; {FINISH} again")
    folders = [run / "models" / name for name in trained(run)]
    # What lies there of models no longer compared may be of an older version.
    facts = {folder: read_facts(folder / "run.json") for folder in folders}
    models = [read_model(folder) for folder in folders if key_of(facts[folder]) in wanted]
    absent = wanted - {key_of(model.facts) for model in models}
    if absent:
        name, seed = min(absent)
        raise NoctactError(f"{run}: no results of {name} with seed {seed}; {FINISH} first")
    check_comparable(models)
    return by_name(models)


def key_of(facts: Mapping[str, Any]) -> tuple[str, int]:
    """Which training run.json is of."""
    return facts["model"], facts["seed"]


def compare_runs(first: Path, other: Path) -> pd.DataFrame:
    """The models that two runs share, one a row, with COLUMNS.

    `difference` is the accuracy in `other` less that in `first`, each the mean over the seeds and
    of the clips of its shown split (test, or val without one), with its 95% interval by bootstrap
    over recordings. With the same clips in both (`same_clips`) it is paired: both are resampled
    alike, by recordings that either run knows, and `p` is that of McNemar's exact test of the first
    seeds; otherwise each run is resampled by itself. Raises NoctactError when they share no model,
    or differ in classes.
    """
    runs = [read_run(run) for run in (first, other)]
    names = [name for name in runs[0] if name in runs[1]]
    if not names:
        raise NoctactError(f"{first} and {other}: no model is in both")
    classes = [next(iter(models.values()))[0].classes for models in runs]
    if classes[0] != classes[1]:
        odd = sorted(set(classes[0]) ^ set(classes[1]))[0]
        raise NoctactError(f"{first} and {other}: different classes ({odd!r} is in one only)")
    before, after = ({name: shown(models[name]) for name in names} for models in runs)
    # All models of a run are evaluated on the same clips.
    clips = [trainings[names[0]][0] for trainings in (before, after)]
    groups, others = (
        Recordings(run / "split" / "split.csv").of(predictions)
        for run, predictions in zip((first, other), clips, strict=True)
    )
    paired = evaluated(clips[0]) == evaluated(clips[1])
    if paired:
        weights = other_weights = draw(joined(groups, others))
    else:
        weights, other_weights = draw(groups), draw(others, seed=1)
    rows = []
    for name in names:
        a = accuracy(before[name], weights, f"{name} before")
        b = accuracy(after[name], other_weights, f"{name} after")
        one, two = [first, len(groups), a.value], [other, len(others), b.value]
        gap = b - a
        p = mcnemar_exact(before[name][0].right, after[name][0].right)[2] if paired else None
        rows.append([name, *one, *two, gap.value, *gap.interval, paired, p])
    return pd.DataFrame(rows, columns=COLUMNS)


def joined(groups: Sequence[str], others: Sequence[str]) -> list[str]:
    """The recordings of the same clips as two runs know them: together where either says so."""
    sets = DisjointSet([(0, group) for group in groups] + [(1, group) for group in others])
    for group, other in zip(groups, others, strict=True):
        sets.merge((0, group), (1, other))
    return [str(sets[0, group]) for group in groups]


def shown(models: Sequence[Model]) -> list[Predictions]:
    """The predictions of each of `models` for its shown split."""
    return [model.predictions.of(shown_split(model.predictions)) for model in models]


def config_of(run: Path) -> dict[str, Any]:
    """The config of a run by keys with dots."""
    config = read_object(run / "run.json", FINISH).get("config")
    if not isinstance(config, dict):
        raise NoctactError(f"{run / 'run.json'}: key 'config' is missing; finish this run again")
    return flat(config)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one: {"a": {"b": 1}} to {"a.b": 1}."""
    keys: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        keys |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return keys


def side_by_side(runs: Sequence[Path], output: Path | None = None) -> None:
    """Print each of `runs` beside the first one: config keys that differ, and all models.

    The table is written to the CSV `output` too, if one is named. Raises NoctactError as
    `compare_runs` does.
    """
    first, *others = runs
    tables = []
    for other in others:
        before, after = config_of(first), config_of(other)
        print(f"{first} and {other}")
        for key in sorted(before.keys() | after.keys()):
            if key != "run" and before.get(key) != after.get(key):
                print(f"  {key}: {before.get(key)!r}, then {after.get(key)!r}")
        table = compare_runs(first, other)
        if not table["same_clips"].all():
            print("  evaluated on different clips: each run is resampled by itself")
        print(as_text(table))
        tables.append(table)
    if output:
        with replacing(output) as partial:
            pd.concat(tables).to_csv(partial, index=False, lineterminator="\n")


def as_text(table: pd.DataFrame) -> str:
    """The table for a terminal."""
    ends = zip(table["low"], table["high"], strict=True)
    shown = table[["model", "accuracy", "other_accuracy", "difference"]].assign(
        interval=[f"{low:+.3f} to {high:+.3f}" for low, high in ends], p=table["p"]
    )
    return shown.rename(columns={"accuracy": "first", "other_accuracy": "then"}).to_string(
        index=False,
        na_rep="",
        float_format="{:.3f}".format,
        formatters={"difference": "{:+.3f}".format},
    )
