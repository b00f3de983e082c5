"""Stage describe: layers, parameters and FLOPs of the models, for any frames and classes."""

import argparse
import json
from typing import Any

import pandas as pd

from noctact.arguments import positive
from noctact.cost import layer_table, total
from noctact.models import build_model, model_names
from noctact.models.layers import to_stock

import keras  # isort: skip - after noctact.cost, which chooses the backend


def describe(
    names: list[str], frames: tuple[int, int, int], classes: int, units: list[int]
) -> dict[str, list[dict[str, Any]]]:
    """The layer table of each model in `names`, as it is saved; `frames` is (count, height, width).

    No memory is taken for the weights, whatever their size.
    """
    # In this scope Keras notes the shapes of variables and fills none of them.
    with keras.StatelessScope(initialize_variables=False):
        return {
            name: layer_table(to_stock(build_model(name, frames, classes, units, dropout=0.5)))
            for name in names
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("models", nargs="*", metavar="model", help="all of them if none is named")
    parser.add_argument("--frames", type=positive, default=10, help="frames a clip")
    parser.add_argument("--height", type=positive, default=240, help="pixels")
    parser.add_argument("--width", type=positive, default=320, help="pixels")
    parser.add_argument("--classes", type=positive, default=12)
    parser.add_argument("--units", type=positive, nargs="+", default=[128, 64, 32])
    parser.add_argument("--json", action="store_true", help="for machines")


def number(value: int | None) -> str:
    """`value` with commas between the thousands."""
    return "unknown" if value is None else f"{value:,}"


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    frames = (args.frames, args.height, args.width)
    tables = describe(args.models or model_names(), frames, args.classes, args.units)
    columns = ("parameters", "flops")
    facts: dict[str, Any] = {
        name: {column: total(row[column] for row in table) for column in columns}
        for name, table in tables.items()
    }
    if args.json:
        facts = {name: facts[name] | {"layers": table} for name, table in tables.items()}
        print(json.dumps(facts, indent=2))
        return
    formatters = dict.fromkeys(columns, number)
    for name, table in tables.items():
        print(f"{name}: {number(facts[name]['parameters'])} parameters")
        print(pd.DataFrame(table, dtype=object).to_string(index=False, formatters=formatters))
        print()
    print(pd.DataFrame(facts, dtype=object).T.to_string(formatters=formatters))
