"""Training and evaluation on small shards: same bytes, safe model files, clear errors."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from noctact.errors import NoctactError
from noctact.shards import ClipFrames, Shards, write_shard
from noctact.train import Progress, parse_settings, reproducible

SHAPE = (3, 16, 20)
SETTINGS = {
    "loss": "categorical_crossentropy",
    "optimizer": "adam",
    "learning_rate": 0.01,
    "batch_size": 4,
    "epochs": 4,
    "dropout": 0.1,
    "units": [8, 4],
    "precision": "float32",
    "seed": 3,
}


def clips(n: int) -> list[ClipFrames]:
    """Clips of two classes: `dark, odd` grows darker, `Übung` brighter."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(n):
        label = ("Übung", "dark, odd")[i % 2]
        ramp = np.linspace(20, 200, SHAPE[0])[:: 1 if i % 2 == 0 else -1]
        frames = ramp[:, None, None, None] + random.integers(0, 30, (*SHAPE, 3))
        index = list(range(SHAPE[0]))
        facts = (index, index, SHAPE[0], 0, "whole", 32, 24, 1.0)
        rows.append(ClipFrames(f"{label}/{i:02}.mp4", label, frames.astype("uint8"), *facts))
    return rows


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """(split.csv, shard files) of 24 clips in two shards."""
    folder = tmp_path_factory.mktemp("dataset")
    rows = clips(24)
    files = [folder / "shard-000.h5", folder / "shard-001.h5"]
    write_shard(files[0], rows[::3], SHAPE, {})
    write_shard(files[1], [row for i, row in enumerate(rows) if i % 3], SHAPE, {})
    split = pd.DataFrame(
        {
            "video_id": [row.video_id for row in rows],
            "label": [row.label for row in rows],
            "group": [row.video_id for row in rows],
            "split": ["train"] * 14 + ["val"] * 4 + ["test"] * 6,
        }
    )
    split.to_csv(folder / "split.csv", index=False)
    return folder / "split.csv", files


def noctact(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "noctact", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def train(dataset, output: Path, model: str = "gru", threads: int = 1, **changes: object):
    split, files = dataset
    words = ["--model", model, "--settings", json.dumps(SETTINGS | changes), "--split", split]
    words += ["--shards", *files, "--threads", threads, "--output", output]
    return noctact("train", *words)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A finished training, and what it printed."""
    output = tmp_path_factory.mktemp("gru")
    done = train(dataset, output)
    assert done.returncode == 0, done.stderr
    return output, done


def test_history_and_run_say_what_was_done(trained):
    output, done = trained
    history = pd.read_csv(output / "history.csv")
    assert list(history) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    facts = json.loads((output / "run.json").read_text())
    # GRU: 3 gates x units x (inputs + units + 2 biases); then Dense
    assert facts["parameters"] == 3 * 8 * (960 + 8 + 2) + 3 * 4 * (8 + 4 + 2) + 4 * 2 + 2
    assert facts["classes"] == ["dark, odd", "Übung"]
    assert facts["clips"] == {"train": 14, "val": 4}
    assert facts["settings"] == SETTINGS
    assert facts["seconds_per_step"] > 0
    assert 100 < facts["peak_memory_mb"] < 10_000
    lines = done.stdout.splitlines()
    assert lines[0] == "gru  14 clips to train on, 4 to watch"
    assert [line.split()[2] for line in lines[1:]] == ["1/4", "2/4", "3/4", "4/4"]
    assert all(line.endswith("left") and "clips/s" in line for line in lines[1:])


def test_same_seed_same_bytes_and_another_seed_others(trained, dataset, tmp_path):
    output, _ = trained
    train(dataset, tmp_path / "again")
    train(dataset, tmp_path / "other", seed=4)
    for name in ("model.keras", "history.csv"):
        first = (output / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == first
        assert (tmp_path / "other" / name).read_bytes() != first


def test_result_does_not_depend_on_the_shards(trained, dataset, tmp_path):
    split, _ = dataset
    write_shard(tmp_path / "all.h5", reversed(clips(24)), SHAPE, {})
    train((split, [tmp_path / "all.h5"]), tmp_path / "one")
    assert (tmp_path / "one/model.keras").read_bytes() == (trained[0] / "model.keras").read_bytes()


def test_model_opens_without_noctact_in_safe_mode(trained):
    program = f"""
import sys, keras
model = keras.models.load_model({str(trained[0] / "model.keras")!r}, safe_mode=True)
assert not any(name.startswith("noctact") for name in sys.modules)
assert not model.compiled
print(model.input_shape, model.output_shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "(None, 3, 16, 20, 3) (None, 2)"


def evaluate(dataset, model: Path, output: Path) -> subprocess.CompletedProcess[str]:
    split, files = dataset
    words = ["--model", model, "--split", split, "--shards", *files]
    return noctact("evaluate", *words, "--batch-size", 4, "--threads", 1, "--output", output)


def test_predictions_agree_with_the_history(trained, dataset, tmp_path):
    output, _ = trained
    file = tmp_path / "predictions.csv"
    done = evaluate(dataset, output / "model.keras", file)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(file)
    classes = ["dark, odd", "Übung"]
    assert list(table) == ["video_id", "split", "true", "predicted", *(f"p_{c}" for c in classes)]
    assert table["video_id"].is_monotonic_increasing
    assert table["split"].value_counts().to_dict() == {"val": 4, "test": 6}
    probabilities = table[[f"p_{name}" for name in classes]].to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert table["predicted"].tolist() == [classes[i] for i in probabilities.argmax(axis=1)]
    val = table[table["split"] == "val"]
    history = pd.read_csv(output / "history.csv")
    accuracy = (val["true"] == val["predicted"]).mean()
    assert accuracy == pytest.approx(history["val_accuracy"].iloc[-1])


def assert_one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 1; the last line on stderr, and it alone is ours, holds `parts`."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert all(part in last for part in parts), last


def test_evaluate_refuses_what_does_not_fit(trained, dataset, tmp_path):
    split, files = dataset
    model = trained[0] / "model.keras"
    three = pd.read_csv(split)
    three.loc[0, "label"] = "third"
    three.to_csv(tmp_path / "three.csv", index=False)
    done = evaluate((tmp_path / "three.csv", files), model, tmp_path / "p.csv")
    assert_one_line(done, "knows 2 classes", "3: train it again")
    broken = tmp_path / "model.keras"
    broken.write_bytes(model.read_bytes()[:1000])
    assert_one_line(evaluate(dataset, broken, tmp_path / "p.csv"), str(broken), "can't be opened")
    assert not (tmp_path / "p.csv").exists()


def test_a_model_file_with_code_is_refused(dataset, tmp_path):
    file = tmp_path / "hostile.keras"
    program = f"""
import keras
keras.config.enable_unsafe_deserialization()
inputs = keras.Input((3, 16, 20, 3))
outputs = keras.layers.Lambda(lambda x: x[:, 0, 0, 0, :2])(inputs)
keras.Model(inputs, outputs).save({str(file)!r})
"""
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert_one_line(evaluate(dataset, file, tmp_path / "p.csv"), str(file), "can't be opened")


def test_diverging_loss_stops_with_advice(dataset, tmp_path):
    done = train(dataset, tmp_path, optimizer="sgd", learning_rate=1e38)
    assert_one_line(done, "gru", "loss is", "lower learning_rate")
    assert not (tmp_path / "model.keras").exists()


def test_no_val_clips_is_an_error(dataset, tmp_path):
    split, files = dataset
    table = pd.read_csv(split)
    table[table["split"] != "val"].to_csv(tmp_path / "split.csv", index=False)
    assert_one_line(train((tmp_path / "split.csv", files), tmp_path), "no val clips", "split.val")


def test_damaged_shard_and_missing_clip_are_named(dataset, tmp_path):
    split, files = dataset
    damaged = tmp_path / "shard-001.h5"
    damaged.write_bytes(files[1].read_bytes()[:500])
    done = train((split, [files[0], damaged]), tmp_path)
    assert_one_line(done, str(damaged), "delete it and run again")
    with pytest.raises(NoctactError, match="not in the shards"):
        Shards([files[0]]).read(["nobody/here.mp4"])


def test_settings_must_be_complete():
    with pytest.raises(NoctactError, match="units"):
        parse_settings('{"loss": "msle"}')


def test_reproducible_numbers_shared_objects_in_order():
    text = '{"shared_object_id": 977, "a": {"shared_object_id": 5}, "b": {"shared_object_id": 977}}'
    assert json.loads(reproducible(text)) == {
        "shared_object_id": 0,
        "a": {"shared_object_id": 1},
        "b": {"shared_object_id": 0},
    }
    assert reproducible('{"date_saved": "2026-01-01@10:00:00"}') == '{"date_saved": ""}'


def test_progress_tells_the_time_left(tmp_path, capsys, monkeypatch):
    clock = iter([0.0, 0.0, 10.0, 10.0])  # begin, epoch begin, epoch end, shown
    monkeypatch.setattr("noctact.train.time.monotonic", lambda: next(clock))
    progress = Progress("gru", epochs=4, clips=50, history=tmp_path / "history.csv")
    progress.on_train_begin()
    progress.on_epoch_begin(0)
    logs = {"loss": 0.5, "accuracy": 0.25, "val_loss": 0.75, "val_accuracy": 0.125}
    progress.on_epoch_end(0, logs)
    line = capsys.readouterr().out
    assert line == (
        "gru  epoch 1/4  loss 0.5000  accuracy 0.2500  val_loss 0.7500  val_accuracy 0.1250  "
        "5.0 clips/s  0:00:30 left\n"
    )
