"""Finished runs side by side: paired where the clips are the same, and what has changed."""

import json
from pathlib import Path

import pandas as pd
import pytest
from made_runs import repeated, write_model, write_run

from noctact.__main__ import main
from noctact.errors import NoctactError
from noctact.runs import COLUMNS, compare_runs

GROUPS = [f"recording {n // 2}" for n in range(60)]


def finish(run: Path, **config: object) -> Path:
    """Write what the comparison and the page leave: which models were compared, and the config."""
    facts = [json.loads(file.read_text()) for file in sorted(run.glob("models/**/run.json"))]
    (run / "comparison").mkdir()
    models = [{"model": fact["model"], "seed": fact["seed"]} for fact in facts]
    (run / "comparison" / "summary.json").write_text(json.dumps({"models": models}))
    (run / "run.json").write_text(json.dumps({"config": {"run": run.name, **config}}))
    return run


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two runs of the same clips; gru has got better."""
    return [
        finish(write_run(tmp_path / name, {"gru": repeated(60, right)}, GROUPS), training=training)
        for name, right, training in [
            ("before", 40, {"epochs": 2, "units": [8]}),
            ("after", 52, {"epochs": 9, "units": [8]}),
        ]
    ]


def test_same_clips_are_compared_in_pairs(two: list[Path]) -> None:
    table = compare_runs(*two)
    assert list(table) == COLUMNS
    (row,) = table.to_dict("records")
    assert (row["accuracy"], row["other_accuracy"]) == pytest.approx((40 / 60, 52 / 60))
    assert row["difference"] == pytest.approx(12 / 60)
    assert row["same_clips"]
    assert row["p"] == pytest.approx(2 / 2**12)  # twelve clips, all won by one side
    # The twelve are six recordings of thirty: the standard error of 0.2 is that of 6/30.
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * 0.073, abs=0.03)


def test_a_run_beside_itself_differs_by_nothing(two: list[Path]) -> None:
    (row,) = compare_runs(two[0], two[0]).to_dict("records")
    assert (row["difference"], row["low"], row["high"], row["p"]) == (0, 0, 0, 1)


def test_other_clips_are_resampled_apart(two: list[Path], tmp_path: Path) -> None:
    groups = [f"other {n // 2}" for n in range(62)]
    other = finish(write_run(tmp_path / "random", {"gru": repeated(62, 53)}, groups))
    paired, apart = (compare_runs(two[0], run).iloc[0] for run in (two[1], other))
    assert not apart["same_clips"]
    assert pd.isna(apart["p"])
    assert apart["difference"] == pytest.approx(53 / 62 - 40 / 60)
    assert apart["high"] - apart["low"] > paired["high"] - paired["low"]


def test_recordings_that_one_run_knows_count_for_both(two: list[Path], tmp_path: Path) -> None:
    """A B says the same as B A, though B was made without groups.pattern."""
    alone = finish(write_run(tmp_path / "alone", {"gru": repeated(60, 52)}))
    ours, other, back = (
        compare_runs(*pair).iloc[0] for pair in (two, (two[0], alone), (alone, two[0]))
    )
    assert (other["low"], other["high"]) == (ours["low"], ours["high"])
    assert (back["low"], back["high"]) == pytest.approx((-ours["high"], -ours["low"]))


def test_only_models_that_were_compared_count(two: list[Path]) -> None:
    """What lies beside them may even be of an older version."""
    for run in two:
        folder = write_model(run / "models" / "lstm", repeated(60, 9))
        (folder / "cost.json").unlink()
    assert compare_runs(*two)["model"].tolist() == ["gru"]


def test_seeds_are_averaged(two: list[Path], tmp_path: Path) -> None:
    run = write_run(tmp_path / "seeds", {"gru": repeated(60, 60)}, GROUPS)
    write_model(run / "models" / "gru" / "seed-2", repeated(60, 30), model="gru", seed=2)
    assert compare_runs(two[0], finish(run))["other_accuracy"].tolist() == [0.75]


def test_command_line(two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "deltas.csv"
    assert main(["compare", *map(str, two), str(two[0]), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "training.epochs: 2, then 9\n" in printed
    assert "units" not in printed
    assert "+0.200" in printed
    table = pd.read_csv(output)
    assert table["other"].tolist() == [str(two[1]), str(two[0])]
    assert table["difference"].tolist() == [pytest.approx(0.2), 0]


def test_seeds_of_one_run_on_different_clips(two: list[Path], tmp_path: Path) -> None:
    run = write_run(tmp_path / "seeds", {"gru": repeated(60, 60)}, GROUPS)
    write_model(run / "models" / "gru" / "seed-2", repeated(50, 30), model="gru", seed=2)
    with pytest.raises(NoctactError, match=r"/seed-2/predictions.csv: evaluated on different"):
        compare_runs(two[0], finish(run))


def test_other_classes(two: list[Path], tmp_path: Path) -> None:
    labels = [("test", "a", "a"), ("test", "b", "a")]
    other = finish(write_run(tmp_path / "other", {"gru": labels}, classes=["a", "b"]))
    with pytest.raises(
        NoctactError, match=r"/before and .*/other: different classes \('\$5 & \$6'"
    ):
        compare_runs(two[0], other)


@pytest.mark.parametrize("content", ["{}", '{"models": []}', '{"models": 1}', '{"models": [{}]}'])
def test_a_summary_that_is_none(two: list[Path], content: str) -> None:
    (two[1] / "comparison" / "summary.json").write_text(content)
    with pytest.raises(NoctactError, match=r"summary.json: no list of models with their seeds"):
        compare_runs(*two)


@pytest.mark.parametrize(
    "words", [["--output", "x.csv"], ["other", "--models", "gru"], ["other", "--published", "x"]]
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compare", "run", *words])
    assert caught.value.code == 2
    assert words[-2] in capsys.readouterr().err


def test_errors(two: list[Path], tmp_path: Path) -> None:
    other = finish(write_run(tmp_path / "lstm", {"lstm": repeated(60, 50)}, GROUPS))
    with pytest.raises(NoctactError, match=r"/before and .*/lstm: no model is in both"):
        compare_runs(two[0], other)
    (other / "models" / "lstm" / "run.json").unlink()
    with pytest.raises(NoctactError, match=r"/lstm/models: no evaluated model"):
        compare_runs(two[0], other)
    write_model(other / "models" / "gru", repeated(60, 50))
    with pytest.raises(NoctactError, match=r"/lstm: no results of lstm with seed 31; finish"):
        compare_runs(two[0], other)
    (other / "comparison" / "summary.json").unlink()
    with pytest.raises(NoctactError, match=r"summary.json: missing; finish this run first"):
        compare_runs(two[0], other)
