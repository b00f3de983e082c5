"""Stage describe: layers and parameters of the models, for any frames and classes."""

import argparse
import json
import math
from typing import Any

import pandas as pd

from noctact import backend  # noqa: F401 - chooses the backend before keras is imported
from noctact.arguments import positive
from noctact.models import build_model, model_names

import keras  # isort: skip


def layer_table(model: keras.Model) -> pd.DataFrame:
    """One row a layer with weights or a new shape: name, kind, output shape, parameters."""
    return pd.DataFrame(
        {
            "layer": layer.name,
            "kind": type(layer).__name__,
            "output": " x ".join(map(str, layer.output.shape[1:])),
            "parameters": sum(math.prod(weight.shape) for weight in layer.trainable_weights),
        }
        for layer in model.layers
    )


def describe(
    names: list[str], frames: tuple[int, int, int], classes: int, units: list[int]
) -> dict[str, pd.DataFrame]:
    """The layer table of each model in `names`; `frames` is (count, height, width).

    No memory is taken for the weights, whatever their size.
    """
    # In this scope Keras notes the shapes of variables and fills none of them.
    with keras.StatelessScope(initialize_variables=False):
        return {
            name: layer_table(build_model(name, frames, classes, units, dropout=0.5))
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


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    frames = (args.frames, args.height, args.width)
    tables = describe(args.models or model_names(), frames, args.classes, args.units)
    totals = {name: int(table["parameters"].sum()) for name, table in tables.items()}
    if args.json:
        facts: dict[str, Any] = {
            name: {"parameters": totals[name], "layers": table.to_dict("records")}
            for name, table in tables.items()
        }
        print(json.dumps(facts, indent=2))
        return
    for name, table in tables.items():
        print(f"{name}: {totals[name]:,} parameters")
        print(table.to_string(index=False, formatters={"parameters": "{:,}".format}))
        print()
    print(pd.Series(totals, name="parameters").map("{:,}".format).to_string())
