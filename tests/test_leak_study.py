"""The study of leaky splits (studies/leak.py): what counts, where it goes on, what is left out."""

import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
import yaml

from noctact.config import check

sys.path.append(str(Path(__file__).parents[1] / "studies"))

import leak

ROOT = Path(__file__).parents[1]

SETTINGS: dict[str, Any] = {
    "run": "leak-x",
    "models": ["gru", "cnn_gru"],
    "split": {"val": 0.1, "test": 0.3},
}


def write_run(run: Path, split: list[tuple[str, str, str]], right: int) -> None:
    """A run of clips (name, group, split) of two classes; each model is right on `right` tests."""
    columns = ["video_id", "group", "split"]
    table = pd.DataFrame(split, columns=columns).assign(label=["a", "b"] * (len(split) // 2))
    (run / "split").mkdir(parents=True, exist_ok=True)
    table.to_csv(run / "split" / "split.csv", index=False)
    tested = table[table["split"] == "test"].assign(true="a", predicted="b")
    tested.iloc[:right, tested.columns.get_loc("predicted")] = "a"
    for model in SETTINGS["models"]:
        (run / "models" / model).mkdir(parents=True, exist_ok=True)
        tested.to_csv(run / "models" / model / "predictions.csv", index=False)


CLIPS = [("1", "x", "train"), ("2", "x", "test"), ("3", "y", "test"), ("4", "z", "val")]


def test_what_a_training_counts(tmp_path: Path) -> None:
    write_run(tmp_path, CLIPS, right=1)
    rows = leak.test_rows(tmp_path, ["gru"])
    same = {"clips": 2, "recordings": 2, "leaked": 1, "chance": 0.5, "accuracy": 0.5}
    assert rows == [{"model": "gru"} | same]


def test_predictions_of_another_split_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, CLIPS, right=1)
    table = pd.DataFrame(CLIPS, columns=["video_id", "group", "split"]).assign(label="a")
    table["split"] = ["test", "train", "test", "val"]
    table.to_csv(tmp_path / "split" / "split.csv", index=False)
    with pytest.raises(ValueError, match="other clips"):
        leak.test_rows(tmp_path, ["gru"])


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Seed and strategy of each training that is asked for; random is right once more."""
    asked = []

    def train(settings: Mapping[str, Any], log: Path) -> None:
        split = settings["split"]
        assert settings["seeds"] == [split["seed"]]
        asked.append((split["seed"], split["strategy"]))
        right = 2 if split["strategy"] == "random" else 1
        write_run(tmp_path / "results" / settings["run"], CLIPS, right)

    monkeypatch.setattr(leak, "train", train)
    monkeypatch.setattr(leak, "ROOT", tmp_path)
    return asked


def test_a_study_goes_on_where_it_stopped(tmp_path: Path, trained: list[tuple[int, str]]) -> None:
    file = tmp_path / "x.csv"
    assert len(leak.measure(SETTINGS, [1], file)) == 4
    assert trained == [(1, "random"), (1, "group")]
    rows = leak.measure(SETTINGS, [1, 2], file)
    assert trained[2:] == [(2, "random"), (2, "group")]
    assert list(leak.gaps(rows, 0.5)["gap"]) == [0.5, 0.5]
    assert len(leak.measure(SETTINGS, [2], file)) == 4, "rows of other seeds count"
    leak.measure(SETTINGS | {"run": "leak-y"}, [1], file)
    assert trained[4:] == [(1, "random"), (1, "group")], "rows of other settings count"


def rows_of(random: list[float], group: list[float]) -> pd.DataFrame:
    """Rows of two models with these accuracies, one a seed."""
    rows = [
        ("", seed, strategy, model, 20, 5, 20 * (strategy == "random"), 0.2, accuracy)
        for strategy, values in (("random", random), ("group", group))
        for seed, accuracy in enumerate(values)
        for model in SETTINGS["models"]
    ]
    return pd.DataFrame(rows, columns=leak.COLUMNS)


def test_the_gap_is_paired_by_seed() -> None:
    """Differences 0.1, 0.2, 0.3: t(0.975, 2) = 4.3027, standard error 0.1 / sqrt(3)."""
    table = leak.gaps(rows_of([0.9, 0.5, 0.7], [0.8, 0.3, 0.4]), overlap=0.5)
    row = table.iloc[0]
    half, wide = 4.3027 * 0.1 / 3**0.5, 4.3027 * 0.1 * (1 / 3 + 0.5) ** 0.5
    found = row[["gap", "low", "high", "wide_low", "wide_high"]].astype(float).tolist()
    assert found == pytest.approx([0.2, 0.2 - half, 0.2 + half, 0.2 - wide, 0.2 + wide], 1e-4)
    assert (row["random_leaked"], row["group_leaked"]) == (1, 0)


def test_the_nearest_clip_remembers() -> None:
    """Each recording, of one class, has a picture of its own: known if it was seen, else not."""
    each = product(range(12), range(6))
    names = [(f"{'ab'[group % 2]}/{group}_{clip}", str(group)) for group, clip in each]
    groups = pd.DataFrame(sorted(names), columns=["video_id", "group"])
    pictures = np.eye(12, dtype=np.float32)[groups["group"].astype(int)]
    random, group = leak.nearest_rows(groups, pictures, {"val": 0.2, "test": 0.2}, seed=1)
    assert (random["accuracy"], random["leaked"]) == (1, random["clips"])
    assert (group["accuracy"] < 1, group["leaked"]) == (True, 0)


def test_table_and_figure() -> None:
    rows = {name: rows_of([0.9, 0.5], [0.8, 0.3]) for name in ("one", "two")}
    tables = {name: leak.gaps(own, 0.5) for name, own in rows.items()}
    assert "| two | cnn_gru | 70.0% | 55.0% | **+15.0** |" in leak.markdown(tables)
    figure = leak.draw(rows, tables)
    assert [axes.get_title("left").strip() for axes in figure.axes] == ["one", "two"]


def test_variants_are_dark_copies_in_their_class(tmp_path: Path) -> None:
    source = tmp_path / "clips" / "hug" / "1_2_3_p0.avi"
    source.parent.mkdir(parents=True)
    leak.siblings.write(source, [np.full((64, 48, 3), 128, np.uint8)] * 5, 10, 18)
    leak.make_variants(tmp_path / "clips", tmp_path / "made")
    made = sorted((tmp_path / "made").rglob("*.mp4"))
    assert [file.name for file in made] == [f"1_2_3_p0_v{number}.mp4" for number in range(3)]
    for file in made:
        with av.open(file) as container:
            frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        assert len(frames) == 5
        assert np.median(frames) < 100


def test_all_settings_are_valid() -> None:
    plan = yaml.safe_load(leak.PLAN.read_text())
    for name in plan["sets"]:
        generated = plan["sets"][name]["source"] == "synthetic"
        settings = leak.settings_of(plan, name, None if generated else Path("clips"))
        check(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()) | settings)
        assert settings["frames"]["count"] == 10


def test_real_clips_that_are_not_there(tmp_path: Path) -> None:
    script = ROOT / "studies" / "leak.py"
    call = [sys.executable, script, "--sets", "crops", "--clips", tmp_path / "no"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert "Set crops is left out: there are no clips at" in done.stdout
    assert done.returncode == 0, done.stderr
