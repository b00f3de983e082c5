"""Confusion matrices, and the recall of each class."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from noctact.figures.canvas import arrange, canvas, fit, heading, styled, weight
from noctact.readable import signed

MOST_CLASSES_WITH_PERCENT = 24  # beyond that the cells are small and hold the count only
MOST_LARGE_ROWS = 60  # beyond that the rows of the sources are lower
ACROSS = 3  # matrices in a row of a sheet
SHARE: dict[str, Any] = {"cmap": "Blues", "vmin": 0, "vmax": 1}


@styled
def confusion(counts: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """Confusion matrix: colour is the share of the true class's clips, text the count and share.

    `counts` is (n, n): clips of true class i (row) predicted as class j (column), both in the
    order of `classes`. Cells without clips hold no text; the row of a class without clips is grey.
    The figure is as large as the labels need, for two classes as for a hundred.
    """
    n = len(classes)
    share = _shares(counts)
    with_percent = n <= MOST_CLASSES_WITH_PERCENT
    texts = {
        (row, column): f"{counts[row, column]}"
        + (f"\n{share[row, column]:.0%}" if with_percent else "")
        for row, column in _places(counts > 0)
    }
    # Inches: room for the longest count, and no matrix so small that its title dwarfs it.
    cell = max(0.5 if with_percent else 0.25, 0.065 * len(str(counts.max())), 2.4 / n)
    scale = _scale(n * cell)
    figure, (axes,) = canvas(n * cell, n * cell)
    mesh = _cells(axes, share, texts, SHARE)
    clips = counts.sum(axis=1)
    _name_classes(axes, [f"{name} ({k})" for name, k in zip(classes, clips, strict=True)], classes)
    axes.set_xlabel("predicted class", size=9 * scale)
    axes.set_ylabel("true class (clips)", size=9 * scale)
    axes.set_title(title, size=11 * scale, pad=8 * scale)
    _colour_bar(axes, mesh, "share of the true class", scale)
    fit(figure)
    return figure


@styled
def confusion_sheet(
    counts: Mapping[str, NDArray[np.int64]], classes: Sequence[str], title: str
) -> Figure:
    """Confusion matrices of several models beside each other, three in a row.

    `counts` maps a model's name to its (n, n) counts, as in `confusion`. Colour is the share of
    the true class's clips; so is the text, in percent, up to 24 classes.
    """
    n = len(classes)
    with_percent = n <= MOST_CLASSES_WITH_PERCENT
    side = max(n * (0.27 if with_percent else 0.16), 1.8)
    scale = _scale(side)
    figure, panels = canvas(side, side, panels=len(counts))
    for place, (axes, (name, matrix)) in enumerate(zip(panels, counts.items(), strict=True)):
        share = _shares(matrix)
        texts = {
            (row, column): f"{100 * share[row, column]:.0f}" for row, column in _places(matrix > 0)
        }
        mesh = _cells(axes, share, texts if with_percent else {}, SHARE)
        _name_classes(axes, classes if place % ACROSS == 0 else [""] * n, classes)
        axes.set_xlabel("predicted class", size=9 * scale)
        axes.set_title(name, size=10 * scale, weight=weight(name))
        if place % ACROSS == 0:
            axes.set_ylabel("true class", size=9 * scale)
    _colour_bar(panels[:ACROSS][-1], mesh, "share of the true class", scale)
    arrange(figure, ACROSS)
    heading(panels[0], title, scale=scale)
    fit(figure)
    return figure


@styled
def confusion_difference(
    counts: NDArray[np.int64], other: NDArray[np.int64], classes: Sequence[str], title: str
) -> Figure:
    """The confusion matrix of one model less that of another, in percentage points.

    `counts` and `other` are (n, n), as in `confusion`; what is subtracted is the share of the true
    class's clips. Cells without a difference hold no text; the row of a class without clips is
    grey. The colours reach to the largest difference.
    """
    n = len(classes)
    difference = _shares(counts) - _shares(other)
    texts = {
        (row, column): signed(difference[row, column], 0)
        for row, column in _places(abs(difference) > 0.005)
    }
    largest = max(0.1, math.ceil(10 * np.nanmax(abs(difference), initial=0)) / 10)
    cell = max(0.36, 2.4 / n)
    scale = _scale(n * cell)
    figure, (axes,) = canvas(n * cell, n * cell)
    colours = {"cmap": "PuOr_r", "vmin": -largest, "vmax": largest}
    mesh = _cells(axes, difference, texts, colours)
    for k in range(n):
        axes.add_patch(Rectangle((k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="0.4"))
    _name_classes(axes, classes, classes)
    axes.set_xlabel("predicted class", size=9 * scale)
    axes.set_ylabel("true class", size=9 * scale)
    heading(
        axes, title, "framed: + is better; other cells: + is an error made more often", scale=scale
    )
    _colour_bar(axes, mesh, "percentage points of the true class", scale)
    fit(figure)
    return figure


@styled
def recall(table: pd.DataFrame, clips: Sequence[int]) -> Figure:
    """The recall of each class (row of `table`) by each model (column), in percent.

    The values of `table` are in 0..1, or NaN, which is grey; `clips` is the number of clips of each
    class.
    """
    values = table.to_numpy(float)
    rows, columns = values.shape
    texts = {
        (row, column): f"{100 * values[row, column]:.0f}" for row, column in _places(values >= 0)
    }
    figure, (axes,) = canvas(0.5 * columns, 0.25 * rows)
    _cells(axes, values, texts, SHARE)
    names = [str(name) for name in table.columns]
    _name_classes(
        axes, [f"{name} ({k})" for name, k in zip(table.index, clips, strict=True)], names
    )
    for label, name in zip(axes.get_xticklabels(), names, strict=True):
        label.set_fontweight(weight(name))
    heading(axes, "Recall of each class", "% of its clips (their number) that were recognised")
    fit(figure)
    return figure


@styled
def sources(table: pd.DataFrame) -> Figure:
    """The number of clips of each class (row of `table`) by each source (column).

    Colour is the share of the class's clips, text the same in percent; cells without clips hold no
    text. Every class has clips.
    """
    counts = table.to_numpy(np.int64)
    share = _shares(counts)
    texts = {
        place: "<1" if share[place] < 0.005 else f"{100 * share[place]:.0f}"
        for place in _places(counts > 0)
    }
    many = len(counts) > MOST_LARGE_ROWS
    figure, (axes,) = canvas(0.5 * counts.shape[1], (0.15 if many else 0.25) * len(counts))
    _cells(axes, share, texts, SHARE)
    rows = [f"{name} ({k:,})" for name, k in zip(table.index, counts.sum(axis=1), strict=True)]
    _name_classes(axes, rows, [str(name) for name in table.columns])
    if many:
        axes.xaxis.tick_top()  # the other end is far away
        axes.tick_params(axis="y", labelsize=7)
    heading(axes, "How the files of each class were made", "% of its clips (their number)")
    fit(figure)
    return figure


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each row of (n, n) by its sum; NaN in a row of zeros."""
    clips = counts.sum(axis=1, keepdims=True)
    shares = np.full(counts.shape, np.nan)
    np.divide(counts, clips, out=shares, where=clips > 0)
    return shares


def _places(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Give row and column of the cells that are true."""
    return [(int(row), int(column)) for row, column in np.argwhere(chosen)]


def _scale(side: float) -> float:
    """Give the scale of headings: a matrix of more than 7 inches is looked at from afar."""
    return max(1.0, side / 7)


def _cells(
    axes: Axes,
    values: NDArray[np.float64],
    texts: Mapping[tuple[int, int], str],
    colours: dict[str, Any],
) -> QuadMesh:
    """Draw `values` (rows, columns) as coloured cells, NaN grey, with `texts` by (row, column)."""
    rows, columns = values.shape
    axes.set_facecolor("0.85")
    mesh = axes.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        values,
        edgecolors="white",
        linewidth=0.5,
        **colours,
    )
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    dark = _dark(mesh.to_rgba(values))
    for (row, column), text in texts.items():
        colour = "white" if dark[row, column] else "black"
        axes.text(column, row, text, color=colour, ha="center", va="center_baseline", size=7)
    return mesh


def _dark(rgba: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which colours (..., 4), in 0..1, need white text, by the contrast of WCAG 2.2.

    There a colour's luminance is a weighted sum of its linear parts; white text has the higher
    contrast, 1.05 / (luminance + 0.05), on one below 0.179.
    """
    parts = rgba[..., :3]
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    dark: NDArray[np.bool_] = linear @ (0.2126, 0.7152, 0.0722) < 0.179
    return dark


def _name_classes(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Name rows and columns, these upright if one is wider than its column."""
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    if _widest(axes.get_xticklabels()) > 0.9 * axes.bbox.width / len(columns):
        axes.tick_params(axis="x", labelrotation=90)


def _widest(labels: Sequence[Text]) -> float:
    """Give the width in pixels of the widest of `labels`, which belong to a figure."""
    return max(label.get_window_extent().width for label in labels)


def _colour_bar(axes: Axes, mesh: QuadMesh, label: str, scale: float) -> None:
    """Explain the colours, which are in 0..1 or -1..1, right of the axes."""
    width, height = axes.bbox.width / axes.figure.dpi, axes.bbox.height / axes.figure.dpi
    bar = axes.inset_axes(
        (1 + 0.15 * scale / width, 0, 0.15 * scale / width, min(1, 3 * scale / height))
    )
    ticks = (
        PercentFormatter(1)
        if mesh.norm.vmin == 0
        else FuncFormatter(lambda value, _: signed(value, 0))
    )
    axes.figure.colorbar(mesh, cax=bar, format=ticks)
    bar.set_ylabel(label, size=9 * scale)
    bar.tick_params(labelsize=9 * scale)
