"""The workflow through `snakemake` alone, from video files to the comparison."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from whole_runs import MODELS, SNAKEMAKE, copy_sources, snakemake

from noctact.config import check
from noctact.memory import training_mb
from noctact.results import ALTERED, BASELINES
from noctact.tables import MANIFEST

SMALL = {
    "frames": {"count": 10, "height": 30, "width": 40, "shards": 2},
    "training": {"epochs": 2, "batch_size": 16, "units": [16, 8]},
    "threads": 1,
}


@pytest.fixture
def checkout(tmp_path):
    """The sources alone, as in a fresh clone."""
    return copy_sources(tmp_path / "checkout")


def planned(output: str) -> dict[str, int]:
    """Jobs by rule, from the table of a dry run."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", output, re.M)}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file): (file.lstat().st_size, file.lstat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
    }


@pytest.fixture
def few_clips(tmp_path, make_clip):
    """A folder of two classes of three clips with odd names, and files that are no clips."""
    names = {
        "Ein 'Gruß'": ["-dash.mkv", 'quo"te.mkv', "sp ace, comma.mkv"],
        "kick": ["{braces}.mkv", "視頻 ü.mkv", "$HOME;`x`&\n.mkv"],
    }
    root = tmp_path / "clips" / "deeper"
    for label, files in names.items():
        for number, name in enumerate(files):
            make_clip(root / label / name, range(4 + number, 16 + number))
    (root / "kick" / "broken.mp4").write_bytes(b"no video at all" * 100)
    (root / "kick" / "empty.mp4").touch()
    (root / "kick" / "gone.mp4").symlink_to("nowhere.mp4")
    return tmp_path / "clips"


def test_odd_names_and_broken_clips_reach_the_split(checkout, few_clips):
    before = snapshot(few_clips)
    config = SMALL | {"run": "odd", "source": "folder", "path": str(few_clips)}
    done = snakemake(checkout, "results/odd/split/split.csv", config=config)
    assert done.returncode == 0, done.stdout
    split = pd.read_csv(checkout / "results/odd/split/split.csv")
    assert len(split) == 6
    assert set(split["split"]) == {"train", "val", "test"}
    assert split.groupby("label")["split"].nunique().tolist() == [3, 3]
    assert "kick/$HOME;`x`&\n.mkv" in split["video_id"].tolist()
    quarantine = pd.read_csv(checkout / "results/odd/dataset/quarantine.csv")
    reasons = dict(zip(quarantine["video_id"], quarantine["reason"], strict=True))
    assert list(reasons) == ["kick/broken.mp4", "kick/empty.mp4", "kick/gone.mp4"]
    assert reasons["kick/broken.mp4"] == "a text, not a video"
    assert reasons["kick/empty.mp4"] == "an empty file"
    assert "a link to a file that does not exist" in reasons["kick/gone.mp4"]
    assert "3 in quarantine (kick: 3)" in done.stdout
    manifest = pd.read_csv(checkout / "results/odd/dataset/manifest.csv", index_col="video_id")
    broken = manifest.index[manifest["n_decoded"].isna()].tolist()
    assert broken == ["kick/broken.mp4", "kick/empty.mp4"]
    assert set(manifest["repeated"].dropna()) == {0}
    assert snapshot(few_clips) == before


def test_archive_is_unpacked_and_indexed(checkout, few_clips):
    archive = checkout / "clips.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in sorted(few_clips.rglob("*.mkv")):
            zipped.write(file, file.relative_to(few_clips))
    config = SMALL | {"run": "zip", "source": "archive", "path": "clips.zip"}
    target = "results/zip/dataset/quarantine.csv"
    done = snakemake(checkout, target, config=config)
    assert done.returncode == 0, done.stdout
    manifest = pd.read_csv(checkout / "results/zip/dataset/manifest.csv")
    assert len(manifest) == 6
    assert all((checkout / path).exists() for path in manifest["path"])
    assert "Nothing to be done" in snakemake(checkout, target, config=config).stdout


def bad_folders(root: Path) -> Path:
    for label in ("a", "b"):
        for name in ("1.mp4", "2.mp4", "3.mp4"):
            (root / label).mkdir(parents=True, exist_ok=True)
            (root / label / name).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("spoil", "config", "parts"),
    [
        (
            lambda root: None,
            {"modles": 1},
            ["key modles", "mean models?", "config/README.md"],
        ),
        (lambda root: None, {"training": {"lr": 1}}, ["config key training.lr: no such key"]),
        (lambda root: None, {"training": {"epochs": "many"}}, ["training.epochs", "'many'"]),
        (lambda root: None, {"models": ["gru", "bert"]}, ["no model bert", "cnn_gru"]),
        (lambda root: None, {"classes": 3}, ["classes: 3 expected", "holds 2", "a, b"]),
        (lambda root: None, {"path": None}, ["config key path"]),
        (lambda root: None, {"path": "nowhere/at all"}, ["nowhere/at all", "no such folder"]),
        (lambda root: (root / "c").mkdir(), {}, ["c: a class with no clip"]),
        (
            lambda root: [(root / "b" / name).unlink() for name in ("1.mp4", "2.mp4")],
            {},
            ["b: a class with one clip"],
        ),
        (lambda root: (root / "b/1.mp4").unlink(), {}, ["b: a class with 2 clips", "at least 3"]),
        (lambda root: shutil.rmtree(root / "b"), {}, ["one class only"]),
        (
            lambda root: [
                (root / "a" / name).write_bytes(b"x") for name in ("u\u0308.mp4", "\u00fc.mp4")
            ],
            {},
            ["a clip of the same name"],
        ),
        (shutil.rmtree, {}, ["no such folder"]),
    ],
)
def test_bad_input_stops_before_work_starts(checkout, tmp_path, spoil, config, parts):
    root = bad_folders(tmp_path / "clips")
    spoil(root)
    done = snakemake(checkout, config=SMALL | {"source": "folder", "path": str(root)} | config)
    assert done.returncode == 1
    assert all(part in done.stdout for part in parts), done.stdout
    assert "Traceback" not in done.stdout
    assert not (checkout / "results").exists()


def test_default_config_plans_noctact_in_full(checkout):
    done = snakemake(checkout, "-n")
    assert done.returncode == 0, done.stdout
    jobs = planned(done.stdout)
    assert jobs["acquire"] == jobs["index"] == jobs["split"] == jobs["controls"] == 1
    assert jobs["survey"] == jobs["compare"] == jobs["report"] == 1
    assert jobs["extract"] == 16
    assert jobs["evaluate"] == 6
    assert all(jobs[f"train_{model}"] == 1 for model in MODELS)


def test_a_stage_that_fails_says_why_on_the_terminal(checkout, few_clips):
    """Also: braces and a leading dash in the pattern arrive as they are."""
    config = SMALL | {"run": "odd", "source": "folder", "path": str(few_clips)}
    config["groups"] = {"pattern": r"-(?P<group>\d{3,4})"}
    done = snakemake(checkout, config=config)
    assert done.returncode == 1
    line = r"noctact audit: config key groups.pattern: '-(?P<group>\\d{3,4})' does not match 6 of 6"
    assert line in done.stdout
    assert line in (checkout / "results/odd/logs/audit.log").read_text()
    assert "Traceback" not in done.stdout


def test_a_folder_that_starts_with_a_dash(checkout, few_clips):
    shutil.move(few_clips, checkout / "-clips")
    config = SMALL | {"run": "dash", "source": "folder", "path": "-clips"}
    done = snakemake(checkout, "results/dash/dataset/groups.csv", config=config)
    assert done.returncode == 0, done.stdout


def test_a_clip_replaced_by_an_older_file_is_taken_anew(checkout, few_clips, make_clip):
    config = SMALL | {"run": "old", "source": "folder", "path": str(few_clips)}
    target = "results/old/dataset/quarantine.csv"
    assert snakemake(checkout, target, config=config).returncode == 0
    clip = make_clip(few_clips / "deeper/kick/視頻 ü.mkv", range(90, 99))
    os.utime(clip, (0, 0))
    assert planned(snakemake(checkout, "-n", target, config=config).stdout) == {
        "extract": 1,
        "index": 1,
        "audit": 1,
        "total": 3,
    }


def test_each_frame_setting_extracts_anew(checkout, few_clips):
    config = SMALL | {"run": "frames", "source": "folder", "path": str(few_clips)}
    target = "results/frames/dataset/manifest.csv"
    assert snakemake(checkout, target, config=config).returncode == 0
    for setting in (
        {"height": 40, "width": 30},
        {"sampling": "center"},
        {"by": "time"},
        {"decoding": "seek"},
        {"truncated": "keep"},
    ):
        other = config | {"frames": config["frames"] | setting}
        jobs = planned(snakemake(checkout, "-n", target, config=other).stdout)
        assert jobs == {"extract": 2, "audit": 1, "total": 3}, setting
    config["frames"] = config["frames"] | {"count": 15}
    done = snakemake(checkout, target, config=config)
    assert f"6 clips repeat frames, 0 lost some; which: {target}" in done.stdout
    assert set(pd.read_csv(checkout / target)["repeated"].dropna()) == {3}  # 12 frames each


def test_a_new_file_that_is_no_clip_is_reported(checkout, few_clips):
    config = SMALL | {"run": "new", "source": "folder", "path": str(few_clips)}
    target = "results/new/dataset/quarantine.csv"
    assert snakemake(checkout, target, config=config).returncode == 0
    (few_clips / "deeper" / "kick" / "late.mp4").mkdir()
    done = snakemake(checkout, target, config=config)
    assert "shard" not in done.stdout  # nothing is extracted again
    assert "kick/late.mp4" in (checkout / target).read_text()


@pytest.mark.parametrize("config", ["demo", "published"])
def test_other_configs_plan(checkout, config):
    done = snakemake(checkout, "-n", "--configfile", f"config/{config}.yaml")
    assert done.returncode == 0, done.stdout
    assert planned(done.stdout)["evaluate"] == 6


def test_trainings_reserve_their_memory(checkout):
    done = snakemake(checkout, "-n", "--workflow-profile", "none")
    reserved = dict(re.findall(r"rule train_(\w+):.*?mem_mb=(\d+)", done.stdout, re.S))
    settings = check({})["training"]
    assert reserved == {
        model: str(training_mb(model, (10, 240, 320), settings, 500)) for model in MODELS
    }


def test_each_seed_is_a_training_of_its_own(checkout):
    done = snakemake(checkout, "-n", "-p", "--workflow-profile", "none", config={"seeds": [3, 1]})
    assert done.returncode == 0, done.stdout
    assert planned(done.stdout)["evaluate"] == 12
    rule = r"^ *rule train_(cnn_gru\w*):.*?(--checkpoint .*?) 2>&1"
    trainings = dict(re.findall(rule, done.stdout, re.M | re.S))
    run = "results/noctact-har"
    assert trainings == {
        "cnn_gru": f"--checkpoint {run}/checkpoints/cnn_gru.zip "
        f"--tensorboard {run}/tensorboard/cnn_gru --output {run}/models/cnn_gru",
        "cnn_gru_seed_1": f"--checkpoint {run}/checkpoints/cnn_gru-seed-1.zip "
        f"--tensorboard {run}/tensorboard/cnn_gru-seed-1 --output {run}/models/cnn_gru/seed-1",
    }


def test_an_appended_seed_trains_nothing_again(checkout, few_clips):
    config = SMALL | {"run": "two", "source": "folder", "path": str(few_clips), "models": ["gru"]}
    done = snakemake(checkout, "train_gru", config=config)
    assert done.returncode == 0, done.stdout
    models = checkout / "results/two/models"
    before = snapshot(models)
    config |= {"seeds": [1, 4], "cache_mb": 7}
    jobs = planned(snakemake(checkout, "-n", config=config).stdout)
    assert jobs == {
        **{"train_gru_seed_4": 1, "evaluate": 2, "controls": 1, "survey": 1, "compare": 1},
        **{"report": 1, "all": 1, "total": 8},
    }
    done = snakemake(checkout, config=config)
    assert done.returncode == 0, done.stdout
    after = snapshot(models)
    changed = {file for file in before if after[file] != before[file]}
    assert changed == {str(models / "gru")}  # the folder, which holds one more
    weights = [models / folder / "model.keras" for folder in ("gru", "gru/seed-4")]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    summary = pd.read_csv(checkout / "results/two/comparison/summary.csv")
    assert summary[["model", "seed"]].to_numpy().tolist() == [["gru", 1], ["gru", 4]]
    assert "Nothing to be done" in snakemake(checkout, config=config).stdout


def charts_of(run: Path) -> list[Path]:
    """The figures of a comparison of six models: thirteen, and two a model, or three."""
    charts = sorted((run / "comparison").rglob("*.png"))
    assert 13 + 2 * len(MODELS) <= len(charts) <= 13 + 3 * len(MODELS)
    return charts


def check_run(run: Path, classes: int) -> pd.DataFrame:
    """All files of the contract are there; returns the summary."""
    manifest = pd.read_csv(run / "dataset/manifest.csv")
    assert list(manifest) == [*MANIFEST]
    split = pd.read_csv(run / "split/split.csv", dtype=str)
    assert list(split) == ["video_id", "label", "group", "split"]
    assert set(split["video_id"]) | set(
        pd.read_csv(run / "dataset/quarantine.csv")["video_id"]
    ) >= set(manifest["video_id"])
    assert split.groupby("group")["split"].nunique().max() == 1
    for model in MODELS:
        folder = run / "models" / model
        assert (folder / "model.keras").stat().st_size > 1000
        history = pd.read_csv(folder / "history.csv")
        assert list(history) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
        controls = [run / "controls" / f"{name}.csv" for name in BASELINES]
        for file in [
            folder / "predictions.csv",
            *(folder / f"{n}.csv" for n in ALTERED),
            *controls,
        ]:
            predictions = pd.read_csv(file)
            assert len(predictions) == (split["split"] != "train").sum()
            assert predictions.filter(like="p_").shape[1] == classes
    page = (run / "report.html").read_text()
    # Every chart is on the page, and as a file to print.
    for chart in charts_of(run):
        assert base64.b64encode(chart.read_bytes()).decode() in page, chart
        assert chart.with_suffix(".svg").exists()
    for file in ("run.json", "ro-crate-metadata.json", "comparison/summary.json"):
        assert json.loads((run / file).read_text())
    survey = json.loads((run / "dataset/survey.json").read_text())
    assert survey["clips"] == len(split)
    for chart in (run / "dataset/figures").glob("*.png"):
        shown = base64.b64encode(chart.read_bytes()).decode() in page
        assert shown == bool(survey["sheets"].get(chart.stem, True)), chart
        assert chart.with_suffix(".svg").exists()
    pairs = pd.read_csv(run / "comparison/significance.csv")
    assert len(pairs) == len(MODELS) * (len(MODELS) - 1) / 2
    summary = pd.read_csv(run / "comparison/summary.csv")
    assert summary["model"].tolist() == MODELS
    return summary


def test_a_model_that_fails_leaves_the_others_compared(checkout, few_clips):
    config = SMALL | {"run": "part", "source": "folder", "path": str(few_clips)}
    config |= {"models": ["gru", "simple_rnn"]}
    file = checkout / "workflow/noctact/models/gru.py"
    sound = file.read_text()
    file.write_text(
        sound.replace("    return ", "    raise RuntimeError('on purpose')\n    return ")
    )
    done = snakemake(checkout, config=config)
    assert done.returncode == 1
    assert "noctact train: gru: RuntimeError: on purpose; the lines above" in done.stdout
    assert "Not compared: cnn_gru, " in done.stdout
    run = checkout / "results/part"
    summary = json.loads((run / "comparison/summary.json").read_text())
    assert [row["model"] for row in summary["models"]] == ["simple_rnn"]
    assert "gru" in summary["missing"]
    page = (run / "report.html").read_text()
    assert "logs/train_gru.log" in page
    assert "RuntimeError: on purpose" in page
    file.write_text(sound)
    done = snakemake(checkout, config=config)
    assert done.returncode == 0, done.stdout
    jobs = {"train_gru": 1, "evaluate": 1, "compare": 1, "report": 1, "all": 1, "total": 5}
    assert planned(done.stdout) == jobs
    assert "logs/train_gru.log" not in (run / "report.html").read_text()
    assert "Nothing to be done" in snakemake(checkout, config=config).stdout


def test_everything_killed_goes_on_from_the_last_epoch(checkout, few_clips):
    """SIGKILL to all processes at once, as by a power cut: a lock is left, and half a file."""
    training = SMALL["training"] | {"epochs": 300}
    config = SMALL | {"run": "cut", "source": "folder", "path": str(few_clips)}
    config |= {"models": ["simple_rnn"], "training": training}
    (checkout / "my.yaml").write_text(yaml.safe_dump(config))
    command = [SNAKEMAKE, "--cores", "2"]
    command += ["train_simple_rnn", "--configfile", "my.yaml"]
    with subprocess.Popen(
        command, cwd=checkout, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while "epoch 7/300" not in process.stdout.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    folder = checkout / "results/cut"
    assert (folder / "checkpoints/simple_rnn.zip").exists()
    done = snakemake(checkout, "train_simple_rnn", config=config)
    assert done.returncode == 0, done.stdout
    assert "Unlocked the folder: the call that had locked it was killed" in done.stdout
    assert int(re.search(r"goes on after epoch (\d+)", done.stdout)[1]) >= 6
    torn = (folder / "models/simple_rnn/model.keras").read_bytes()
    # The same without a break. The checkpoint stays until the model is evaluated.
    (folder / "checkpoints/simple_rnn.zip").unlink()
    done = snakemake(checkout, "train_simple_rnn", "--forcerun", "train_simple_rnn", config=config)
    assert "goes on after" not in done.stdout
    assert (folder / "models/simple_rnn/model.keras").read_bytes() == torn


@pytest.mark.parametrize("name", ["ut_interaction_set1", "ut_person_crops_set1"])
def test_real_recordings_run_to_the_comparison(checkout, data, name):
    before = snapshot(data / name)
    pattern = r"^\d+_(?P<group>\d+)_"
    config = SMALL | {
        "run": name,
        "source": "folder",
        "path": str(data / name),
        "groups": {"pattern": pattern},
    }
    done = snakemake(checkout, config=config)
    assert done.returncode == 0, done.stdout
    run = checkout / "results" / name
    check_run(run, classes=6)
    groups = pd.read_csv(run / "dataset/groups.csv", dtype=str)
    named = groups["video_id"].str.extract(r"/\d+_(\d+)_")[0]
    assert (groups["group"] == named).all()
    assert snapshot(data / name) == before
    assert "Nothing to be done" in snakemake(checkout, config=config).stdout
    # Snakemake's own report finds every chart with its caption.
    done = snakemake(checkout, "--report", "own.html", config=config)
    assert done.returncode == 0, done.stdout
    own = (checkout / "own.html").read_text()
    for chart in [*charts_of(run), *(run / "dataset/figures").glob("*.png")]:
        assert chart.name in own
    assert "McNemar" in own


def test_demo_learns_what_new_recordings_do(checkout):
    words = ["--configfile", "config/demo.yaml"]
    done = snakemake(checkout, *words)
    assert done.returncode == 0, done.stdout
    summary = check_run(checkout / "results/demo", classes=12).set_index("model")
    split = pd.read_csv(checkout / "results/demo/split/split.csv")
    assert len(split) >= 200
    assert summary.loc["cnn_gru", "test_accuracy"] >= 3 / 12
    assert "Nothing to be done" in snakemake(checkout, *words).stdout
