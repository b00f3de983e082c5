"""What the data are like: bars and spreads, a line a class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from noctact.figures.canvas import COLOURS, GREY, arrange, canvas, fit, heading, styled

ROW = 0.24  # inches
SMALL_ROW = 0.15
MANY = 60  # lines; where there are more, they are smaller
WIDTH = 4.2  # inches
PANEL = 3.2  # of two beside each other
BAR = 0.7  # of a line
PARTS = {"train": COLOURS[0], "val": COLOURS[4], "test": COLOURS[1]}
PALE = "0.8"


@styled
def clips_by_split(table: pd.DataFrame) -> Figure:
    """Bars of the clips of each class, one piece for each part of the split.

    The index of `table` are the classes, its columns train, val and test, numbers of clips.
    """
    figure, (axes,) = canvas(WIDTH, _height(len(table)))
    left = np.zeros(len(table))
    for part, colour in PARTS.items():
        axes.barh(range(len(table)), table[part], BAR, left, color=colour)
        left += table[part].to_numpy()
    shares = left / max(1, left.sum())
    _beside(axes, [f"{n:,.0f} ({share:.1%})" for n, share in zip(left, shares, strict=True)])
    _lines(axes, list(table.index), left.max(initial=1))
    axes.set_xlabel("clips (share of all)")
    legend = [
        Patch(color=colour, label=part) for part, colour in PARTS.items() if table[part].sum()
    ]
    heading(axes, "Clips of each class", legend=legend, columns=3)
    fit(figure)
    return figure


@styled
def recordings(table: pd.DataFrame) -> Figure:
    """Bars of the recordings of each class before those of its clips.

    The index of `table` are the classes, its columns clips, groups and largest_group.
    """
    figure, (axes,) = canvas(WIDTH, _height(len(table)))
    places = range(len(table))
    axes.barh(places, table["clips"], BAR, color=PALE)
    axes.barh(places, table["groups"], BAR, color=COLOURS[2])
    _beside(
        axes,
        [
            f"{groups:,} (largest: {largest:,})"
            for groups, largest in zip(table["groups"], table["largest_group"], strict=True)
        ],
    )
    _lines(axes, list(table.index), table["clips"].max())
    axes.set_xlabel("recordings (clips of the largest)")
    legend = [Patch(color=COLOURS[2], label="recordings"), Patch(color=PALE, label="clips")]
    heading(axes, "Recordings of each class", legend=legend)
    fit(figure)
    return figure


@styled
def spreads(panels: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """How a measure is spread in each class: a panel each, by its label.

    The index of each table are the classes, the same for all; its columns low, quarter, middle,
    three_quarters and high. A class without values (NaN) has an empty line.
    """
    names = list(next(iter(panels.values())).index)
    width = WIDTH if len(panels) == 1 else PANEL
    figure, all_axes = canvas(width, _height(len(names)), panels=len(panels))
    looks: dict[str, Any] = {"color": COLOURS[0]}
    for n, (axes, (label, table)) in enumerate(zip(all_axes, panels.items(), strict=True)):
        places = np.arange(len(names))
        axes.hlines(places, table["low"], table["high"], linewidth=1, **looks)
        axes.hlines(places, table["quarter"], table["three_quarters"], linewidth=4, **looks)
        axes.plot(table["middle"], places, "o", color="white", markeredgecolor="black", ms=4.5)
        _lines(axes, names if n == 0 else [""] * len(names), table["high"].max())
        axes.set_xlabel(label)
    arrange(figure, len(panels))
    legend = [
        Line2D(
            [], [], marker="o", linestyle="", color="white", mec="black", ms=4.5, label="median"
        ),
        Line2D([], [], linewidth=4, label="middle half", **looks),
        Line2D([], [], linewidth=1, label="all", **looks),
    ]
    heading(all_axes[0], title, legend=legend, columns=3)
    fit(figure)
    return figure


@styled
def formats(panels: Mapping[str, pd.Series]) -> Figure:
    """Bars of the number of clips, a panel each, by its label; an index names the bars."""
    longest = max(map(len, panels.values()))
    figure, all_axes = canvas(PANEL, _height(longest), panels=len(panels))
    for axes, (label, counts) in zip(all_axes, panels.items(), strict=True):
        axes.barh(range(len(counts)), counts, BAR, color=COLOURS[0])
        _beside(axes, [f"{number:,}" for number in counts])
        _lines(axes, list(counts.index), counts.max(), longest)
        axes.set_xlabel(f"clips by {label}")
    arrange(figure, len(panels), gap=0.5)
    heading(all_axes[0], "Frame sizes and frame rates of the files")
    fit(figure)
    return figure


def _height(lines: int) -> float:
    """Give the height in inches of so many lines."""
    return max(lines, 2) * (ROW if lines <= MANY else SMALL_ROW)


def _letters(lines: int) -> int:
    """Give the size in points of what is written on each of so many lines."""
    return 9 if lines <= MANY else 7


def _lines(axes: Axes, names: Sequence[str], most: float, lines: int | None = None) -> None:
    """Name the lines from the top, of which there are `lines`; the values reach to `most`."""
    axes.set_yticks(range(len(names)), names, size=_letters(len(names)))
    axes.set_ylim(max(lines or len(names), 2) - 0.5, -0.5)
    axes.set_xlim(0, most * 1.02 if most > 0 else 1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="y", length=0)
    if len(names) > MANY:  # the other end is far away
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _beside(axes: Axes, texts: Sequence[str]) -> None:
    """Write a text right of each line."""
    for y, text in enumerate(texts):
        axes.annotate(
            text,
            (1, y),
            (8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            size=_letters(len(texts)) - 1,
            color=GREY,
        )
