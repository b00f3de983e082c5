"""Figures of the comparison: plain functions of data frames and arrays that return a Figure.

No pyplot: a bare `Figure` on an Agg canvas holds no global state and needs no display.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

# On top of matplotlib's defaults, so that a user's own matplotlibrc changes nothing here.
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.dpi": "figure",
    "text.hinting": "none",  # a text is as wide in the file, at any resolution, as when measured
    "text.parse_math": False,  # a "$" in a class name is a dollar sign
    "svg.hashsalt": "noctact",  # element ids that do not change from run to run
}
_styled = style.context(STYLE, after_reset=True)

# Okabe and Ito's colour-blind safe colours, less the two that are too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
TRAINING: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "markerfacecolor": "white", "alpha": 0.65}
VALIDATION: dict[str, Any] = {"linestyle": "-"}
WITH_CNN: dict[str, Any] = {"linewidth": 2.0, "marker": "o", "markersize": 5.5}
WITHOUT_CNN: dict[str, Any] = {"linewidth": 1.0, "marker": "s", "markersize": 4}
BAND: dict[str, Any] = {"alpha": 0.15, "linewidth": 0}

MARGIN = 0.12  # inches between what is drawn and the edge of the figure
MOST_CLASSES_WITH_PERCENT = 24  # beyond that the cells are small and hold the count only


@_styled
def save(figure: Figure, path: Path) -> None:
    """Write `figure` to `path` (.png or .svg): the same figure gives the same bytes.

    Dates and version numbers of the software are left out of the file.
    """
    nameless = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    figure.savefig(path, metadata=nameless[path.suffix])


@_styled
def curves(
    histories: Mapping[str, Sequence[pd.DataFrame]], measure: Literal["loss", "accuracy"]
) -> Figure:
    """Training and validation curves of all models over the epochs, on one chart.

    `histories` maps a model's name to the history of each seed: the columns `epoch` (from 1),
    `measure` and `val_<measure>`, one row an epoch; a value that is not finite leaves a gap. With
    several seeds a curve is the mean of those that reached the epoch, in a band from the lowest to
    the highest for validation. Colour tells the recurrent layer; weight and marker tell whether the
    name starts with `cnn_`.
    """
    figure, axes = _canvas(6.6, max(4.2, 0.2 * len(histories)))
    layers = list(dict.fromkeys(name.removeprefix("cnn_") for name in histories))
    colours = {
        name: COLOURS[layers.index(name.removeprefix("cnn_")) % len(COLOURS)] for name in histories
    }
    validation = {name: _over_seeds(seeds, f"val_{measure}") for name, seeds in histories.items()}
    for name, seeds in histories.items():
        spread = validation[name]
        _curve(axes, _over_seeds(seeds, measure)["mean"], name, colours[name], TRAINING)
        _curve(axes, spread["mean"], name, colours[name], VALIDATION)
        if len(seeds) > 1:
            axes.fill_between(
                spread.index, spread["min"], spread["max"], color=colours[name], **BAND
            )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, max(spread.index[-1] for spread in validation.values()) + 0.5)
    axes.set_ylim(0, 1 if measure == "accuracy" else None)
    axes.grid(axis="y", color="0.9")
    axes.set_title(measure.capitalize(), pad=40)
    _explain_styles(axes)
    _explain_seeds(axes, {len(seeds) for seeds in histories.values()})
    ends = {
        name: (spread.index[-1], spread["mean"].iloc[-1]) for name, spread in validation.items()
    }
    _name_ends(axes, ends, colours)
    _fit(figure, axes)
    return figure


@_styled
def confusion(counts: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """Confusion matrix: colour is the share of the true class's clips, text the count and share.

    `counts` is (n, n): clips of true class i (row) predicted as class j (column), both in the
    order of `classes`. Cells without clips hold no text; the row of a class without clips is grey.
    The figure is as large as the labels need, for two classes as for a hundred.
    """
    n = len(classes)
    clips = counts.sum(axis=1)
    share = np.divide(
        counts, clips[:, None], out=np.full(counts.shape, np.nan), where=clips[:, None] > 0
    )
    with_percent = n <= MOST_CLASSES_WITH_PERCENT
    # Inches: room for the longest count, and no matrix so small that its title dwarfs it.
    cell = max(0.5 if with_percent else 0.25, 0.065 * len(str(counts.max())), 2.4 / n)
    side = n * cell
    scale = max(1.0, side / 7)  # a large matrix is looked at from afar: its headings grow with it
    figure, axes = _canvas(side, side)
    edges = np.arange(n + 1) - 0.5
    axes.set_facecolor("0.85")
    mesh = axes.pcolormesh(
        edges, edges, share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.5
    )
    axes.invert_yaxis()
    for row, column in np.argwhere(counts):
        text = f"{counts[row, column]}"
        if with_percent:
            text += f"\n{share[row, column]:.0%}"
        colour = "white" if share[row, column] > 0.55 else "black"
        axes.text(column, row, text, color=colour, ha="center", va="center_baseline", size=7)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks(range(n), [f"{name} ({k})" for name, k in zip(classes, clips, strict=True)])
    axes.set_xticks(range(n), classes)
    if _widest(axes.get_xticklabels()) > 0.9 * cell:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_xlabel("predicted class", size=9 * scale)
    axes.set_ylabel("true class (clips)", size=9 * scale)
    axes.set_title(title, size=11 * scale, pad=8 * scale)
    bar = axes.inset_axes(
        (1 + 0.15 * scale / side, 0, 0.15 * scale / side, min(1, 3 * scale / side))
    )
    figure.colorbar(mesh, cax=bar, format=PercentFormatter(1))
    bar.set_ylabel("share of the true class", size=9 * scale)
    bar.tick_params(labelsize=9 * scale)
    _fit(figure, axes)
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Give a figure filled by one pair of axes of `width` by `height` inches; see `_fit`."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)  # keeps its renderer, so that measuring a hundred labels is quick
    return figure, figure.add_axes((0, 0, 1, 1))


def _fit(figure: Figure, axes: Axes) -> None:
    """Grow the figure to hold every label; the axes of `_canvas` keep their size in inches.

    Automatic layouts do the opposite: they shrink the axes until nothing is readable, or cut.
    """
    width, height = figure.get_size_inches()
    bounds = figure.get_tightbbox().padded(MARGIN)
    figure.set_size_inches(bounds.width, bounds.height)
    axes.set_position(
        (
            -bounds.x0 / bounds.width,
            -bounds.y0 / bounds.height,
            width / bounds.width,
            height / bounds.height,
        )
    )


def _widest(labels: Sequence[Text]) -> float:
    """Give the width in inches of the widest of `labels`, which belong to a figure."""
    return max(label.get_window_extent().width for label in labels) / labels[0].figure.dpi


def _over_seeds(histories: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    """Give `mean`, `min` and `max` of `column` over the histories that reached an epoch (index)."""
    values = pd.concat(histories).groupby("epoch")[column]
    # One that is not a number must not vanish among its neighbours.
    return pd.DataFrame(
        {
            "mean": values.mean(skipna=False),
            "min": values.min(skipna=False),
            "max": values.max(skipna=False),
        }
    )


def _curve(axes: Axes, values: pd.Series, name: str, colour: str, part: dict[str, Any]) -> None:
    """Draw one curve over its index, the epochs.

    With a marker at the first epoch and some more: one epoch is seen too.
    """
    kind = WITH_CNN if name.startswith("cnn_") else WITHOUT_CNN
    step = max(1, len(values) // 8)
    axes.plot(values.index, values, color=colour, markevery=step, clip_on=False, **kind, **part)


def _explain_styles(axes: Axes) -> None:
    """Tell above the axes what the line styles mean; the colours are named at the curves' ends."""
    kinds = {"with CNN": WITH_CNN, "without CNN": WITHOUT_CNN}
    parts = {"validation": VALIDATION, "training": TRAINING}
    lines = [
        Line2D([], [], color="0.3", label=f"{part}, {kind}", **parts[part], **kinds[kind])
        for kind in kinds
        for part in parts
    ]
    axes.legend(
        handles=lines,
        ncols=2,
        handlelength=4,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0,
    )


def _explain_seeds(axes: Axes, numbers: set[int]) -> None:
    """Tell right above the axes what curve and band are, where a model has more than one seed."""
    if max(numbers) > 1:
        count = " to ".join(str(number) for number in sorted({min(numbers), max(numbers)}))
        axes.set_title(
            f"mean of {count} seeds, band from lowest to highest",
            loc="right",
            pad=40,
            size=8,
            weight="normal",
            color="0.3",
        )


def _name_ends(
    axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str]
) -> None:
    """Write each curve's name and last value right of its end, apart from its neighbours.

    `ends` maps a name to (epoch, value); the limits of the axes must be final.
    """
    axes.text(1.05, 1.06, "validation, last epoch", transform=axes.transAxes, size=7, color="0.3")
    low, high = axes.get_ylim()
    heights = {name: (y if np.isfinite(y) else low) for name, (_, y) in ends.items()}
    wanted = (np.array(list(heights.values())) - low) / (high - low)
    line = 12 / 72 / axes.bbox.transformed(axes.figure.dpi_scale_trans.inverted()).height
    for name, place in zip(ends, _apart(wanted, line), strict=True):
        axes.annotate(
            f"{name}  {ends[name][1]:#.3g}",
            (ends[name][0], heights[name]),
            (1.05, place),
            textcoords=axes.transAxes,
            va="center",
            color=colours[name],
            weight="bold" if name.startswith("cnn_") else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": colours[name],
                "linewidth": 0.5,
                "relpos": (0, 0.5),  # to the left edge of the name, never across another one
            },
        )


def _apart(wanted: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Move the n numbers of `wanted`, in 0..1, to be `gap` or more apart; the order stays."""
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(order))
    # Less its rank's share of gaps, a number only has to be no smaller than the one before it.
    places = np.maximum.accumulate(wanted[order] - steps) + steps
    highest = 1 - steps[::-1]
    apart = np.empty(len(order))
    apart[order] = np.minimum(places, highest)
    return apart
