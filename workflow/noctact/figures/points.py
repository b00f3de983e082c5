"""Points with intervals: ranking, differences, cost, calibration."""

import itertools
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from noctact.figures.canvas import (
    GREY,
    WITH_CNN,
    WITHOUT_CNN,
    arrange,
    canvas,
    colours,
    fit,
    has_cnn,
    heading,
    kind,
    records,
    styled,
    weight,
)
from noctact.readable import MINUS, signed

ROW = 0.36  # inches
ACROSS = 3  # panels
MOST_PAIRS = 60  # of 40 models there are 780

INTERVAL: dict[str, Any] = {"color": GREY, "linewidth": 1, "marker": "|", "markersize": 9}
HOLLOW: dict[str, Any] = {"linestyle": "", "markerfacecolor": "white", "markeredgewidth": 1}
SHUFFLED: dict[str, Any] = HOLLOW | {"marker": "D", "markersize": 4.5}
FIRST_FRAME: dict[str, Any] = HOLLOW | {"marker": "^", "markersize": 5.5}
DIAGONAL: dict[str, Any] = {"color": "0.5", "linewidth": 0.8, "linestyle": ":"}
CLEAR: dict[str, Any] = {"color": "black", "linewidth": 2, "marker": "o", "markersize": 5}
UNCLEAR: dict[str, Any] = CLEAR | {"color": "0.5", "linewidth": 1, "markerfacecolor": "white"}


@styled
def ranking(models: pd.DataFrame, baselines: pd.DataFrame, title: str) -> Figure:
    """Accuracy of the models with its interval, the best first; under them the baselines.

    `models` has the columns model, accuracy, low, high, shuffled and first_frame (accuracy of the
    same model when the frames of each clip are shuffled, or all are the first one); `baselines`
    control (what to call it), accuracy, low and high. All are in 0..1; NaN draws nothing. A line
    goes from each baseline up through the models.
    """
    colour = colours(models["model"])
    ranked = records(models.sort_values("accuracy", ascending=False, kind="stable"))
    under = records(baselines)
    figure, (axes,) = canvas(3.7, ROW * (len(ranked) + len(under)))
    _name_rows(
        axes,
        [row["model"] for row in ranked] + [textwrap.fill(row["control"], 30) for row in under],
    )
    for y, (row, tick) in enumerate(zip(ranked + under, axes.get_yticklabels(), strict=True)):
        name = str(row.get("model", ""))
        if not name:
            _interval(axes, y, row, INTERVAL)
            axes.vlines(row["accuracy"], -0.5, y, color="0.6", linewidth=0.8, linestyle=":")
            tick.set(color=GREY, size=8)
        else:
            _interval(axes, y, row, kind(name) | {"color": colour[name]})
            for key, looks in (("shuffled", SHUFFLED), ("first_frame", FIRST_FRAME)):
                axes.plot(row[key], y + 0.27, color=colour[name], clip_on=False, **looks)
            tick.set(color=colour[name], fontweight=weight(name))
        bold = "bold" if name else "normal"
        _beside(axes, y, _percent(row["accuracy"], 1), 10, weight=bold)
        _beside(axes, y, f"{_percent(row['low'])} to {_percent(row['high'])}", 54, color=GREY)
    axes.axhline(len(ranked) - 0.5, color="0.8", linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("accuracy, with 95% interval")
    legend = _kinds(models["model"])
    if under:
        legend.append(Line2D([], [], label="baseline: no network", **INTERVAL))
    for key, label, looks in (
        ("shuffled", "same model, frames shuffled", SHUFFLED),
        ("first_frame", "same model, first frame only", FIRST_FRAME),
    ):
        if models[key].notna().any():
            legend.append(Line2D([], [], color=GREY, label=label, **looks))
    heading(axes, title, legend=legend)
    fit(figure)
    return figure


@styled
def significance(pairs: pd.DataFrame) -> Figure:
    """Differences of accuracy between the models of each pair, with their intervals.

    `pairs` has the columns model, other, difference (accuracy of `model` less that of `other`),
    low, high, p_holm (NaN if unknown) and clear (bool). Each pair is turned so that its difference
    is not negative; the largest comes first. Beyond MOST_PAIRS those with the smallest p_holm are
    shown.
    """
    chosen = pairs.sort_values("p_holm", kind="stable").head(MOST_PAIRS)
    shown = sorted(map(_turned, records(chosen)), key=lambda pair: -pair["difference"])
    figure, (axes,) = canvas(3.2, 0.25 * max(len(shown), 2))
    _name_rows(axes, [f"{pair['model']} {MINUS} {pair['other']}" for pair in shown])
    for y, (pair, label) in enumerate(zip(shown, axes.get_yticklabels(), strict=True)):
        looks = CLEAR if pair["clear"] else UNCLEAR
        _interval(axes, y, pair | {"accuracy": pair["difference"]}, looks)
        bold = "bold" if pair["clear"] else "normal"
        label.set(fontweight=bold)
        _beside(axes, y, signed(pair["difference"], 1), 10, weight=bold)
        _beside(axes, y, _probability(pair["p_holm"]), 46, weight=bold)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.set_xlabel("difference of accuracy, percentage points, with 95% interval")
    legend = [
        Line2D([], [], label="clear: p < 0.05, and the interval leaves out 0", **CLEAR),
        Line2D([], [], label="not clear", **UNCLEAR),
    ]
    number = f"{len(pairs)} pairs" if len(pairs) != 1 else "one pair"
    text = f"p: exact McNemar test, corrected for {number} (Holm)"
    if len(shown) < len(pairs):
        text += f"; the {len(shown)} smallest are shown"
    heading(axes, "Which models differ?", text, legend, columns=1)
    fit(figure)
    return figure


@styled
def cost(points: pd.DataFrame, xlabel: str) -> Figure:
    """Accuracy with its interval against a cost, on a logarithmic axis.

    `points` has the columns model, accuracy, low and high (0..1), and x, the cost. Models without
    an accuracy or a positive cost are named under the axis. `xlabel` says what x is, with its unit.
    """
    colour = colours(points["model"])
    drawn = (points["x"] > 0) & np.isfinite(points["x"]) & points["accuracy"].notna()
    shown, rest = records(points[drawn]), points["model"][~drawn]
    figure, (axes,) = canvas(4.8, max(3.4, 0.15 * len(points)))
    axes.set_xscale("log")
    for row in shown:
        looks = kind(row["model"]) | {"color": colour[row["model"]]}
        axes.vlines(row["x"], row["low"], row["high"], looks["color"], linewidth=looks["linewidth"])
        axes.plot(row["x"], row["accuracy"], clip_on=False, **looks)
    _plain_ticks(axes, [row["x"] for row in shown])
    ends = points.loc[drawn, ["accuracy", "low", "high"]].stack()
    low, high = (ends.min(), ends.max()) if shown else (0, 1)
    axes.set_ylim(max(0, math.floor(10 * low - 0.5) / 10), min(1, math.ceil(10 * high + 0.5) / 10))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("accuracy, with 95% interval")
    axes.grid(axis="y", color="0.9")
    missing = f"\nunknown: {', '.join(rest)}" if len(rest) else ""
    axes.set_xlabel(xlabel + missing)
    title = textwrap.fill(f"Accuracy and {xlabel}", 50)
    heading(axes, title, legend=_kinds(points["model"]))
    _name_points(axes, shown, colour)
    fit(figure)
    return figure


@styled
def reliability(bins: Mapping[str, pd.DataFrame], ece: Mapping[str, float]) -> Figure:
    """How often each model is right when it is so sure, one panel a model, three in a row.

    `bins` maps a model to the columns confidence (mean probability of the predicted class) and
    accuracy, 0..1, and clips, one row a bin; those without clips are left out. `ece` is the
    expected calibration error of each.
    """
    figure, panels = canvas(1.45, 1.45, panels=len(bins))
    colour = colours(bins)
    most = max(1, *(frame["clips"].max() for frame in bins.values()))
    for n, (axes, (name, frame)) in enumerate(zip(panels, bins.items(), strict=True)):
        shown = frame[frame["clips"] > 0]
        axes.plot([0, 1], [0, 1], **DIAGONAL)
        where = shown["confidence"], shown["accuracy"]
        axes.plot(*where, color=colour[name], alpha=0.5, linewidth=1)
        axes.scatter(
            *where,
            s=5 + 75 * shown["clips"] / most,
            marker=kind(name)["marker"],
            color=colour[name],
            alpha=0.7,
            linewidth=0,
            clip_on=False,
            zorder=3,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(labelsize=8, labelleft=n % ACROSS == 0)
        if n % ACROSS == 0:
            axes.set_ylabel("right", size=8)
        axes.set_xlabel("sure", size=8)
        text = "\n".join([*textwrap.wrap(name, 18), f"ECE {ece[name]:.3f}"])
        axes.set_title(text, size=8, weight=weight(name))
    arrange(figure, ACROSS)
    text = (
        "sure: probability of the predicted class; right: share of these clips that were\n"
        "recognised. Above the diagonal a model is too modest, below it too sure of itself.\n"
        "ECE: expected calibration error, the mean distance to it. Larger points: more clips."
    )
    heading(panels[0], "As right as they are sure?", text)
    fit(figure)
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the lines 0, 1, ... from the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)


def _interval(axes: Axes, y: float, row: Mapping[str, Any], looks: Mapping[str, Any]) -> None:
    """Draw `accuracy` and the interval from `low` to `high` on line `y`."""
    axes.hlines(y, row["low"], row["high"], looks["color"], linewidth=looks["linewidth"])
    axes.plot(row["accuracy"], y, clip_on=False, **looks)


def _beside(axes: Axes, y: float, text: str, points: float, **looks: Any) -> None:
    """Write `text` on line `y`, `points` right of the axes."""
    axes.annotate(
        text,
        (1, y),
        (points, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        **({"size": 8} | looks),
    )


def _turned(pair: dict[str, Any]) -> dict[str, Any]:
    """Give a pair with the better model first."""
    if pair["difference"] >= 0:
        return pair
    turned = {"model": pair["other"], "other": pair["model"], "difference": -pair["difference"]}
    return pair | turned | {"low": -pair["high"], "high": -pair["low"]}


def _percent(value: float, digits: int = 0) -> str:
    """Write a share in percent; NaN is unknown."""
    return f"{value:.{digits}%}" if np.isfinite(value) else "?"


def _tick(value: float, _: int) -> str:
    """Write a tick in percentage points, with as many digits as it has."""
    text = f"{100 * value:+.6g}".replace("-", MINUS)
    return text if text.strip("+0." + MINUS) else text[1:]  # no sign of zero


def _probability(value: float) -> str:
    """Write a p-value; NaN is unknown."""
    if not np.isfinite(value):
        return "p = ?"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _kinds(names: Iterable[str]) -> list[Line2D]:
    """Give what weight and marker mean, as far as they occur among `names`."""
    kinds = {False: ("without CNN", WITHOUT_CNN), True: ("with CNN", WITH_CNN)}
    found = sorted({has_cnn(name) for name in names})
    return [Line2D([], [], color=GREY, label=kinds[cnn][0], **kinds[cnn][1]) for cnn in found]


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Fit the logarithmic x axis to `values`, with plain numbers, few enough to read."""
    low, high = min(values, default=1) / 1.6, max(values, default=1) * 1.6
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 4 else (1,)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))


def _plain(value: float) -> str:
    """Write a positive number as people do: 0.05, 20, 5k, 1M."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _name_points(axes: Axes, points: Sequence[dict[str, Any]], colour: Mapping[str, str]) -> None:
    """Write each model's name near its point, where it covers nothing; limits must be final."""
    pixels = axes.figure.dpi / 72  # a point of type
    taken = [_room(axes, point, 4 * pixels) for point in points]
    for point, room in zip(points, list(taken), strict=True):
        name, spot = point["model"], (point["x"], point["accuracy"])
        looks: dict[str, Any] = {"color": colour[name], "size": 8, "weight": weight(name)}
        label = axes.annotate(name, spot, (0, 0), textcoords="offset points", **looks)
        anchor = np.array(axes.transData.transform(spot))
        size = np.array(label.get_window_extent().size)
        near, box = next(
            (near, box)
            for near, box in _places(anchor, size, room, 3 * pixels)
            if axes.bbox.x0 < box.x0
            and axes.bbox.y0 < box.y0
            and box.y1 < axes.bbox.y1
            and not any(box.overlaps(other) for other in taken)
        )
        taken.append(box)
        label.set_position(tuple((box.min - anchor) / pixels))
        if not near:
            axes.annotate(
                "",
                spot,
                (np.clip(anchor, box.min, box.max) - anchor) / pixels,
                textcoords="offset points",
                arrowprops={
                    "arrowstyle": "-",
                    "linewidth": 0.5,
                    "color": colour[name],
                    "shrinkA": 0,
                },
            )


def _places(
    anchor: NDArray[np.float64], size: NDArray[np.float64], room: Bbox, gap: float
) -> Iterator[tuple[bool, Bbox]]:
    """Give places for a text of `size` around the `room` of the point at `anchor`, without end.

    The nearest come first; with each, whether the text needs no line to its point. All in pixels.
    """
    width, height = size
    x, y = anchor - (width / 2, 0.4 * height)  # the middle of small letters
    right, left = room.x1 + gap, room.x0 - gap - width
    corners = [(right, y), (left, y), (x, room.y1 + gap), (x, room.y0 - gap - height)]
    for corner in corners:
        yield True, Bbox([corner, corner + size])
    for far in itertools.count(1):
        for step in sorted(range(-far, far + 1), key=abs):
            for side in (right + far * height, left - far * height):
                corner = (side, y + step * (height + gap))
                yield False, Bbox([corner, corner + size])


def _room(axes: Axes, point: Mapping[str, Any], half: float) -> Bbox:
    """Give the room in pixels of a point and its interval, `half` to each side."""
    ends = [point[name] for name in ("accuracy", "low", "high") if np.isfinite(point[name])]
    x, low = axes.transData.transform((point["x"], min(ends)))
    _, high = axes.transData.transform((point["x"], max(ends)))
    return Bbox([[x - half, low - half], [x + half, high + half]])
