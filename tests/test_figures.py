"""Figures: all that is written can be read, for any number of classes and models; same bytes."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from noctact import figures, results
from noctact.figures.strips import brighten, denoise, thumbnail

NAMES = ["simple_rnn", "lstm", "gru", "cnn_simple_rnn", "cnn_lstm", "cnn_gru"]
CLASSES = {
    "2": ["no", "yes"],
    "2-long": ["W" * 90, "a name with spaces, $x^2$ and a \\ " * 3],
    "12": [f"Walking with flashlight {n}" for n in range(12)],
    "101": [f"{'Applying Eye Makeup ' * (n % 3)}Übung_{n}" for n in range(101)],
}
MODELS = {
    "1": ["gru"],
    "6": NAMES,
    "40": ["_$x$", "cnn_$x$", "W" * 90, *(f"cnn_model_{n}" for n in range(3, 40))],
}
of_classes = pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES.keys())
of_models = pytest.mark.parametrize("names", MODELS.values(), ids=MODELS.keys())


# --- what is readable


def drawn_texts(figure: Figure) -> list[Text]:
    """All texts of a figure that are seen: not those of ticks beyond the limits."""
    ticks: set[Text] = set()
    shown: set[Text] = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            everyone = axis.get_major_ticks() + axis.get_minor_ticks()
            ticks |= {label for tick in everyone for label in (tick.label1, tick.label2)}
            drawn = axis._update_ticks() if axes.axison else []
            shown |= {label for tick in drawn for label in (tick.label1, tick.label2)}
            if not axes.axison:
                ticks |= {axis.label, axis.offsetText}
    texts = [text for text in figure.findobj(Text) if text not in ticks or text in shown]
    return [text for text in texts if text.get_text().strip() and text.get_visible()]


def extents(figure: Figure, texts: Iterable[Text], path: Path) -> list[Any]:
    """The bounding boxes of `texts` in pixels (less their arrows), once the figure is written."""
    figures.save(figure, path)
    return [Text.get_window_extent(text) for text in texts]


def assert_readable(figure: Figure, path: Path) -> None:
    """Every text lies inside the figure, and none on another one."""
    figures.save(figure, path)
    texts = drawn_texts(figure)
    boxes = np.array([Text.get_window_extent(text).extents for text in texts])
    low, high = boxes[:, :2], boxes[:, 2:]
    assert (low >= figure.bbox.min).all() and (high <= figure.bbox.max).all()
    slack = 1  # pixel: lines of one block touch
    over = (low[:, None] + slack < high[None]) & (low[None] + slack < high[:, None])
    pairs = np.argwhere(np.triu(over.all(axis=2), 1))
    assert not [[texts[n].get_text() for n in pair] for pair in pairs]


def assert_inside(figure: Figure, boxes: Sequence[Any]) -> None:
    """Every box lies inside the figure."""
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def assert_apart(boxes: Sequence[Any]) -> None:
    """No box overlaps the next one."""
    for box, following in itertools.pairwise(boxes):
        assert not box.overlaps(following)


def words(figure: Figure) -> list[str]:
    """What is written in a figure."""
    return [text.get_text() for text in drawn_texts(figure)]


# --- made-up results


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


def of_values(values: Sequence[float]) -> pd.DataFrame:
    """A history of these validation losses; the training loss is ten times as high."""
    frame = history(len(values))
    frame["val_loss"] = values
    frame["loss"] = 10 * frame["val_loss"]
    return frame


def counts_of(n: int, most: int = 9) -> np.ndarray:
    """A sparse confusion matrix with `most` on the diagonal; the first class has no clips."""
    random = np.random.default_rng(n)
    counts = random.integers(0, 3, (n, n)) * (random.random((n, n)) < 0.3)
    counts += most * np.eye(n, dtype=int)
    counts[0] = 0
    return counts


def scores_of(names: Sequence[str]) -> pd.DataFrame:
    """Accuracies with intervals; some are equal."""
    accuracy = np.resize([0.8, 0.5, 0.5, 1, 0], len(names))
    table = pd.DataFrame({"model": names, "accuracy": accuracy})
    table["low"], table["high"] = (accuracy - 0.1).clip(0), (accuracy + 0.15).clip(max=1)
    return table.assign(shuffled=0.3, first_frame=0.1, x=np.resize([1e6, 1.1e6, 2e7], len(names)))


BASELINES = pd.DataFrame(
    {
        "control": [*results.BASELINES.values()],
        "accuracy": [0.1, 0.4, 0.1],
        "low": [0.05, 0.3, 0.02],
        "high": [0.2, 0.5, 0.2],
    }
)


def pairs_of(names: Sequence[str]) -> pd.DataFrame:
    """All pairs, of which the first one is clear."""
    pairs = pd.DataFrame(itertools.combinations(names, 2), columns=["model", "other"])
    n = np.arange(len(pairs))
    difference = np.where(n % 2, -0.1, 0.2)
    return pairs.assign(
        difference=difference,
        low=difference - 0.15,
        high=difference + 0.15,
        p_holm=np.where(n == 0, 0.0001, 0.5),
        clear=n == 0,
    )


def bins_of(names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Three bins, one without clips."""
    frame = pd.DataFrame(
        {"confidence": [0.2, 0.5, 0.9], "accuracy": [0.1, np.nan, 1], "clips": [1, 0, 40]}
    )
    return dict.fromkeys(names, frame)


def strip_of(gray: int, caption: str, frames: int = 10) -> figures.Strip:
    """A clip of plain frames."""
    return figures.Strip(np.full((frames, 12, 16, 3), gray, np.uint8), caption)


def edges_of(names: Sequence[str]) -> list[tuple[str, str]]:
    """A workflow like ours: the controls bypass the evaluation."""
    edges = [("acquire", "index"), ("index", "split"), ("acquire", "split"), ("split", "controls")]
    for name in names:
        edges += [("split", f"train_{name}"), (f"train_{name}", "evaluate")]
    return [*edges, ("controls", "compare"), ("evaluate", "compare"), ("split", "compare")]


def classes_of(names: Sequence[str]) -> pd.DataFrame:
    """Clips of classes by split, and their recordings; the first has thousands."""
    n = np.arange(len(names))
    table = pd.DataFrame({"train": n + 5, "val": n % 3, "test": 0}, index=list(names))
    table.iloc[0, 0] = 123_456
    return table.assign(clips=table.sum(axis=1), groups=n + 1, largest_group=5)


def spread_of(names: Sequence[str]) -> pd.DataFrame:
    """Quantiles by class; nothing is known of the last one."""
    columns = ["low", "quarter", "middle", "three_quarters", "high"]
    table = pd.DataFrame([[1.0, 2, 3, 4, 250]] * len(names), list(names), columns)
    table.iloc[-1] = np.nan
    return table


def sources_of(names: Sequence[str]) -> pd.DataFrame:
    """Clips by class and source."""
    sources = [f"{width} x 240, 25 fps, .mp4" for width in range(320, 328)]
    table = pd.DataFrame(0, list(names), [*sources, "other"])
    table.iloc[:, 0] = 999
    table.iloc[0, 3] = 1
    return table


def rows_of(count: int, across: int = 2) -> list[figures.Row]:
    """Rows of a contact sheet; the captions of a row differ in length."""
    strips = [strip_of(20, f"{'W' * 50 * n}a/{n}\nclass, train") for n in range(across)]
    return [figures.Row(f"not joined: similarity 0.{n}", strips) for n in range(count)]


FIGURES: dict[str, Callable[[], Figure]] = {
    "curves": lambda: figures.curves(
        {name: [history(3), history(2)] for name in NAMES}, "loss", "msle", {"gru": history(9)}
    ),
    "model_curves": lambda: figures.model_curves([history(3)], "gru", "msle"),
    "confusion": lambda: figures.confusion(counts_of(12), CLASSES["12"], "gru\ntest: 9 clips"),
    "sheet": lambda: figures.confusion_sheet(
        dict.fromkeys(NAMES[:3], counts_of(12)), CLASSES["12"], "Without CNN"
    ),
    "difference": lambda: figures.confusion_difference(
        counts_of(12), counts_of(12, 2), CLASSES["12"], "gru less lstm"
    ),
    "ranking": lambda: figures.ranking(scores_of(NAMES), BASELINES, "Accuracy"),
    "significance": lambda: figures.significance(pairs_of(NAMES)),
    "cost": lambda: figures.cost(scores_of(NAMES), "parameters"),
    "recall": lambda: figures.recall(pd.DataFrame({"gru": [0.5, np.nan]}, ["a", "b"]), [2, 0]),
    "reliability": lambda: figures.reliability(bins_of(NAMES), dict.fromkeys(NAMES, 0.1)),
    "errors": lambda: figures.errors([strip_of(20, "a, taken for b\na/1.mp4")], "gru"),
    "examples": lambda: figures.examples([strip_of(20, "a\na/1.mp4")]),
    "rule_graph": lambda: figures.rule_graph(edges_of(NAMES), {"evaluate": 6}),
    "clips_by_split": lambda: figures.clips_by_split(classes_of(CLASSES["12"])),
    "recordings": lambda: figures.recordings(classes_of(CLASSES["12"])),
    "spreads": lambda: figures.spreads({"a": spread_of(CLASSES["12"])}, "Lengths"),
    "formats": lambda: figures.formats({"size": pd.Series({"a": 9, "b": 1})}),
    "sources": lambda: figures.sources(sources_of(CLASSES["12"])),
    "contact_sheet": lambda: figures.contact_sheet(rows_of(2), "Pairs", "Denoised."),
}


def write_all(folder: Path) -> None:
    """Write every figure to `folder`."""
    for name, draw in FIGURES.items():
        figure = draw()
        for suffix in (".png", ".svg"):
            figures.save(figure, folder / f"{name}{suffix}")


def test_same_inputs_same_bytes(tmp_path: Path) -> None:
    """Also in another process with another hash seed and a user's own matplotlib settings."""
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 9\n")
    for name in "ab":
        (tmp_path / name).mkdir()
    write_all(tmp_path / "a")
    command = "import sys, pathlib, test_figures; test_figures.write_all(pathlib.Path(sys.argv[1]))"
    tests = Path(__file__).parent
    subprocess.run(
        [sys.executable, "-c", command, tmp_path / "b"],
        env=os.environ
        | {
            "PYTHONHASHSEED": "7",
            "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent / "workflow")]),
            "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        },
        check=True,
    )
    files = sorted((tmp_path / "a").iterdir())
    assert len(files) == 2 * len(FIGURES)
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_readable(name: str, tmp_path: Path) -> None:
    assert_readable(FIGURES[name](), tmp_path / "figure.png")


# --- curves


@pytest.mark.parametrize("measure", ["loss", "accuracy"])
@pytest.mark.parametrize("epochs", [1, 50])
@of_models
def test_curves_name_every_model(
    measure: Any, epochs: int, names: list[str], tmp_path: Path
) -> None:
    figure = figures.curves({name: [history(epochs)] for name in names}, measure)
    axes = figure.axes[0]
    ends = [text for text in axes.texts if isinstance(text, Annotation)]
    assert [text.get_text().split("  ")[0] for text in ends] == names
    assert_readable(figure, tmp_path / "figure.png")
    assert all(tick == int(tick) for tick in axes.get_xticks())
    assert len(axes.lines) == 2 * len(names)
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


def test_a_layer_has_its_colour_whichever_models_are_compared() -> None:
    def colour(*names: str) -> str:
        lines = figures.curves({name: [history(3)] for name in names}, "loss").axes[0].lines
        return str(lines[2 * names.index("gru")].get_color())

    assert colour("simple_rnn", "lstm", "gru") == colour("gru") == colour("conv", "gru")


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
    assert {"lstm  0.700", "gru  0.500"} <= set(words(figure))
    assert "lines: mean of 1 to 3 seeds; bands: from the lowest to the highest" in words(figure)
    assert_readable(figure, tmp_path / "figure.png")


def test_one_seed_has_no_band_and_no_note() -> None:
    figure = figures.curves({"lstm": [history(3)], "gru": [history(3)]}, "loss")
    assert len(figure.axes[0].collections) == 0
    assert not any("seeds" in text for text in words(figure))


def test_a_loss_of_one_seed_that_is_no_number_is_not_left_out_of_the_mean() -> None:
    figure = figures.curves({"lstm": [of_values([0.5, np.nan]), of_values([0.3, 0.2])]}, "loss")
    assert "lstm  nan" in words(figure)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_loss_that_is_not_finite_leaves_a_gap(value: float, tmp_path: Path) -> None:
    figure = figures.curves({"lstm": [history(3, value)], "gru": [history(3)]}, "loss")
    assert {f"lstm  {value}", "gru  0.0300"} <= set(words(figure))
    assert_readable(figure, tmp_path / "figure.png")


def test_published_curves_go_as_far_as_the_run() -> None:
    """And are of its models only."""
    published = {name: history(50, 0.02) for name in ("lstm", "gru")}
    figure = figures.curves({"gru": [history(3)], "own": [history(5)]}, "loss", "msle", published)
    axes = figure.axes[0]
    (line,) = axes.lines[4:]
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert set(line.get_ydata()) == {0.02}
    assert line.get_color() == axes.lines[0].get_color()
    assert {"Loss (msle)", "published, validation"} <= set(words(figure))
    plain = figures.curves({"gru": [history(3)]}, "accuracy", "msle", {"lstm": history(50)})
    assert "published, validation" not in words(plain)
    assert "Accuracy" in words(plain)


def test_model_curves_mark_the_best_epoch_of_the_validation() -> None:
    seeds = [of_values([0.5, 0.1, 0.4, np.nan]), of_values([0.5, 0.3, 0.2, 0.1])]
    seeds[0]["val_accuracy"] = [0.1, 0.4, 0.4, 0.2]
    seeds[1]["val_accuracy"] = [0.1, 0.4, 0.4, 0.2]
    figure = figures.model_curves(seeds, "gru", "msle")
    lost, right = (axes.get_xlabel().splitlines()[1] for axes in figure.axes)
    assert lost == "lowest at epoch 2: 0.200"  # the mean of 0.1 and 0.3
    assert right == "highest at epoch 2: 40.0%"  # the first of equals


def test_model_curves_of_a_loss_that_never_was_a_number(tmp_path: Path) -> None:
    figure = figures.model_curves([history(1, np.nan)], "cnn_gru")
    assert figure.axes[0].get_xlabel() == "epoch"
    assert_readable(figure, tmp_path / "figure.png")


# --- matrices


@of_classes
def test_confusion_is_readable(classes: list[str], tmp_path: Path) -> None:
    n = len(classes)
    counts = counts_of(n, 12345)
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


@of_classes
@pytest.mark.parametrize("names", [NAMES[:1], [*NAMES, "W" * 20]], ids=["1", "7"])
def test_confusion_sheet_is_readable(classes: list[str], names: list[str], tmp_path: Path) -> None:
    """Class names stand left of each row of matrices, and under each matrix."""
    if len(classes) > 100:
        names = names[:2]  # the others take seconds to draw
    n = len(classes)
    figure = figures.confusion_sheet(dict.fromkeys(names, counts_of(n)), classes, "With CNN, test")
    assert len(figure.axes) == len(names)
    for place, axes in enumerate(figure.axes):
        shown = [label.get_text() for label in axes.get_yticklabels()]
        assert shown == (classes if place % 3 == 0 else [""] * n)
        assert [label.get_text() for label in axes.get_xticklabels()] == classes
    assert_readable(figure, tmp_path / "figure.png")
    if n > 2:
        assert {"With CNN, test", *names} <= set(words(figure))


def test_sheet_of_three_is_readable_at_1200_pixels() -> None:
    """Text of 7 points is 9 pixels or more high there."""
    figure = FIGURES["sheet"]()
    assert 7 / 72 * 1200 / figure.get_size_inches()[0] > 9 * 0.7


@of_classes
def test_confusion_difference_is_readable(classes: list[str], tmp_path: Path) -> None:
    n = len(classes)
    figure = figures.confusion_difference(counts_of(n), counts_of(n, 3), classes, "gru less lstm")
    assert_readable(figure, tmp_path / "figure.png")


def test_confusion_difference_by_hand() -> None:
    """Shares of rows are subtracted, whatever the number of clips."""
    one = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    other = np.array([[1, 1, 0], [0, 4, 0], [0, 0, 0]])
    figure = figures.confusion_difference(one, other, ["a", "b", "c"], "one less other")
    axes = figure.axes[0]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts[(0, 0)] == "+25" and texts[(1, 0)] == "\N{MINUS SIGN}25"
    assert (1, 1) not in texts
    (mesh,) = axes.collections
    values = mesh.get_array()
    np.testing.assert_allclose(values[:2].filled(), [[0.25, -0.25, 0], [0, 0, 0]])
    assert values.mask[2].all()  # grey
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-0.3, 0.3)


@of_classes
@of_models
def test_recall_is_readable(classes: list[str], names: list[str], tmp_path: Path) -> None:
    if len(classes) * len(names) > 1000:
        names = names[:8]
    values = np.resize([0, 0.456, 1, np.nan], (len(classes), len(names)))
    figure = figures.recall(pd.DataFrame(values, classes, names), [12345] * len(classes))
    assert_readable(figure, tmp_path / "figure.png")
    numbers = [text for text in words(figure) if text in {"0", "46", "100", "nan"}]
    assert len(numbers) == np.isfinite(values).sum()
    assert f"{classes[0]} (12345)" in words(figure)


@pytest.mark.parametrize("colour_map", ["Blues", "PuOr_r"])
def test_text_in_cells_has_contrast(colour_map: str) -> None:
    """4.5 to 1 or more, as WCAG asks for."""
    counts = np.array([[100 - n, n] for n in range(0, 101, 10)])
    square = np.hstack([counts, np.zeros((11, 9), int)])
    names = [str(n) for n in range(11)]
    if colour_map == "Blues":
        figure = figures.confusion(square, names, "title")
    else:
        figure = figures.confusion_difference(square, square[::-1], names, "title")
    axes = figure.axes[0]
    (mesh,) = axes.collections
    colours = mesh.to_rgba(mesh.get_array().reshape(11, 11))
    for text in axes.texts:
        if text.get_transform() != axes.transData:
            continue  # the heading
        column, row = text.get_position()
        parts = colours[row, column, :3]
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        ink = 1.0 if text.get_color() == "white" else 0.0
        light, dark = max(ink, luminance), min(ink, luminance)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


# --- points


@of_models
def test_ranking_is_readable(names: list[str], tmp_path: Path) -> None:
    figure = figures.ranking(scores_of(names), BASELINES, "Accuracy on the 44 test clips")
    assert_readable(figure, tmp_path / "figure.png")
    shown = words(figure)
    assert set(names) <= set(shown)
    assert "Accuracy on the 44 test clips" in shown


def test_ranking_puts_the_best_first() -> None:
    scores = scores_of(["a", "b", "c"]).assign(accuracy=[0.5, np.nan, 0.75], low=[0.4, np.nan, 0.7])
    figure = figures.ranking(scores, BASELINES.head(1), "Accuracy")
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["c", "a", "b", "always the most frequent class"]
    assert {"75.0%", "70% to 65%", "?"} <= set(words(figure))


def test_ranking_without_controls_explains_none(tmp_path: Path) -> None:
    scores = scores_of(NAMES).assign(shuffled=np.nan, first_frame=np.nan)
    figure = figures.ranking(scores, BASELINES.head(0), "Accuracy")
    assert not {"same model, frames shuffled", "baseline: no network"} & set(words(figure))
    assert_readable(figure, tmp_path / "figure.png")


@of_models
def test_significance_is_readable(names: list[str], tmp_path: Path) -> None:
    """One model has no pairs; of 780 pairs 60 are shown, and it says so."""
    pairs = pairs_of(names)
    figure = figures.significance(pairs)
    assert_readable(figure, tmp_path / "figure.png")
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(rows) == min(len(pairs), 60)
    assert any("60 smallest" in text for text in words(figure)) == (len(pairs) > 60)


def test_significance_turns_pairs_to_the_better_model() -> None:
    table = pairs_of(["a", "b", "c"]).assign(
        difference=[-0.25, 0.1, 0], low=[-0.5, -0.05, -0.1], high=[-0.125, 0.2, 0.2]
    )
    figure = figures.significance(table)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["b \N{MINUS SIGN} a", "a \N{MINUS SIGN} c", "b \N{MINUS SIGN} c"]
    clear = figure.axes[0].collections[0]
    np.testing.assert_allclose(clear.get_segments()[0], [[0.125, 0], [0.5, 0]])
    assert {"+25.0", "+10.0", "0.0", "p < 0.001", "p = 0.500"} <= set(words(figure))


def test_significance_of_models_that_share_no_seed(tmp_path: Path) -> None:
    figure = figures.significance(pairs_of(["a", "b"]).assign(p_holm=np.nan, clear=False))
    assert "p = ?" in words(figure)
    assert_readable(figure, tmp_path / "figure.png")


@of_models
def test_cost_names_points_apart_from_all_points(names: list[str], tmp_path: Path) -> None:
    table = scores_of(names)
    figure = figures.cost(table, "parameters")
    assert_readable(figure, tmp_path / "figure.png")
    axes = figure.axes[0]
    labels = [text for text in axes.texts if text.get_text() in names]
    assert len(labels) == len(names)
    points = axes.transData.transform(table[["x", "accuracy"]])
    for label in labels:
        assert not any(Text.get_window_extent(label).contains(*point) for point in points)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([402028, 4846860], ["500k", "1M", "2M", "5M"]),
        ([0.035, 0.113], ["0.05", "0.1"]),
        ([7, 7], ["5", "10"]),
        ([1, 1e9], ["1", "100", "10k", "1M", "100M"]),
    ],
)
def test_cost_has_plain_ticks(values: list[float], ticks: list[str]) -> None:
    table = scores_of(["gru", "lstm"]).assign(x=values)
    shown = words(figures.cost(table, "cost"))
    found = [text for text in shown if text[0].isdigit() and "%" not in text]
    assert found == ticks


def test_cost_says_what_is_unknown(tmp_path: Path) -> None:
    table = scores_of(["gru", "lstm", "rnn"]).assign(x=[np.nan, 0, 3])
    figure = figures.cost(table, "FLOPs")
    assert figure.axes[0].get_xlabel() == "FLOPs\nunknown: gru, lstm"
    assert_readable(figure, tmp_path / "figure.png")
    assert_readable(figures.cost(table.assign(x=np.nan), "FLOPs"), tmp_path / "none.png")


@of_models
def test_reliability_has_a_panel_for_each_model(names: list[str], tmp_path: Path) -> None:
    figure = figures.reliability(bins_of(names), dict.fromkeys(names, 0.1234))
    assert_readable(figure, tmp_path / "figure.png")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.replace("\n", "") for title in titles] == [f"{name}ECE 0.123" for name in names]
    (points,) = figure.axes[0].collections
    assert len(points.get_offsets()) == 2  # a bin without clips has none
    assert points.get_sizes()[1] > points.get_sizes()[0]


# --- strips


@pytest.mark.parametrize("count", [1, 12, 101])
def test_examples_are_readable(count: int, tmp_path: Path) -> None:
    clips = [strip_of(n, f"{'W' * 90} $x$ {n}\nclass/{n}.mp4") for n in range(count)]
    figure = figures.examples(clips)
    assert_readable(figure, tmp_path / "figure.png")
    assert len(figure.images) == 5 * count


@pytest.mark.parametrize("frames", [1, 4, 10])
def test_errors_show_every_frame(frames: int, tmp_path: Path) -> None:
    figure = figures.errors([strip_of(20, "a, taken for b (98%)", frames)] * 3, "W" * 200)
    assert_readable(figure, tmp_path / "figure.png")
    assert len(figure.images) == 3 * frames
    rows = {image.oy for image in figure.images}
    assert len(rows) == 3 * (1 + (frames > 5))
    assert min(rows) >= 0


def test_examples_show_first_and_last_frame() -> None:
    frames = np.arange(10, dtype=np.uint8).repeat(12 * 16 * 3).reshape(10, 12, 16, 3)
    figure = figures.examples([figures.Strip(frames + 200, "a")])
    shades = [int(image.get_array()[0, 0, 0]) for image in figure.images]
    assert shades == sorted(set(shades)) and shades[-1] == 255
    assert len(figures.examples([strip_of(3, "a", frames=2)]).images) == 2


def test_brighten_by_hand() -> None:
    """The 99th percentile becomes white, what is brighter stays white, nothing is darkened."""
    dark = np.full((1, 10, 10, 3), 51, np.uint8)
    dark[0, 0, 0, 0] = 255
    bright, factor = brighten(dark)
    assert factor == 5
    assert (bright == 255).all()
    white = np.full((1, 10, 10, 3), 255, np.uint8)
    assert brighten(white)[1] == 1
    black, factor = brighten(np.zeros((1, 10, 10, 3), np.uint8))
    assert (black == 0).all() and factor == 255


def test_thumbnail_keeps_the_shape() -> None:
    assert thumbnail(np.zeros((240, 320, 3), np.uint8), 160).shape == (120, 160, 3)
    assert thumbnail(np.zeros((48, 64, 3), np.uint8), 160).shape == (96, 128, 3)
    assert thumbnail(np.zeros((1, 1000, 3), np.uint8), 160).shape == (1, 160, 3)


@pytest.mark.parametrize(("count", "across"), [(0, 0), (1, 1), (4, 4), (8, 2)])
def test_contact_sheets_are_readable(count: int, across: int, tmp_path: Path) -> None:
    figure = figures.contact_sheet(rows_of(count, across), "Nothing" * 30, "Denoised.")
    assert_readable(figure, tmp_path / "figure.png")
    assert len(figure.images) == 5 * count * across
    if across == 2:  # the pictures of a row are on one level, however long the captions
        assert len({image.oy for image in figure.images}) == count


def test_denoise_takes_out_single_pixels_only() -> None:
    frames = np.zeros((2, 9, 9, 3), np.uint8)
    frames[0, 4, 4] = 255
    frames[1, 2:7, 2:7] = 200
    clean = denoise(frames)
    assert clean.dtype == np.uint8
    assert (clean[0] == 0).all()
    assert (clean[1, 3:6, 3:6] == 200).all()
    assert frames[0, 4, 4, 0] == 255


# --- the data


@of_classes
def test_figures_of_classes_are_readable(classes: list[str], tmp_path: Path) -> None:
    spread = spread_of(classes)
    for figure in (
        figures.clips_by_split(classes_of(classes)),
        figures.recordings(classes_of(classes)),
        figures.spreads({"grey level": spread, "noise": spread}, "Light"),
        figures.sources(sources_of(classes)),
    ):
        assert_readable(figure, tmp_path / "figure.png")
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert [label.rsplit(" (", 1)[0] for label in labels] == classes


def test_clips_by_split_by_hand() -> None:
    table = pd.DataFrame({"train": [3, 5], "val": [1, 0], "test": [0, 1]}, index=["a", "b"])
    figure = figures.clips_by_split(table)
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]
    assert bars == [(0, 3), (0, 5), (3, 1), (5, 0), (4, 0), (5, 1)]
    assert {"4 (40.0%)", "6 (60.0%)", "train", "val", "test"} <= set(words(figure))
    assert "test" not in words(figures.clips_by_split(table.assign(test=0)))


def test_recordings_by_hand() -> None:
    table = pd.DataFrame({"clips": [9], "groups": [4], "largest_group": [3]}, index=["a"])
    figure = figures.recordings(table)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [9, 4]
    assert "4 (largest: 3)" in words(figure)


def test_spreads_by_hand() -> None:
    figure = figures.spreads({"seconds": spread_of(["a", "b"])}, "Lengths")
    axes = figure.axes[0]
    whole, half = (
        [line.vertices[:, 0].tolist() for line in each.get_paths()] for each in axes.collections
    )
    assert (whole[0], half[0]) == ([1, 250], [2, 4])
    assert axes.lines[0].get_xdata()[0] == 3
    assert {"a", "b", "seconds", "median"} <= set(words(figure))


@pytest.mark.parametrize("count", [1, 9])
def test_formats_are_readable(count: int, tmp_path: Path) -> None:
    sizes = pd.Series({f"{n} x 240": 10 ** (n % 6) for n in range(count)})
    figure = figures.formats({"frame size": sizes, "frame rate": pd.Series({"25 fps": 1})})
    assert_readable(figure, tmp_path / "figure.png")
    assert "25 fps" in words(figure)


def test_sources_by_hand() -> None:
    table = pd.DataFrame([[3, 1], [0, 1]], ["a", "b"], ["one", "other"])
    shown = words(figures.sources(table))
    assert {"75", "25", "100", "a (4)", "b (1)", "one", "other"} <= set(shown)
    assert "<1" in words(figures.sources(sources_of(["a", "b"])))


# --- rules


@pytest.mark.parametrize("count", [1, 6, 20])
def test_rule_graph_is_readable(count: int, tmp_path: Path) -> None:
    edges = edges_of([f"cnn_simple_rnn_seed_{n}" for n in range(count)])
    figure = figures.rule_graph(edges, {"evaluate": count, "split": 1})
    assert_readable(figure, tmp_path / "figure.png")
    shown = words(figure)
    assert {"acquire", "split", "compare"} <= set(shown)
    assert any(text.startswith("evaluate") for text in shown)


def test_rule_graph_draws_no_arrow_over_a_box(tmp_path: Path) -> None:
    """Long arrows keep out of the columns that they pass."""
    figure = figures.rule_graph([list(edge) for edge in edges_of(NAMES)])  # as JSON has them
    figures.save(figure, tmp_path / "figure.png")
    axes = figure.axes[0]
    boxes = [patch for patch in axes.patches if hasattr(patch, "get_boxstyle")]
    arrows = [patch for patch in axes.patches if not hasattr(patch, "get_boxstyle")]
    graph = nx.transitive_reduction(nx.DiGraph(edges_of(NAMES)))
    assert (len(boxes), len(arrows)) == (len(graph), len(graph.edges))
    for arrow in arrows:
        line = arrow._path_original.interpolated(1).to_polygons(closed_only=False)[0][1:-1]
        for box in boxes:
            room = box.get_bbox().padded(-0.01)
            assert not any(room.contains(*point) for point in line)
