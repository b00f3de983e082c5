"""Figures of the comparison: plain functions of data frames and arrays that return a Figure.

No pyplot: a bare `Figure` on an Agg canvas holds no global state and needs no display. All are
drawn in inches and grow with what they show: no label is cut, whatever the number of classes and
models or the length of their names.
"""

from noctact.figures.canvas import COLOURS, STYLE, has_cnn, save
from noctact.figures.graph import rule_graph
from noctact.figures.lines import curves, model_curves
from noctact.figures.matrices import confusion, confusion_difference, confusion_sheet, recall
from noctact.figures.points import cost, ranking, reliability, significance
from noctact.figures.strips import Strip, errors, examples

__all__ = [
    "COLOURS",
    "STYLE",
    "Strip",
    "confusion",
    "confusion_difference",
    "confusion_sheet",
    "cost",
    "curves",
    "errors",
    "examples",
    "has_cnn",
    "model_curves",
    "ranking",
    "recall",
    "reliability",
    "rule_graph",
    "save",
    "significance",
]
