"""What all figures share: the style, the look of a model, a canvas that fits what is drawn."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import BboxBase
from numpy.typing import NDArray

from noctact.atomic import replacing

SUFFIXES = (".png", ".svg")

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
styled = style.context(STYLE, after_reset=True)

# Okabe and Ito's colour-blind safe colours, less the two that are too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
LAYERS = ("simple_rnn", "lstm", "gru")  # always in the first colours, whichever are compared
WITH_CNN: dict[str, Any] = {"linewidth": 2.0, "marker": "o", "markersize": 5.5}
WITHOUT_CNN: dict[str, Any] = {"linewidth": 1.0, "marker": "s", "markersize": 4}

GREY = "0.35"  # of what is said beside the data; dark enough to read
MARGIN = 0.12  # inches between what is drawn and the edge of the figure


def has_cnn(name: str) -> bool:
    """Whether a model has a CNN before its recurrent layer, by its name."""
    return name.startswith("cnn_")


def kind(name: str) -> dict[str, Any]:
    """Give weight and marker of a model: they tell whether it has a CNN."""
    return WITH_CNN if has_cnn(name) else WITHOUT_CNN


def weight(name: str) -> str:
    """Give the font weight of a model's name."""
    return "bold" if has_cnn(name) else "normal"


def colours(names: Iterable[str]) -> dict[str, str]:
    """Give the colour of each model: it tells the recurrent layer, with or without a CNN."""
    layers = {name: name.removeprefix("cnn_") for name in names}
    order = list(dict.fromkeys([*LAYERS, *layers.values()]))
    return {name: COLOURS[order.index(layer) % len(COLOURS)] for name, layer in layers.items()}


@styled
def save(figure: Figure, path: Path) -> None:
    """Write `figure` to `path` (.png or .svg): the same figure gives the same bytes.

    Dates and version numbers of the software are left out of the file.
    """
    nameless = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    figure.savefig(path, metadata=nameless[path.suffix])


def write(figure: Figure, file: Path) -> list[Path]:
    """Save `figure` as <file>.png and .svg, each whole or not at all; the two files."""
    files = [file.with_name(f"{file.name}{suffix}") for suffix in SUFFIXES]
    for each in files:
        with replacing(each) as partial:
            save(figure, partial)
    return files


def canvas(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Give a figure and its axes, all of `width` by `height` inches and at the same place.

    What follows is to draw, to `arrange` the panels if there are several, and to `fit`.
    """
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)  # keeps its renderer, so that measuring a hundred labels is quick
    return figure, [figure.add_axes((0, 0, 1, 1)) for _ in range(panels)]


def arrange(figure: Figure, columns: int, gap: float = 0.2) -> None:
    """Lay out the panels of `canvas` row by row, `gap` inches between what is drawn around them."""
    size = figure.get_size_inches()
    # What labels and titles take up left of, below, right of and above each panel.
    boxes = np.array([extents(axes.get_tightbbox() or axes.bbox, figure) for axes in figure.axes])
    left, below, right, above = ((boxes - (0, 0, *size)) * (-1, -1, 1, 1)).T.clip(min=0)
    column = np.arange(len(boxes)) % columns
    across = size[0] + gap + left[column > 0].max(initial=0)
    across += right[column < columns - 1].max(initial=0)
    down = size[1] + gap + below.max() + above.max()
    for n, axes in enumerate(figure.axes):
        axes.set_position((column[n] * across / size[0], -(n // columns) * down / size[1], 1, 1))


def fit(figure: Figure) -> None:
    """Grow the figure to hold every label; the axes keep their size in inches.

    Automatic layouts do the opposite: they shrink the axes until nothing is readable, or cut.
    """
    size = figure.get_size_inches()
    bounds = figure.get_tightbbox().padded(MARGIN)
    figure.set_size_inches(bounds.width, bounds.height)
    for axes in figure.axes:
        low, high = axes.get_position().get_points() * size
        axes.set_position((*(low - bounds.min) / bounds.size, *(high - low) / bounds.size))


def extents(box: BboxBase, figure: Figure) -> NDArray[np.float64]:
    """Give left, bottom, right and top in inches of a box in pixels."""
    return np.array(box.transformed(figure.dpi_scale_trans.inverted()).extents)


def heading(
    axes: Axes,
    title: str,
    text: str = "",
    legend: Sequence[Artist] = (),
    columns: int = 2,
    scale: float = 1,
) -> None:
    """Write above all that is drawn, from the left of `axes`: title, explanation, legend.

    `scale` enlarges title and explanation. Panels must be arranged, and `axes` in the top row.
    """
    inch = axes.figure.dpi
    top = max((panel.get_tightbbox() or panel.bbox).y1 for panel in axes.figure.axes)
    height = axes.bbox.height / inch
    room = max(top - axes.bbox.y1, 4) / inch + 0.03
    if legend:
        box = axes.legend(
            handles=legend,
            ncols=columns,
            handlelength=3,
            loc="lower left",
            bbox_to_anchor=(0, 1 + room / height),
            borderaxespad=0,
            borderpad=0,
        )
        room += box.get_window_extent().height / inch + 0.06
    room += 0.05 * scale
    place = {"transform": axes.transAxes, "va": "bottom"}
    small: dict[str, Any] = place | {"size": 8 * scale, "color": GREY}
    large: dict[str, Any] = place | {"size": 11 * scale, "weight": "bold"}
    for lines, looks in ((text, small), (title, large)):
        if lines:
            label = axes.text(0, 1 + room / height, lines, **looks)
            room += label.get_window_extent().height / inch + 0.02


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a table, each by column name."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
