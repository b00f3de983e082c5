"""Comparison of models: scores worked out by hand, readable figures, same bytes, clear errors."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from noctact import figures
from noctact.compare import SUMMARY, compare, scores
from noctact.errors import NoctactError

PUBLISHED = Path(__file__).parents[1] / "resources" / "published"
CLASSES = ["$5 & $6", "A_b", 'say "hi"', "Übung"]


def write_model(
    folder: Path,
    labels: Sequence[tuple[str, str, str]],
    classes: Sequence[str] = CLASSES,
    history: pd.DataFrame | None = None,
    model: str | None = None,
    seed: int = 31,
) -> Path:
    """Write the files of a model for the clips `labels`, each (split, true, predicted).

    It is called as the folder, unless `model` says otherwise. The predicted class gets a
    probability of 0.7, the others share the rest equally.
    """
    folder.mkdir(parents=True)
    table = pd.DataFrame(labels, columns=["split", "true", "predicted"])
    table.insert(0, "video_id", [f"{true}/{n}.mp4" for n, true in enumerate(table["true"])])
    rest = 0.3 / (len(classes) - 1)
    for name in classes:
        table[f"p_{name}"] = np.where(table["predicted"] == name, 0.7, rest)
    table.to_csv(folder / "predictions.csv", index=False)
    if history is None:
        history = pd.DataFrame(
            {"epoch": [1, 2], "loss": 0.5, "accuracy": 0.5, "val_loss": 0.6, "val_accuracy": 0.4}
        )
    history.to_csv(folder / "history.csv", index=False)
    facts = {
        "model": model or folder.name,
        "parameters": 1234567,
        "seconds_per_step": 0.25,
        "train_seconds": 3600.5,
        "peak_memory_mb": 2048.5,
        "seed": seed,
        "classes": list(classes),
        "settings": {"epochs": 2},
    }
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


RIGHT = [(split, name, name) for split in ("val", "test") for name in CLASSES]
HALF = [
    (split, name, CLASSES[n // 2 * 2])
    for split in ("val", "test")
    for n, name in enumerate(CLASSES)
]


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """The folders of two models; the second is the better one."""
    folder = tmp_path / "models"
    return [write_model(folder / "lstm", HALF), write_model(folder / "cnn_lstm", RIGHT)]


# --- scores


def test_scores_by_hand() -> None:
    probabilities = np.array(
        [
            [0.6, 0.2, 0.1, 0.1],
            [0.3, 0.4, 0.2, 0.1],
            [0.1, 0.8, 0.05, 0.05],
            [0.3, 0.5, 0.1, 0.1],
            [0.4, 0.3, 0.1, 0.2],  # the true class 2 is the least likely
        ]
    )
    result = scores(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0]), probabilities)
    # F1 = 2 tp / (2 tp + fp + fn): 2/4, 4/5 and 0; class 3 has no clips and does not count.
    assert result == pytest.approx(
        {
            "clips": 5,
            "accuracy": 3 / 5,
            "macro_f1": (2 / 4 + 4 / 5 + 0) / 3,
            "top3_accuracy": 4 / 5,
            "log_loss": -np.log([0.6, 0.3, 0.8, 0.5, 0.1]).mean(),
        }
    )


def test_class_without_clips_takes_nothing_from_a_perfect_model() -> None:
    result = scores(np.array([0, 2]), np.array([0, 2]), np.eye(4)[[0, 2]])
    assert (result["macro_f1"], result["log_loss"]) == (1, pytest.approx(0))


def test_class_without_clips_that_is_predicted_costs_the_class_that_was_missed() -> None:
    result = scores(np.array([0, 0, 1]), np.array([0, 3, 1]), np.eye(4)[[0, 3, 1]])
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps) / 3)


def test_scores_of_two_classes() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    result = scores(np.array([0, 1, 1]), np.array([0, 1, 0]), probabilities)
    assert result == pytest.approx(
        {
            "clips": 3,
            "accuracy": 2 / 3,
            "macro_f1": 2 / 3,
            "top3_accuracy": 1,
            "log_loss": -np.log([0.9, 0.6, 0.2]).mean(),
        }
    )


# --- the stage


def test_outputs(models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "comparison"
    compare(models, output)
    stems = ["accuracy", "loss", "confusion/cnn_lstm", "confusion/lstm"]
    expected = {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")}
    files = {str(file.relative_to(output)) for file in output.rglob("*") if file.is_file()}
    assert files == expected | {"summary.csv"}
    summary = pd.read_csv(output / "summary.csv")
    assert list(summary) == SUMMARY
    assert summary["model"].tolist() == ["lstm", "cnn_lstm"]  # as given
    assert summary["test_accuracy"].tolist() == [0.5, 1]
    assert summary["test_clips"].tolist() == [4, 4]
    assert summary["parameters"].tolist() == [1234567, 1234567]
    assert summary["train_seconds"].tolist() == [3600.5, 3600.5]
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["model", "cnn_lstm", "lstm"]  # best first


def test_no_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = []
    draw = figures.confusion
    monkeypatch.setattr(figures, "confusion", lambda *a: titles.append(a[2]) or draw(*a))
    val = [row for row in HALF if row[0] == "val"]
    compare([write_model(tmp_path / "gru", val)], tmp_path / "out")
    assert titles == ["gru\nvalidation (there is no test split): 4 clips, accuracy 50.0%"]
    header, row = (tmp_path / "out" / "summary.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert {cells[name] for name in SUMMARY if name.startswith("test_")} == {""}
    assert cells["val_accuracy"] == "0.5"


def test_seeds_of_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row each, model by model; one matrix of their sum; the folders' names do not matter."""
    drawn = {}
    draw = figures.confusion
    monkeypatch.setattr(
        figures, "confusion", lambda *a: drawn.update({a[2]: a[0].tolist()}) or draw(*a)
    )
    folders = [
        write_model(tmp_path / "gru", HALF, seed=5),
        write_model(tmp_path / "lstm", HALF, seed=5),
        write_model(tmp_path / "gru" / "seed-2", RIGHT, model="gru", seed=2),
        write_model(tmp_path / "x", RIGHT, model="gru", seed=7),
    ]
    compare(folders, tmp_path / "out")
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert list(summary)[:3] == ["model", "seed", "parameters"]
    assert summary[["model", "seed", "test_accuracy"]].to_numpy().tolist() == [
        ["gru", 5, 0.5],
        ["gru", 2, 1],
        ["gru", 7, 1],
        ["lstm", 5, 0.5],
    ]
    # HALF takes the second class for the first one, and the fourth for the third.
    assert drawn == {
        "gru\ntest, 3 seeds summed: 3 x 4 clips, accuracy 83.3%": [
            [3, 0, 0, 0],
            [1, 2, 0, 0],
            [0, 0, 3, 0],
            [0, 0, 1, 2],
        ],
        "lstm\ntest: 4 clips, accuracy 50.0%": [
            [1, 0, 0, 0],
            [1, 0, 0, 0],
            [0, 0, 1, 0],
            [0, 0, 1, 0],
        ],
    }
    matrices = {file.name for file in (tmp_path / "out" / "confusion").iterdir()}
    assert matrices == {"gru.png", "gru.svg", "lstm.png", "lstm.svg"}


def test_same_inputs_same_bytes(models: list[Path], tmp_path: Path) -> None:
    """Also in another process with another hash seed and a user's own matplotlib settings."""
    compare(models, tmp_path / "a")
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 9\n")
    workflow = str(Path(__file__).parents[1] / "workflow")
    subprocess.run(
        [sys.executable, "-m", "noctact", "compare", "--models", *models, "--output", "b"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": workflow},
        check=True,
    )
    for file in sorted((tmp_path / "a").rglob("*.*")):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_order_of_rows_is_free(models: list[Path], tmp_path: Path) -> None:
    compare(models, tmp_path / "a")
    rewrite(models[0], lambda table: table[::-1])
    compare(models, tmp_path / "b")
    a, b = (pd.read_csv(tmp_path / name / "summary.csv") for name in "ab")
    pd.testing.assert_frame_equal(a, b)


def test_published_figures(tmp_path: Path) -> None:
    """The notebooks' models, rebuilt from their histories and confusion matrices.

    The accuracies are those of the matrices, but 0.0005 to 0.0019 above or below the published
    `val_accuracy`: that one is the plain mean over 21 batches, 20 of 64 clips and one of 43, so
    clips of the last batch count more. For five models the right clips of the matrix, divided
    among the batches, give it to seven digits; for simple_rnn one more right clip does.
    """
    published = pd.read_csv(PUBLISHED / "summary.csv", index_col="model")
    histories = pd.read_csv(PUBLISHED / "history.csv")
    cells = pd.read_csv(PUBLISHED / "confusion.csv")
    classes = sorted(cells["true"].unique())
    folders = []
    for name in published.index:
        own = cells[cells["model"] == name]
        repeated = own.loc[own.index.repeat(own["count"])]
        labels = [("val", row.true, row.predicted) for row in repeated.itertuples()]
        history = histories[histories["model"] == name].drop(columns="model")
        folders.append(write_model(tmp_path / name, labels, classes, history))
    compare(folders, tmp_path / "out")
    summary = pd.read_csv(tmp_path / "out" / "summary.csv", index_col="model")
    assert (summary["val_clips"] == 1323).all()
    right = cells[cells["true"] == cells["predicted"]].groupby("model")["count"].sum()
    np.testing.assert_allclose(summary["val_accuracy"], right[summary.index] / 1323)
    off = abs(summary["val_accuracy"] - published["val_accuracy"])
    assert off.between(0.0005, 0.002).all()
    last = np.arange(44)  # right ones among the 43 clips of the last batch
    for name, published_accuracy in published["val_accuracy"].items():
        total = right[name] + (name == "simple_rnn")
        of_batches = ((total - last) / 64 + last / 43) / 21
        assert abs(of_batches - published_accuracy).min() < 1e-7


# --- figures


def extents(figure: Figure, texts: Sequence[Text], path: Path) -> list[Any]:
    """The bounding boxes of `texts` in pixels (less their arrows), once the figure is written."""
    figures.save(figure, path)
    return [Text.get_window_extent(text) for text in texts]


def assert_inside(figure: Figure, boxes: Sequence[Any]) -> None:
    """Every box lies inside the figure."""
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def assert_apart(boxes: Sequence[Any]) -> None:
    """No box overlaps the next one."""
    for box, following in itertools.pairwise(boxes):
        assert not box.overlaps(following)


@pytest.mark.parametrize(
    "classes",
    [
        ["no", "yes"],
        ["W" * 90, "a name with spaces, $x^2$ and a \\ " * 3],
        [f"Walking with flashlight {n}" for n in range(24)],
        [f"{'Applying Eye Makeup ' * (n % 3)}Übung_{n}" for n in range(101)],
    ],
    ids=["2", "2-long", "24", "101"],
)
@pytest.mark.parametrize("most", [9, 12345])
def test_confusion_is_readable(classes: list[str], most: int, tmp_path: Path) -> None:
    n = len(classes)
    random = np.random.default_rng(0)
    counts = random.integers(0, 3, (n, n)) * (random.random((n, n)) < 0.3) + most * np.eye(
        n, dtype=int
    )
    counts[0] = 0
    figure = figures.confusion(counts, classes, "cnn_lstm\ntest: 12,345 clips, accuracy 86.2%")
    axes = figure.axes[0]
    x, y = axes.get_xticklabels(), axes.get_yticklabels()
    assert [label.get_text() for label in x] == classes
    assert [label.get_text().rsplit(" (", 1)[0] for label in y] == classes
    title = axes.get_title(loc="left")
    assert title.endswith("accuracy 86.2%")
    headings = [axes._left_title, axes.xaxis.label, axes.yaxis.label]
    boxes = extents(figure, [*x, *y, *headings, *axes.texts], tmp_path / "figure.png")
    assert_inside(figure, boxes)
    assert_apart(boxes[:n])
    assert_apart(boxes[n : 2 * n])
    cell = axes.bbox.width / n
    assert len(axes.texts) == np.count_nonzero(counts)
    for box in boxes[2 * n + len(headings) :]:
        assert box.width < cell and box.height < cell


def history(epochs: int, val_loss: float = 0.03) -> pd.DataFrame:
    """A flat history; all models end at the same value, so their names have to make room."""
    return pd.DataFrame(
        {
            "epoch": np.arange(1, epochs + 1),
            "loss": 0.04,
            "accuracy": 0.9,
            "val_loss": val_loss,
            "val_accuracy": 1.0,
        }
    )


@pytest.mark.parametrize("measure", ["loss", "accuracy"])
@pytest.mark.parametrize("epochs", [1, 2, 50])
@pytest.mark.parametrize("count", [1, 6, 40])
def test_curves_name_every_model(measure: Any, epochs: int, count: int, tmp_path: Path) -> None:
    names = ["_$x$", "cnn_$x$", *(f"cnn_model_{n}" for n in range(2, 40))][:count]
    figure = figures.curves({name: [history(epochs)] for name in names}, measure)
    axes = figure.axes[0]
    ends = [text for text in axes.texts if isinstance(text, Annotation)]
    assert [text.get_text().split("  ")[0] for text in ends] == names
    boxes = extents(figure, axes.texts, tmp_path / "figure.png")
    assert_inside(figure, boxes)
    assert_apart(sorted(boxes, key=lambda box: float(box.y0)))
    assert all(tick == int(tick) for tick in axes.get_xticks())
    assert len(axes.lines) == 2 * count
    assert all(line.get_marker() in "os" for line in axes.lines)


def test_same_layer_same_colour_and_cnn_told_apart() -> None:
    names = ["lstm", "gru", "cnn_lstm", "cnn_gru"]
    lines = figures.curves({name: [history(3)] for name in names}, "loss").axes[0].lines
    looks = {
        name: (lines[2 * n + 1].get_color(), lines[2 * n + 1].get_linewidth())
        for n, name in enumerate(names)
    }
    assert looks["lstm"][0] == looks["cnn_lstm"][0] != looks["gru"][0] == looks["cnn_gru"][0]
    assert looks["lstm"][1] == looks["gru"][1] < looks["cnn_lstm"][1] == looks["cnn_gru"][1]
    training, validation = lines[0], lines[1]
    assert training.get_linestyle() == "--" and validation.get_linestyle() == "-"


def of_values(values: Sequence[float]) -> pd.DataFrame:
    """A history of these validation losses; the training loss is ten times as high."""
    frame = history(len(values))
    frame["val_loss"] = values
    frame["loss"] = 10 * frame["val_loss"]
    return frame


def test_seeds_make_a_mean_and_a_band(tmp_path: Path) -> None:
    """Two stop before the third one does: an epoch is of those that reached it."""
    seeds = [of_values([0.5, 0.2]), of_values([0.3]), of_values([0.1, 0.4, 0.7])]
    figure = figures.curves({"lstm": seeds, "gru": [of_values([0.6, 0.5])]}, "loss")
    axes = figure.axes[0]
    lines = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines]
    assert lines[0] == ([1, 2, 3], pytest.approx([3, 3, 7]))
    assert lines[1] == ([1, 2, 3], pytest.approx([0.3, 0.3, 0.7]))
    assert lines[3] == ([1, 2], [0.6, 0.5])
    (band,) = axes.collections  # one seed has none
    corners = {(x, round(float(y), 9)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1, 0.1), (1, 0.5), (2, 0.2), (2, 0.4), (3, 0.7)}
    assert to_hex(band.get_facecolor()[0]) == axes.lines[1].get_color().lower()
    assert [text.get_text() for text in axes.texts[1:]] == ["lstm  0.700", "gru  0.500"]
    note = axes._right_title
    assert note.get_text() == "mean of 1 to 3 seeds, band from lowest to highest"
    boxes = extents(figure, [axes._left_title, note, *axes.texts], tmp_path / "figure.png")
    assert_inside(figure, boxes)
    assert_apart(boxes[:3])


def test_one_seed_has_no_band_and_no_note() -> None:
    axes = figures.curves({"lstm": [history(3)], "gru": [history(3)]}, "loss").axes[0]
    assert len(axes.collections) == 0
    assert axes.get_title(loc="right") == ""


def test_a_loss_of_one_seed_that_is_no_number_is_not_left_out_of_the_mean() -> None:
    figure = figures.curves({"lstm": [of_values([0.5, np.nan]), of_values([0.3, 0.2])]}, "loss")
    assert figure.axes[0].texts[1].get_text() == "lstm  nan"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_loss_that_is_not_finite_leaves_a_gap(value: float, tmp_path: Path) -> None:
    figure = figures.curves({"lstm": [history(3, value)], "gru": [history(3)]}, "loss")
    ends = figure.axes[0].texts[1:]
    assert [text.get_text() for text in ends] == [f"lstm  {value}", "gru  0.0300"]
    assert_inside(figure, extents(figure, ends, tmp_path / "figure.png"))


# --- errors


def rewrite(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Apply `change` to predictions.csv in `folder`."""
    file = folder / "predictions.csv"
    change(pd.read_csv(file)).to_csv(file, index=False)


def set_cell(column: str, value: object) -> Callable[[Path], None]:
    """A change of the first row of predictions.csv."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table[column] = table[column].astype(object)
        table.loc[0, column] = value
        return table

    return lambda folder: rewrite(folder, change)


def set_fact(key: str, value: object) -> Callable[[Path], None]:
    """A change of one key of run.json."""

    def change(folder: Path) -> None:
        file = folder / "run.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    """Another content of one file."""
    return lambda folder: Path(folder / name).write_bytes(content) and None


HEADER = b"epoch,loss,accuracy,val_loss,val_accuracy\n"
FAULTS = {
    r"history.csv: missing": lambda folder: (folder / "history.csv").unlink(),
    r"predictions.csv: missing": lambda folder: (folder / "predictions.csv").unlink(),
    r"run.json: missing": lambda folder: (folder / "run.json").unlink(),
    r"history.csv: not a CSV": write("history.csv", b""),
    r"history.csv: not a CSV file \('utf-8'": write("history.csv", b"\xff\xfe\xff\n1\n"),
    r"history.csv: no rows": write("history.csv", HEADER),
    r"history.csv: column 'epoch' is missing": write("history.csv", b"a\n1\n"),
    r"history.csv: the epochs are not": write("history.csv", HEADER + b"2,1,1,1,1\n"),
    r"history.csv: Unable to parse string .much": write("history.csv", HEADER + b"1,much,1,1,1\n"),
    r"run.json: not JSON": write("run.json", b"{"),
    r"run.json: not a JSON object": write("run.json", b"[]"),
    r"run.json: key 'model' is no name": set_fact("model", 7),
    r"run.json: key 'seed' is no number": set_fact("seed", None),
    r"run.json: key 'classes' is no list of two": set_fact("classes", ["one"]),
    r"predictions.csv: column 'p_new' is missing": set_fact("classes", [*CLASSES, "new"]),
    r"predictions.csv: column 'p_A_b' is of no class": set_fact(
        "classes", [name for name in CLASSES if name != "A_b"]
    ),
    r"clip '\$5 & \$6/0.mp4' is in a split other than": set_cell("split", "train"),
    r"clip '\$5 & \$6/0.mp4' has the true class 'Jump', which run.json lacks": set_cell(
        "true", "Jump"
    ),
    r"has the predicted class 'Jump', which run.json lacks": set_cell("predicted", "Jump"),
    r"clip 'A_b/1.mp4' comes twice": set_cell("video_id", "A_b/1.mp4"),
    r"clip '\$5 & \$6/0.mp4' has probabilities that do not add up": set_cell("p_A_b", 0.9),
    r"mp4' has probabilities that do not": set_cell("p_A_b", None),
    r"Unable to parse string .high": set_cell("p_A_b", "high"),
    r"cnn_lstm and .*/lstm: evaluated on different clips; only one of them has '\$5 & \$6/0.mp4' "
    r"of class '\$5 & \$6' in test": set_cell("split", "test"),
    r"cnn_lstm and .*/lstm: evaluated on different clips; only one of them has '\$5": set_cell(
        "video_id", "new.mp4"
    ),
    r"cnn_lstm and .*/lstm: evaluated on different clips; only .* in val; evaluate both": set_cell(
        "true", "A_b"
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_fault_of_one_model(message: str, models: list[Path], tmp_path: Path) -> None:
    FAULTS[message](models[0])
    with pytest.raises(NoctactError, match=message) as caught:
        compare(models[::-1], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "lstm" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_different_classes(models: list[Path], tmp_path: Path) -> None:
    other = write_model(tmp_path / "gru", [("val", "a", "b")], ["a", "b"])
    with pytest.raises(NoctactError, match=r"/lstm and .*/gru: different classes \('?\$5 & \$6"):
        compare([models[0], other], tmp_path / "out")


def test_one_model_and_seed_twice(models: list[Path], tmp_path: Path) -> None:
    twin = write_model(models[0] / "seed-31", HALF, model="lstm")
    fault = f"{models[0]} and {twin}: both are lstm with seed 31"
    with pytest.raises(NoctactError, match=f"^{re.escape(fault)}"):
        compare([*models, twin], tmp_path / "out")


def test_seeds_evaluated_on_different_clips(models: list[Path], tmp_path: Path) -> None:
    other = write_model(models[0] / "seed-2", HALF[1:], model="lstm", seed=2)
    with pytest.raises(NoctactError, match=r"/lstm and .*/lstm/seed-2: evaluated on different"):
        compare([*models, other], tmp_path / "out")


def test_matrices_of_models_no_longer_compared_go(models: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "comparison"
    (output / "confusion").mkdir(parents=True)
    for name in ("gone.png", "gone.svg", "notes.txt"):
        (output / "confusion" / name).touch()
    compare(models[:1], output)
    files = {file.name for file in (output / "confusion").iterdir()}
    name = models[0].name
    assert files == {f"{name}.png", f"{name}.svg", "notes.txt"}
