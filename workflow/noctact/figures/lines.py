"""Curves over the epochs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
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
    styled,
    weight,
)

Measure = Literal["loss", "accuracy"]
MEASURES: tuple[Measure, ...] = ("loss", "accuracy")

TRAINING: dict[str, Any] = {"linestyle": (0, (3, 1.5)), "markerfacecolor": "white", "alpha": 0.65}
VALIDATION: dict[str, Any] = {"linestyle": "-"}
PUBLISHED: dict[str, Any] = {"linestyle": (0, (1, 1.5)), "alpha": 0.6, "zorder": 1}
BEST: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "zorder": 1}


@styled
def curves(
    histories: Mapping[str, Sequence[pd.DataFrame]],
    measure: Measure,
    loss: str = "",
    published: Mapping[str, pd.DataFrame] | None = None,
) -> Figure:
    """Training and validation curves of all models over the epochs, on one chart.

    `histories` maps a model's name to the history of each seed: the columns `epoch` (from 1),
    `measure` and `val_<measure>`, one row an epoch; a value that is not finite leaves a gap. With
    several seeds a curve is the mean of those that reached the epoch, in a band from the lowest to
    the highest for validation. Colour tells the recurrent layer; weight and marker tell whether the
    name starts with `cnn_`.

    `loss` is the name of the loss function. `published` maps models to histories to be held
    against: the validation curves of those that are in `histories` too, as far as these go.
    """
    figure, (axes,) = canvas(4.9, max(4.2, 0.2 * len(histories)))
    colour = colours(histories)
    validation = {name: _over_seeds(seeds, f"val_{measure}") for name, seeds in histories.items()}
    last = max(spread.index[-1] for spread in validation.values())
    for name, seeds in histories.items():
        spread = validation[name]
        _curve(axes, _over_seeds(seeds, measure)["mean"], name, colour[name], TRAINING)
        _curve(axes, spread["mean"], name, colour[name], VALIDATION)
        if len(seeds) > 1:
            _band(axes, spread, colour[name])
    references = {name: published[name] for name in histories if published and name in published}
    for name, reference in references.items():
        shown = reference[reference["epoch"] <= last]
        width = 1.4 if has_cnn(name) else 0.8
        axes.plot(
            shown["epoch"],
            shown[f"val_{measure}"],
            color=colour[name],
            linewidth=width,
            **PUBLISHED,
        )
    _scale(axes, measure, last)
    axes.set_xlabel("epoch")
    numbers = [len(seeds) for seeds in histories.values()]
    note = _seeds_note(min(numbers), max(numbers))
    heading(axes, _title(measure, loss), note, _line_styles(bool(references)))
    ends = {
        name: (spread.index[-1], spread["mean"].iloc[-1]) for name, spread in validation.items()
    }
    _name_ends(axes, ends, measure, colour)
    fit(figure)
    return figure


@styled
def model_curves(seeds: Sequence[pd.DataFrame], name: str, loss: str = "") -> Figure:
    """Loss and accuracy of one model over the epochs, side by side.

    `seeds` holds the history of each seed, as in `curves`; several become a mean and a band there
    as here, for training too. The best epoch of the validation, the first of equals, is marked;
    none is, where no value is finite. `loss` is the name of the loss function.
    """
    figure, panels = canvas(2.5, 2.3, panels=2)
    colour = colours([name])[name]
    for axes, measure in zip(panels, MEASURES, strict=True):
        for column, part in ((measure, TRAINING), (f"val_{measure}", VALIDATION)):
            spread = _over_seeds(seeds, column)
            _curve(axes, spread["mean"], name, colour, part)
            if len(seeds) > 1:
                _band(axes, spread, colour)
        _scale(axes, measure, spread.index[-1])
        axes.set_xlabel("epoch" + _mark_best(axes, spread["mean"], measure))
        axes.set_ylabel(_title(measure, loss), size=8)
    legend = [
        Line2D([], [], color=colour, label=label, **part, **kind(name))
        for label, part in (("validation", VALIDATION), ("training", TRAINING))
    ]
    legend.append(Line2D([], [], label="best epoch of the validation", **BEST))
    note = _seeds_note(len(seeds), len(seeds))
    arrange(figure, columns=2)
    heading(panels[0], f"{name}: loss and accuracy", note, legend, columns=3)
    fit(figure)
    return figure


def _title(measure: Measure, loss: str) -> str:
    """Give the heading of a measure; `loss` is the name of the loss function."""
    return f"Loss ({loss})" if measure == "loss" and loss else measure.capitalize()


def _scale(axes: Axes, measure: Measure, last: int) -> None:
    """Set ticks and limits for `last` epochs of a measure."""
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, last + 0.5)
    axes.set_ylim(0, 1 if measure == "accuracy" else None)
    if measure == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y", color="0.9")


def _value(value: float, measure: Measure) -> str:
    """Write a loss with three digits, an accuracy in percent."""
    return f"{value:.1%}" if measure == "accuracy" else f"{value:#.3g}"


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
    step = max(1, len(values) // 8)
    axes.plot(
        values.index, values, color=colour, markevery=step, clip_on=False, **kind(name), **part
    )


def _band(axes: Axes, spread: pd.DataFrame, colour: str) -> None:
    """Fill from the lowest to the highest of the seeds."""
    axes.fill_between(
        spread.index, spread["min"], spread["max"], color=colour, alpha=0.15, linewidth=0
    )


def _mark_best(axes: Axes, values: pd.Series, measure: Measure) -> str:
    """Mark the best of the epochs (index), and give a line that tells it; "" if there is none."""
    finite = values[np.isfinite(values)]
    if finite.empty:
        return ""
    lowest = measure == "loss"
    epoch = finite.idxmin() if lowest else finite.idxmax()
    axes.axvline(epoch, **BEST)
    word = "lowest" if lowest else "highest"
    return f"\n{word} at epoch {epoch:.0f}: {_value(finite[epoch], measure)}"


def _line_styles(published: bool) -> list[Line2D]:
    """Give what the line styles mean; the colours are named at the curves' ends."""
    kinds = {"with CNN": WITH_CNN, "without CNN": WITHOUT_CNN}
    parts = {"validation": VALIDATION, "training": TRAINING}
    lines = [
        Line2D([], [], color="0.3", label=f"{part}, {kind}", **parts[part], **kinds[kind])
        for kind in kinds
        for part in parts
    ]
    if published:  # at the end of the first column
        lines.insert(2, Line2D([], [], color="0.3", label="published, validation", **PUBLISHED))
    return lines


def _seeds_note(fewest: int, most: int) -> str:
    """Tell what curve and band are, where a model has more than one seed; else ""."""
    if most == 1:
        return ""
    count = most if fewest == most else f"{fewest} to {most}"
    return f"lines: mean of {count} seeds; bands: from the lowest to the highest"


def _name_ends(
    axes: Axes,
    ends: Mapping[str, tuple[float, float]],
    measure: Measure,
    colour: Mapping[str, str],
) -> None:
    """Write each curve's name and last value right of its end, apart from its neighbours.

    `ends` maps a name to (epoch, value); the limits of the axes must be final.
    """
    axes.text(1.05, 1.06, "validation, last epoch", transform=axes.transAxes, size=7, color=GREY)
    low, high = axes.get_ylim()
    heights = {name: (y if np.isfinite(y) else low) for name, (_, y) in ends.items()}
    wanted = (np.array(list(heights.values())) - low) / (high - low)
    line = 12 / 72 / (axes.bbox.height / axes.figure.dpi)
    for name, place in zip(ends, _apart(wanted, line), strict=True):
        axes.annotate(
            f"{name}  {_value(ends[name][1], measure)}",
            (ends[name][0], heights[name]),
            (1.05, place),
            textcoords=axes.transAxes,
            va="center",
            color=colour[name],
            weight=weight(name),
            arrowprops={
                "arrowstyle": "-",
                "color": colour[name],
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
