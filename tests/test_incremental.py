"""What runs again after a change: exactly the jobs that are owed, and the same results in the end.

The table of docs/incremental.md, on a small run of all stages and models. `make test` looks at the
plans, and runs some; `make test-incremental` runs all.
"""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import write_clip
from whole_runs import (
    MODELS,
    copy_sources,
    executed_since,
    log_times,
    owed,
    results_of,
    snakemake,
)

from noctact.clips import shard_of

SHARDS = 2
CONFIG = {
    "run": "small",
    "source": "folder",
    "path": "clips",
    "frames": {"count": 4, "height": 24, "width": 32, "shards": SHARDS},
    "training": {"epochs": 2, "batch_size": 4, "units": [8, 4]},
    "per_model": {"gru": {"brightness": 0.1, "salt": 0.02}},
    "threads": 1,
}
LIBRARY = Path("workflow/noctact")
RUN = Path("results/small")


def models(*names: str) -> set[str]:
    """The jobs that train and evaluate `names`."""
    return {f"{stage}_{name}" for name in names for stage in ("train", "evaluate")}


FIGURES = {"compare", "report"}
EVALUATIONS = {f"evaluate_{name}" for name in MODELS}
GRU = models("gru") | FIGURES
TRAININGS = models(*MODELS) | FIGURES
SURVEY = {"survey", "report"}
SPLIT = {"split", "controls"} | SURVEY | TRAININGS
AUDIT = {"audit"} | SPLIT
SHARD = [{f"extract-{number:03}"} | AUDIT for number in range(SHARDS)]
FRAMES = SHARD[0] | SHARD[1]


def with_config(**changes: Any) -> Callable[[Path], None]:
    """A change of the config."""

    def change(checkout: Path) -> None:
        (checkout / "my.yaml").write_text(yaml.safe_dump(CONFIG | changes))

    return change


def appended(file: Path | str, text: str) -> Callable[[Path], None]:
    """A change of a file by more text."""

    def change(checkout: Path) -> None:
        with (checkout / file).open("a") as stream:
            stream.write(text)

    return change


def edited(file: Path | str, old: str, new: str) -> Callable[[Path], None]:
    """A change of some text in a file."""

    def change(checkout: Path) -> None:
        text = (checkout / file).read_text()
        assert old in text
        (checkout / file).write_text(text.replace(old, new))

    return change


def deleted(name: str) -> Callable[[Path], None]:
    """A change by deleting a result."""
    return lambda checkout: (checkout / RUN / name).unlink()


def nothing(checkout: Path) -> None:
    """No change."""


def touch(checkout: Path) -> None:
    """Give new times to all sources, clips and configs."""
    for file in checkout.rglob("*"):
        if not {"results", ".snakemake"} & {*file.relative_to(checkout).parts}:
            os.utime(file)


def checked_out_anew(checkout: Path) -> None:
    """Sources from a fresh clone, beside what was kept."""
    for folder in ("workflow", "config", "envs", "resources"):
        shutil.rmtree(checkout / folder)
    copy_sources(checkout)


def comments(checkout: Path) -> None:
    """A comment and another docstring in each file of the library."""
    for file in (checkout / LIBRARY).rglob("*.py"):
        text = file.read_text()
        file.write_text(text.replace('"""', '"""As before: ', 1) + "\n# The end.\n")


ADDED = "kick/r2_b.mkv"
SHARD_OF_ADDED = SHARD[shard_of(ADDED, SHARDS)]
OLD = "jump/r3_a.mkv"
SHARD_OF_OLD = SHARD[shard_of(OLD, SHARDS)]


def add_clip(checkout: Path) -> None:
    """One clip more."""
    shutil.copy(checkout / "clips/kick/r2_a.mkv", checkout / "clips" / ADDED)


def replace_clip(checkout: Path) -> None:
    """Other content under an old name."""
    write_clip(checkout / "clips" / OLD, range(30, 150, 10))


def seventh_model(checkout: Path) -> None:
    """A model as a new file, and its name in the config."""
    shutil.copy(checkout / LIBRARY / "models/gru.py", checkout / LIBRARY / "models/seventh.py")
    with_config(models=[*MODELS, "seventh"])(checkout)


def flip_bytes(checkout: Path) -> None:
    """Damage a shard where the frames of a clip lie."""
    shard = checkout / RUN / "frames/shard-001.h5"
    content = bytearray(shard.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 255 for byte in content[middle : middle + 64])
    shard.write_bytes(content)


class Change(NamedTuple):
    """A change, the jobs that it owes, and flags of the call."""

    make: Callable[[Path], None]
    jobs: set[str]
    flags: tuple[str, ...] = ()


SMALLER = CONFIG["frames"] | {"height": 20}
CHANGES = {
    "nothing": Change(nothing, set()),
    "touched": Change(touch, set()),
    "a fresh checkout": Change(checked_out_anew, set()),
    "comments and docstrings": Change(comments, set()),
    "a caption": Change(appended("workflow/report/ranking.rst", "\nMore.\n"), set()),
    "other cores": Change(nothing, set(), ("--cores", "1")),
    "no profile": Change(nothing, set(), ("--workflow-profile", "none")),
    "memory for frames": Change(with_config(cache_mb=7), {"report"}),
    "a hyper-parameter": Change(with_config(per_model={"gru": {"learning_rate": 0.01}}), GRU),
    "two values swapped": Change(
        with_config(per_model={"gru": {"brightness": 0.02, "salt": 0.1}}), GRU
    ),
    "code of a model": Change(edited(LIBRARY / "models/gru.py", "dropout)", "dropout / 2)"), GRU),
    "code of the layers": Change(appended(LIBRARY / "models/layers.py", "\nX = 1\n"), TRAININGS),
    "a setting of all models": Change(with_config(training={"epochs": 3}), TRAININGS),
    "code of the training loop": Change(appended(LIBRARY / "training.py", "\nX = 1\n"), TRAININGS),
    "code of the evaluation": Change(
        appended(LIBRARY / "evaluate.py", "\nX = 1\n"), EVALUATIONS | FIGURES
    ),
    "code of the decoder": Change(appended(LIBRARY / "seeking.py", "\nX = 1\n"), FRAMES),
    "code of the split": Change(appended(LIBRARY / "split.py", "\nX = 1\n"), SPLIT),
    "code of the verdict": Change(appended(LIBRARY / "verdict.py", "\nX = 1\n"), FIGURES),
    "a rule": Change(appended("workflow/rules/train.smk", "\n# The end.\n"), {"report"}),
    "code of the figures": Change(
        appended(LIBRARY / "figures/points.py", "\nX = 1\n"), SURVEY | FIGURES
    ),
    "code of the survey": Change(appended(LIBRARY / "findings.py", "\nX = 1\n"), SURVEY),
    "the page": Change(
        edited(LIBRARY / "report.html", '<h2 id="data">Data', '<h2 id="data">The data'),
        {"report"},
    ),
    "a clip added": Change(add_clip, {"index"} | SHARD_OF_ADDED),
    "a clip removed": Change(
        lambda checkout: (checkout / "clips" / OLD).unlink(), {"index"} | SHARD_OF_OLD
    ),
    "a clip replaced": Change(replace_clip, {"index"} | SHARD_OF_OLD),
    "frame size": Change(with_config(frames=SMALLER), FRAMES),
    "number of frames": Change(with_config(frames=CONFIG["frames"] | {"count": 3}), FRAMES),
    "sampling": Change(with_config(frames=CONFIG["frames"] | {"sampling": "center"}), FRAMES),
    "sight switched off": Change(with_config(groups={"sight": False}), AUDIT),
    "fraction of the split": Change(with_config(split={"val": 0.3}), SPLIT),
    "seed of the split": Change(with_config(split={"seed": 5}), SPLIT),
    "a model added": Change(seventh_model, models("seventh") | FIGURES),
    "a model removed": Change(with_config(models=MODELS[1:]), FIGURES),
    "a seed added": Change(
        with_config(models=["gru"], seeds=[1, 2]),
        {"train_gru_seed_2", "evaluate_gru/seed-2"} | FIGURES,
    ),
    "a shard damaged": Change(flip_bytes, SHARD[1]),
}
OUTPUTS = {
    "dataset/index.csv": {"index"} | AUDIT,
    "dataset/rejected.csv": {"index"} | AUDIT,
    "frames/shard-000.h5": SHARD[0],
    "frames/shard-001.quarantine.csv": SHARD[1],
    "frames/shard-001.signatures.h5": SHARD[1],
    "dataset/manifest.csv": AUDIT,
    "dataset/pairs.csv": AUDIT,
    "dataset/quarantine.csv": AUDIT,
    "split/split.csv": SPLIT,
    "split/split.json": SPLIT,
    "models/gru/model.keras": GRU,
    "models/gru/run.json": GRU,
    "models/gru/shuffled.csv": {"evaluate_gru"} | FIGURES,
    "controls/metadata.csv": {"controls"} | FIGURES,
    "dataset/survey.json": SURVEY,
    "dataset/figures/clips.svg": SURVEY,
    "comparison/errors/gru.png": FIGURES,
    "comparison/summary.json": FIGURES,
    "report.html": {"report"},
    "workflow.smk": {"report"},
}
CHANGES |= {f"{name} deleted": Change(deleted(name), jobs) for name, jobs in OUTPUTS.items()}
# Those after which a run from scratch is the run that was.
SAME_SOURCES = {"nothing", "touched", "a fresh checkout", "other cores", "no profile"}
SAME_SOURCES |= {"a shard damaged", *(f"{name} deleted" for name in OUTPUTS)}


def start(folder: Path) -> Path:
    """Sources, clips and config; nothing has run."""
    checkout = copy_sources(folder)
    for kind, label in enumerate(("jump", "kick")):
        for number in range(6):
            grays = range(20 + 60 * kind + number, 160 + 60 * kind + 3 * number, 12)
            write_clip(checkout / "clips" / label / f"r{number}_a.mkv", grays)
    with_config()(checkout)
    return checkout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be changed."""
    checkout = start(tmp_path_factory.mktemp("runs") / "finished")
    done = snakemake(checkout)
    assert done.returncode == 0, done.stdout
    return checkout


def copy_of(checkout: Path, target: Path) -> Path:
    """All of `checkout` with its times, at another path."""
    return Path(shutil.copytree(checkout, target / "moved here" / "to", symlinks=True))


def test_each_change_is_planned(finished: Path, tmp_path: Path) -> None:
    plans = {}
    for number, (name, change) in enumerate(CHANGES.items()):
        checkout = copy_of(finished, tmp_path / str(number))
        change.make(checkout)
        plans[name] = {*owed(checkout, *change.flags)}
        shutil.rmtree(checkout)
    assert plans == {name: change.jobs for name, change in CHANGES.items()}


@pytest.mark.parametrize("name", ["a hyper-parameter", "report.html deleted"])
def test_only_what_is_owed_runs(name: str, finished: Path, tmp_path: Path) -> None:
    checkout = copy_of(finished, tmp_path)
    change = CHANGES[name]
    change.make(checkout)
    before = log_times(checkout)
    done = snakemake(checkout, *change.flags)
    assert done.returncode == 0, done.stdout
    assert executed_since(checkout, before) == change.jobs
    assert owed(checkout) == {}
    assert "Nothing to be done" in snakemake(checkout).stdout


@pytest.mark.full
@pytest.mark.parametrize("name", CHANGES)
def test_each_change_ends_as_a_run_from_scratch(name: str, finished: Path, tmp_path: Path) -> None:
    test_only_what_is_owed_runs(name, finished, tmp_path)
    checkout = tmp_path / "moved here" / "to"
    kept = results_of(checkout / RUN)
    scratch = results_of(finished / RUN)
    if name not in SAME_SOURCES:
        for made in ("results", ".snakemake"):
            shutil.rmtree(checkout / made)
        done = snakemake(checkout)
        assert done.returncode == 0, done.stdout
        scratch = results_of(checkout / RUN)
    assert {file: kept.get(file) for file in scratch} == scratch
    # What stays of a model that is compared no more.
    config = yaml.safe_load((checkout / "my.yaml").read_text())
    gone = [f"models/{model}/" for model in {*MODELS} - {*config.get("models", MODELS)}]
    assert all(file.startswith(tuple(gone)) for file in {*kept} - {*scratch})


def test_conda_owes_nothing(finished: Path, tmp_path: Path) -> None:
    """A dry run asks conda for its platform and settings only: a stand-in can tell them."""
    conda = tmp_path / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(
        """#!/bin/sh
case "$1" in
--version) echo conda 25.1.0;;
*) echo '{"platform": "linux-64", "conda_prefix": "/c", "get": {"channel_priority": "strict"}}';;
esac
"""
    )
    conda.chmod(conda.stat().st_mode | stat.S_IXUSR)
    checkout = copy_of(finished, tmp_path)
    path = f"{conda.parent}{os.pathsep}{os.environ['PATH']}"
    assert owed(checkout, "--sdm", "conda", PATH=path) == {}


def test_why_names_the_change(finished: Path, tmp_path: Path) -> None:
    checkout = copy_of(finished, tmp_path)
    CHANGES["a hyper-parameter"].make(checkout)
    deleted("models/simple_rnn/cost.json")(checkout)
    appended(LIBRARY / "models/lstm.py", "\nX = 1\n")(checkout)
    why = owed(checkout)
    assert why == {
        "train_gru": "brightness: 0.1 -> 0; learning_rate: 0.0001 -> 0.01; salt: 0.02 -> 0",
        "evaluate_gru": "follows train_gru",
        "train_lstm": "code of noctact/models/lstm.py",
        "evaluate_lstm": "follows train_lstm",
        "evaluate_simple_rnn": "missing: results/small/models/simple_rnn/cost.json",
        "compare": "follows evaluate simple_rnn and 2 more",
        "report": "follows evaluate simple_rnn and 2 more",
    }
    add_clip(checkout)
    (checkout / "clips" / OLD).unlink()
    with_config(split={"seed": 5})(checkout)
    why = owed(checkout)
    assert why["index"] == f"new: clips/{ADDED}; gone: clips/{OLD}"
    assert why["split"].startswith("follows extract 00")
    for made in ("results", ".snakemake"):
        shutil.rmtree(checkout / made)
    assert set(owed(checkout).values()) == {"not made yet"}
