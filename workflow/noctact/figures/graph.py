"""The rules of the workflow as a graph."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import networkx as nx
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from noctact.figures.canvas import GREY, canvas, fit, heading, styled

TIMES = "\N{MULTIPLICATION SIGN}"

# Inches.
HIGH = 0.24  # of a box
SLOT = 0.34  # from one box to the one below
PAD = 0.09  # left and right of a name
CORRIDOR = 0.42  # between two columns, for the arrows
BOX: dict[str, Any] = {"facecolor": "#EAF2F8", "edgecolor": "#0072B2", "linewidth": 0.8}
ARROW: dict[str, Any] = {
    "arrowstyle": "-|>",
    "mutation_scale": 7,
    "color": GREY,
    "linewidth": 0.8,
    "shrinkA": 0,
    "shrinkB": 0,
}

# A rule, or (rule, rule, number) where an arrow passes a column between the two.
Stop = Hashable


@styled
def rule_graph(edges: Sequence[tuple[str, str]], jobs: Mapping[str, int] | None = None) -> Figure:
    """Draw the rules from left to right, with an arrow from each to those that need its files.

    `edges` are (rule, rule that needs it), one or more, without a circle; `jobs` holds the number
    of jobs of a rule, which stands beside its name if there are several. There is no arrow where
    others lead the same way.
    """
    needed = nx.transitive_reduction(nx.DiGraph(edges)).edges
    graph = nx.DiGraph(edge for edge in edges if edge in needed)  # in the order given
    columns, ways = _columns(graph)
    heights = _heights(columns, ways)
    names = {rule: str(rule) for rule in graph}
    names |= {rule: f"{rule}  {TIMES} {n}" for rule, n in (jobs or {}).items() if n > 1}
    figure, (axes,) = canvas(1, 1)
    axes.set_axis_off()  # all is drawn in inches, and may leave the axes, before `fit`
    sides: dict[Stop, tuple[float, float]] = {}
    left = 0.0
    for column in columns:
        texts = {
            rule: axes.text(left, heights[rule], names[rule], size=8, ha="center", va="center")
            for rule in column
            if rule in graph
        }
        widest = max(text.get_window_extent().width for text in texts.values())
        width = widest / figure.dpi + 2 * PAD
        for rule, text in texts.items():
            text.set_x(left + width / 2)
            corner = (left, heights[rule] - HIGH / 2)
            axes.add_patch(
                FancyBboxPatch(
                    corner, width, HIGH, "round,pad=0,rounding_size=0.05", clip_on=False, **BOX
                )
            )
        sides |= dict.fromkeys(column, (left, left + width))
        left += width + CORRIDOR
    for way in ways:
        axes.add_patch(FancyArrowPatch(path=_curve(way, sides, heights), clip_on=False, **ARROW))
    meaning = "an arrow leads to a rule that needs the files"
    meaning += f"; {TIMES}: number of jobs" if jobs else ""
    heading(axes, "The rules of the workflow", meaning)
    fit(figure)
    return figure


def _columns(graph: nx.DiGraph) -> tuple[list[list[Stop]], list[list[Stop]]]:
    """Give the columns, and for each arrow its stops, one in each column on its way.

    A rule stands right of all those that it needs, an arrow keeps room in the columns between.
    """
    columns: list[list[Stop]] = [list(rules) for rules in nx.topological_generations(graph)]
    number = {rule: n for n, rules in enumerate(columns) for rule in rules}
    ways: list[list[Stop]] = []
    for one, other in graph.edges:
        between = range(number[one] + 1, number[other])
        for n in between:
            columns[n].append((one, other, n))
        ways.append([one, *((one, other, n) for n in between), other])
    return columns, ways


def _heights(columns: Sequence[list[Stop]], ways: Sequence[list[Stop]]) -> dict[Stop, float]:
    """Give the height of each stop in inches: near the mean of those before it, a SLOT apart."""
    before: dict[Stop, list[Stop]] = {stop: [] for column in columns for stop in column}
    for way in ways:
        for one, following in itertools.pairwise(way):
            before[following].append(one)
    heights: dict[Stop, float] = {}
    for column in columns:
        wanted = {stop: _mean([heights[one] for one in before[stop]]) for stop in column}
        order = sorted(column, key=lambda stop: -wanted[stop])
        places = [wanted[order[0]]]
        for stop in order[1:]:
            places.append(min(wanted[stop], places[-1] - SLOT))
        lift = _mean([wanted[stop] for stop in order]) - _mean(places)
        heights |= {stop: place + lift for stop, place in zip(order, places, strict=True)}
    return heights


def _mean(values: Sequence[float]) -> float:
    """Give the mean, 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def _curve(
    way: Sequence[Stop], sides: Mapping[Stop, tuple[float, float]], heights: Mapping[Stop, float]
) -> Path:
    """Give the line from the right side of the first stop to the left side of the last one."""
    points, codes = [(sides[way[0]][1], heights[way[0]])], [Path.MOVETO]
    for one, following in itertools.pairwise(way):
        right, left = sides[one][1], sides[following][0]
        if one != way[0]:  # straight on through the column
            points.append((right, heights[one]))
            codes.append(Path.LINETO)
        middle = (right + left) / 2
        points += [(middle, heights[one]), (middle, heights[following]), (left, heights[following])]
        codes += [Path.CURVE4] * 3
    return Path(points, codes)
