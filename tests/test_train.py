"""Training and evaluation on small shards: same bytes, safe model files, clear errors."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from noctact import checkpoint
from noctact.errors import NoctactError
from noctact.shards import ClipFrames, Shards, write_shard
from noctact.train import parse_settings
from noctact.training import Progress, reproducible

import keras  # isort: skip - after noctact.training, which chooses the backend

SHAPE = (3, 16, 20)
SETTINGS = {
    "loss": "categorical_crossentropy",
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "constant",
    "clip_norm": None,
    "batch_size": 4,
    "epochs": 4,
    "early_stopping": None,
    "checkpoint": "last",
    "dropout": 0.1,
    "units": [8, 4],
    "class_weights": False,
    "label_smoothing": 0.0,
    "mirror": False,
    "brightness": 0.0,
    "salt": 0.0,
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
            "split": ["train"] * 14 + ["val"] * 6 + ["test"] * 4,
        }
    )
    split.to_csv(folder / "split.csv", index=False)
    return folder / "split.csv", files


def noctact(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "noctact", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def command(dataset, output: Path, model: str = "gru", **changes: object) -> list[str]:
    """The command line of a training; its checkpoint and events go beside `output`."""
    split, files = dataset
    words = ["--model", model, "--settings", json.dumps(SETTINGS | changes), "--split", split]
    words += ["--shards", *files, "--threads", 1, "--output", output]
    words += ["--checkpoint", f"{output}.zip", "--tensorboard", f"{output}-events"]
    return [sys.executable, "-m", "noctact", "train", *map(str, words)]


def train(dataset, output: Path, model: str = "gru", **changes: object):
    words = command(dataset, output, model, **changes)
    return subprocess.run(words, capture_output=True, text=True, check=False)


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
    assert facts["clips"] == {"train": 14, "val": 6}
    assert facts["settings"] == SETTINGS
    assert facts["seconds_per_step"] > 0
    assert 0 <= facts["waiting_share"] < 1
    assert (facts["epochs"], facts["kept_epoch"], facts["starts"]) == (4, 4, 1)
    assert facts["best_epoch"] == 1 + history["val_loss"].idxmin()
    assert facts["best_val_loss"] == history["val_loss"].min()
    assert 100 < facts["peak_memory_mb"] < 10_000
    lines = done.stdout.splitlines()
    assert lines[0] == "gru  14 clips to train on, 6 to watch, up to 1701 MB of memory"
    assert facts["peak_memory_mb"] < facts["predicted_memory_mb"]
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


ALL_ON = {
    "epochs": 30,
    "dropout": 0.5,
    "schedule": "cosine",
    "clip_norm": 1.0,
    "class_weights": True,
    "label_smoothing": 0.1,
    "mirror": True,
    "brightness": 0.3,
    "salt": 0.1,
    "checkpoint": "best",
    "early_stopping": 25,
}


def killed(words: list[str], after: int, delay: float) -> str:
    """Run `words`, kill it `delay` seconds after `after` epochs; what it said until then."""
    lines = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            lines.append(line)
            if sum("  epoch " in said for said in lines) == after:
                break
        time.sleep(delay)
        process.kill()
        lines += process.stdout or ()  # to the end: the process that trains is gone too
    assert process.returncode == -signal.SIGKILL
    return "".join(lines)


def test_killed_three_times_gives_the_same_bytes(dataset, tmp_path):
    model = "cnn_gru"  # all that is random: order, dropout behind encoder and layers, augmentation
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert train(dataset, whole, model, **ALL_ON).returncode == 0
    random = np.random.default_rng(1)
    done = 0
    for _ in range(3):
        said = killed(
            command(dataset, torn, model, **ALL_ON),
            after=int(random.integers(1, 6)),
            delay=random.uniform(0, 0.05),
        )
        assert ("goes on after" in said) == (done > 0)
        done += said.count("  epoch ")
        assert not (torn / "model.keras").exists()
    last = train(dataset, torn, model, **ALL_ON)
    assert f"goes on after epoch {done}" in last.stdout or f"epoch {done - 1}" in last.stdout
    for name in ("model.keras", "history.csv"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes(), name
    facts = [json.loads((folder / "run.json").read_text()) for folder in (whole, torn)]
    assert [fact["starts"] for fact in facts] == [1, 4]
    for key in ("epochs", "best_epoch", "best_val_loss", "kept_epoch"):
        assert facts[0][key] == facts[1][key], key
    assert facts[1]["kept_epoch"] == facts[1]["best_epoch"]
    assert evaluate(dataset, whole / "model.keras", whole).returncode == 0
    # One more start, as after a break between training and evaluation: there is nothing to train.
    (torn / "model.keras").unlink()
    assert (
        f"goes on after epoch {facts[1]['epochs']}" in train(dataset, torn, model, **ALL_ON).stdout
    )
    assert (torn / "model.keras").read_bytes() == (whole / "model.keras").read_bytes()
    state = torn.with_name("torn.zip")
    assert state.exists()
    done = evaluate(dataset, torn / "model.keras", torn, "--checkpoint", str(state))
    assert done.returncode == 0
    for name in ("predictions.csv", "shuffled.csv", "first_frame.csv"):
        assert (whole / name).read_bytes() == (torn / name).read_bytes(), name
    assert not state.exists()
    # TensorBoard has every epoch once, whatever was killed.
    events = EventAccumulator(str(tmp_path / "torn-events/validation"), {"tensors": 0})
    events.Reload()
    history, tag = pd.read_csv(torn / "history.csv"), "epoch_loss"
    shown = {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}
    assert len(shown) == len(events.Tensors(tag)) == len(history)
    assert shown == pytest.approx(dict(zip(history["epoch"], history["val_loss"], strict=True)))


@pytest.fixture(scope="module")
def interrupted(dataset, tmp_path_factory):
    """The checkpoint of a training that was killed."""
    output = tmp_path_factory.mktemp("interrupted") / "gru"
    killed(command(dataset, output, epochs=40), after=2, delay=0)
    return output.with_suffix(".zip")


def test_another_setting_does_not_go_on_from_the_checkpoint(
    trained, interrupted, dataset, tmp_path
):
    shutil.copy(interrupted, tmp_path / "gru.zip")
    done = train(dataset, tmp_path / "gru")
    assert "gru.zip: of other settings, data or code; begins anew" in done.stdout
    assert (tmp_path / "gru/model.keras").read_bytes() == (trained[0] / "model.keras").read_bytes()


def test_other_frames_do_not_go_on_from_the_checkpoint(interrupted, dataset, tmp_path):
    split, _ = dataset
    rows = clips(24)
    rows[0].frames[0, 0, 0, 0] ^= 1
    write_shard(tmp_path / "all.h5", rows, SHAPE, {})
    shutil.copy(interrupted, tmp_path / "gru.zip")
    words = command((split, [tmp_path / "all.h5"]), tmp_path / "gru", epochs=40)
    assert "begins anew" in killed(words, after=1, delay=0)
    # The same frames in other shards are the same data.
    write_shard(tmp_path / "all.h5", clips(24), SHAPE, {})
    shutil.copy(interrupted, tmp_path / "gru.zip")
    assert "goes on after epoch" in killed(words, after=1, delay=0)


def test_a_damaged_checkpoint_is_reported_and_not_used(interrupted, tmp_path, capsys):
    with zipfile.ZipFile(interrupted) as archive:
        identity = json.loads(archive.read("facts.json"))["identity"]
    assert checkpoint.read(interrupted, identity, {}) is not None
    content = bytearray(interrupted.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "gru.zip"
    damaged.write_bytes(content)
    assert checkpoint.read(damaged, identity, {}) is None
    assert f"{damaged}: damaged (" in capsys.readouterr().out
    damaged.write_bytes(content[:1000])
    assert checkpoint.read(damaged, identity, {}) is None
    assert checkpoint.read(tmp_path / "nothing.zip", identity, {}) is None
    assert checkpoint.read(interrupted, "another", {}) is None


def test_killed_by_the_system_tells_what_was_predicted(dataset, tmp_path):
    words = command(dataset, tmp_path / "gru", epochs=500)
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while "epoch 1/" not in process.stdout.readline():
            pass
        trains = [
            child
            for child in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        trains[0].kill()
        _, error = process.communicate()
    assert process.returncode == 1
    last = error.strip().splitlines()[-1]
    assert "gru: killed (SIGKILL), as the system does when memory runs out" in last
    assert "1701 MB were predicted; lower batch_size" in last


def test_memory_that_is_refused_tells_what_was_predicted(dataset, tmp_path):
    # The kernel of 960 x 30 million weights takes 115 GB.
    done = subprocess.run(
        command(dataset, tmp_path / "rnn", "simple_rnn", units=[30_000_000]),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (32 * 10**9, 32 * 10**9)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_one_line(done, "simple_rnn: out of memory. ", "MB were predicted; lower batch_size")


def test_best_epoch_is_kept_and_early_stopping_stops(dataset, tmp_path):
    done = train(dataset, tmp_path / "best", epochs=30, early_stopping=3, checkpoint="best")
    assert done.returncode == 0, done.stderr
    history = pd.read_csv(tmp_path / "best/history.csv")
    facts = json.loads((tmp_path / "best/run.json").read_text())
    best = 1 + int(history["val_loss"].idxmin())
    assert facts["kept_epoch"] == facts["best_epoch"] == best
    assert len(history) == facts["epochs"] == best + 3 < 30
    # The weights are those of a training that ends there.
    train(dataset, tmp_path / "short", epochs=best)
    models = [(tmp_path / name / "model.keras").read_bytes() for name in ("best", "short")]
    assert models[0] == models[1]


def test_float16_without_a_gpu_is_refused(dataset, tmp_path):
    if keras.distribution.list_devices("gpu"):
        pytest.skip("there is a GPU")
    done = train(dataset, tmp_path / "gru", precision="mixed_float16")
    assert_one_line(done, "mixed_float16 needs a GPU", "mixed_bfloat16")


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


def evaluate(dataset, model: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    split, files = dataset
    words = ["--model", model, "--split", split, "--shards", *files]
    words += ["--batch-size", 4, "--threads", 1, "--output", output]
    return noctact("evaluate", *words, *more)


def test_predictions_agree_with_the_history(trained, dataset, tmp_path):
    output, _ = trained
    done = evaluate(dataset, output / "model.keras", tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "predictions.csv")
    classes = ["dark, odd", "Übung"]
    assert list(table) == ["video_id", "split", "true", "predicted", *(f"p_{c}" for c in classes)]
    assert table["video_id"].is_monotonic_increasing
    assert table["split"].value_counts().to_dict() == {"val": 6, "test": 4}
    probabilities = table[[f"p_{name}" for name in classes]].to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert table["predicted"].tolist() == [classes[i] for i in probabilities.argmax(axis=1)]
    val = table[table["split"] == "val"]
    history = pd.read_csv(output / "history.csv")
    accuracy = (val["true"] == val["predicted"]).mean()
    assert accuracy == pytest.approx(history["val_accuracy"].iloc[-1])
    assert cross_entropy(val) == pytest.approx(history["val_loss"].iloc[-1], rel=1e-4)
    for name in ("shuffled", "first_frame"):
        other = pd.read_csv(tmp_path / f"{name}.csv")
        assert list(other) == list(table)
        assert other[["video_id", "split", "true"]].equals(table[["video_id", "split", "true"]])
        assert not other["p_Übung"].equals(table["p_Übung"])
    cost = json.loads((tmp_path / "cost.json").read_text())
    facts = json.loads((output / "run.json").read_text())
    assert list(cost) == ["layers", "flops", "model_mb", "inference_ms"]
    assert sum(layer["parameters"] for layer in cost["layers"]) == facts["parameters"]
    assert sum(layer["flops"] for layer in cost["layers"]) == cost["flops"] > 0
    assert cost["model_mb"] == (output / "model.keras").stat().st_size / 1e6
    assert list(cost["inference_ms"]) == ["1", "32"]
    assert all(milliseconds > 0 for milliseconds in cost["inference_ms"].values())


def cross_entropy(predictions: pd.DataFrame) -> float:
    """Mean of -log of the probability of the true class."""
    return float(-np.log([row[f"p_{row['true']}"] for _, row in predictions.iterrows()]).mean())


def test_loss_and_accuracy_of_an_epoch_are_means_over_all_its_clips(dataset, tmp_path):
    """14 clips in batches of 4, 4, 4 and 2, by weights that hardly move."""
    still = {"learning_rate": 1e-30, "dropout": 0.0, "epochs": 1}
    assert train(dataset, tmp_path / "gru", **still).returncode == 0
    split, files = dataset
    table = pd.read_csv(split)
    table["split"] = table["split"].map({"train": "val"}).fillna("train")
    table.to_csv(tmp_path / "split.csv", index=False)
    done = evaluate((tmp_path / "split.csv", files), tmp_path / "gru/model.keras", tmp_path)
    assert done.returncode == 0, done.stderr
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert len(predictions) == 14
    first = pd.read_csv(tmp_path / "gru/history.csv").iloc[0]
    assert first["loss"] == pytest.approx(cross_entropy(predictions), rel=1e-4)
    accuracy = (predictions["true"] == predictions["predicted"]).mean()
    assert first["accuracy"] == pytest.approx(accuracy)


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
    done = evaluate((tmp_path / "three.csv", files), model, tmp_path / "out")
    assert_one_line(done, "knows 2 classes", "3: train it again")
    broken = tmp_path / "model.keras"
    broken.write_bytes(model.read_bytes()[:1000])
    assert_one_line(evaluate(dataset, broken, tmp_path / "out"), str(broken), "can't be opened")
    assert not (tmp_path / "out").exists()


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
    assert_one_line(evaluate(dataset, file, tmp_path / "out"), str(file), "can't be opened")


def test_diverging_loss_stops_with_advice(dataset, tmp_path):
    done = train(dataset, tmp_path / "gru", optimizer="sgd", learning_rate=1e38)
    assert_one_line(done, "loss is inf in epoch 1", "lower learning_rate", "No epoch before")
    assert not (tmp_path / "gru/model.keras").exists()


def test_the_epoch_before_the_loss_diverged_is_kept(dataset, tmp_path):
    changes = {"optimizer": "sgd", "learning_rate": 4e37, "epochs": 12}
    done = train(dataset, tmp_path / "gru", **changes)
    history = pd.read_csv(tmp_path / "gru/history.csv")
    last = len(history)
    assert 0 < last < 12
    assert np.isfinite(history.to_numpy()).all()
    kept = tmp_path / "gru.keras"
    assert_one_line(done, f"in epoch {last + 1}", f"Epoch {last} is kept in {kept}")
    # What is kept is what a training of that many epochs gives.
    train(dataset, tmp_path / "shorter", **(changes | {"epochs": last}))
    assert kept.read_bytes() == (tmp_path / "shorter/model.keras").read_bytes()


def test_no_val_clips_is_an_error(dataset, tmp_path):
    split, files = dataset
    table = pd.read_csv(split)
    table[table["split"] != "val"].to_csv(tmp_path / "split.csv", index=False)
    done = train((tmp_path / "split.csv", files), tmp_path / "out")
    assert_one_line(done, "no val clips", "split.val")


def test_damaged_shard_and_missing_clip_are_named(dataset, tmp_path):
    split, files = dataset
    damaged = tmp_path / "shard-001.h5"
    damaged.write_bytes(files[1].read_bytes()[:500])
    done = train((split, [files[0], damaged]), tmp_path / "out")
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


def test_progress_tells_the_time_left(capsys, monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 10.0])  # begun; an epoch begins, is done; shown
    monkeypatch.setattr("noctact.training.time.monotonic", lambda: next(clock))
    progress = Progress("gru", epochs=6, done=2, clips=50, steps=4)
    progress.begin_epoch()
    progress.end_epoch({"loss": 0.5, "accuracy": 0.25, "val_loss": 0.75, "val_accuracy": 0.125})
    line = capsys.readouterr().out
    assert line == (
        "gru  epoch 3/6  loss 0.5000  accuracy 0.2500  val_loss 0.7500  val_accuracy 0.1250  "
        "10.0 clips/s  0:00:30 left\n"
    )
