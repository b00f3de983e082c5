"""Figures of data and comparison: plain functions of data frames and arrays that return a Figure.

No pyplot: a bare `Figure` on an Agg canvas holds no global state and needs no display. All are
drawn in inches and grow with what they show: no label is cut, whatever the number of classes and
models or the length of their names.
"""

from noctact.figures.canvas import COLOURS, STYLE, SUFFIXES, has_cnn, save, write
from noctact.figures.graph import rule_graph
from noctact.figures.lines import curves, model_curves
from noctact.figures.matrices import (
    confusion,
    confusion_difference,
    confusion_sheet,
    recall,
    sources,
)
from noctact.figures.points import cost, ranking, reliability, significance
from noctact.figures.strips import Row, Strip, contact_sheet, errors, examples
from noctact.figures.survey import clips_by_split, formats, recordings, spreads

__all__ = [
    "COLOURS",
    "STYLE",
    "SUFFIXES",
    "Row",
    "Strip",
    "clips_by_split",
    "confusion",
    "confusion_difference",
    "confusion_sheet",
    "contact_sheet",
    "cost",
    "curves",
    "errors",
    "examples",
    "formats",
    "has_cnn",
    "model_curves",
    "ranking",
    "recall",
    "recordings",
    "reliability",
    "rule_graph",
    "save",
    "significance",
    "sources",
    "spreads",
    "write",
]
