"""The config: checked against the schema, completed with its defaults, and explained.

Standard library, jsonschema and PyYAML only: every job of a cluster run parses the Snakefile,
which imports this.
"""

import argparse
import difflib
import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from noctact.clips import compile_pattern
from noctact.errors import NoctactError
from noctact.models import model_names

SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"

Tree = dict[str, Any]

# Stricter than JSON: 2.0 is no whole number for a loop over epochs, and infinity no number at all.
Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and math.isfinite(value)
            ),
        }
    ),
)


def load_schema() -> Tree:
    """The JSON schema of the config."""
    schema: Tree = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return schema


def complete(config: Tree, schema: Tree) -> Tree:
    """`config` with the defaults of `schema` where it has no value."""
    completed = deepcopy(config)
    for key, part in schema.get("properties", {}).items():
        value = completed.setdefault(key, deepcopy(part.get("default")))
        if part.get("type") == "object" and isinstance(value, dict):
            completed[key] = complete(value, part)
    return completed


def check(config: Tree) -> Tree:
    """`config` complete with all defaults.

    Raises NoctactError, which names the key, for an unknown key, a value that is not allowed,
    settings that do not go together, and a model that is not there.
    """
    schema = load_schema()
    # The command line has them as text: --config gpu=true.
    config = config | {
        key: str(config[key]).lower() == "true"
        for key, part in schema["properties"].items()
        if part.get("type") == "boolean" and str(config.get(key)).lower() in ("true", "false")
    }
    error = jsonschema.exceptions.best_match(Validator(schema).iter_errors(config))
    if error:
        raise NoctactError(f"config key {explain(error)}; see config/README.md")
    config = complete(config, schema)
    if config["groups"]["pattern"]:
        compile_pattern(config["groups"]["pattern"])
    config["sha256"] = config["sha256"] or ""  # as the command line has it
    if config["path"] and "://" not in config["path"]:  # an address in an object store
        config["path"] = str(Path(config["path"]).expanduser())
    needs_path = config["source"] in ("archive", "folder")
    if needs_path and not config["path"]:
        raise NoctactError(f"config key path: needed with source: {config['source']}")
    if config["path"] and not needs_path:
        raise NoctactError("config key path: goes with source: folder or source: archive")
    if config["frames"]["decoding"] == "seek" and config["frames"]["by"] == "time":
        raise NoctactError("config key frames.decoding: seek goes with frames.by: index only")
    split = config["split"]
    if split["file"] and "://" not in split["file"]:
        split["file"] = str(Path(split["file"]).expanduser())
    if split["strategy"] == "column" and not split["file"]:
        raise NoctactError("config key split.file: needed with split.strategy: column")
    if split["file"] and split["strategy"] != "column":
        raise NoctactError("config key split.file: goes with split.strategy: column")
    if split["val"] + split["test"] >= 1:
        raise NoctactError("config key split: val and test leave nothing to train on")
    unknown = {*config["models"], *config["per_model"]} - {*model_names()}
    if unknown:
        raise NoctactError(
            f"config keys models, per_model: no model {', '.join(sorted(unknown))}; "
            f"there are {', '.join(model_names())}"
        )
    return config


def explain(error: jsonschema.ValidationError) -> str:
    """The key that `error` is about, and what is wrong with it."""
    path = [str(part) for part in error.absolute_path]
    if error.validator != "additionalProperties":
        return f"{'.'.join(path) or '(top level)'}: {error.message}"
    known = list(error.schema["properties"])  # type: ignore[index]
    unknown = next(key for key in error.instance if key not in known)  # type: ignore[union-attr]
    hint = f"the keys here are {', '.join(known)}"
    for keys, place in ((list(load_schema()["properties"]), " at the top level"), (known, "")):
        if meant := difflib.get_close_matches(str(unknown), keys, n=1):
            hint = f"did you mean {meant[0]}{place}?"
    return f"{'.'.join([*path, str(unknown)])}: no such key; {hint}"


def model_settings(config: Tree, model: str, seed: int) -> str:
    """The settings of one training as JSON: `training`, what `per_model` says otherwise, `seed`.

    One text with sorted keys, because Snakemake compares params as an unordered set of values: in
    it a swap of two values shows.
    """
    own = config["per_model"].get(model, {})
    return json.dumps(config["training"] | own | {"seed": seed}, sort_keys=True)


def reference() -> str:
    """config/README.md: every key with its meaning, default and allowed values, from the schema."""
    schema = load_schema()
    lines = [
        "# Config keys",
        "",
        "Made from `workflow/schemas/config.schema.yaml` by `make docs`. A config file needs only",
        "the keys that differ from `config/config.yaml`:",
        "",
        "    snakemake --cores 8 --configfile my.yaml",
        "    snakemake --cores 8 --config source=folder path=/data/clips run=mine",
    ]
    for key, part in schema["properties"].items():
        lines += ["", f"## `{key}`", "", *entry(part)]
        rows = part.get("properties", {})
        if rows:
            lines += ["", "| key | default | allowed | meaning |", "|---|---|---|---|"]
        for name, leaf in rows.items():
            cells = f"`{json.dumps(leaf['default'])}` | {allowed(leaf)} | {leaf['description']}"
            lines.append(f"| `{key}.{name}` | {cells} |")
    return "\n".join(lines) + "\n"


def entry(part: Tree) -> list[str]:
    """The lines on a top-level key."""
    if "properties" in part:
        return [part["description"]]
    return [part["description"], "", f"Default: `{json.dumps(part['default'])}`. {allowed(part)}."]


def allowed(part: Tree) -> str:
    """The values that a key may have, in words."""
    if "enum" in part:
        return "one of " + ", ".join(f"`{value}`" for value in part["enum"])
    kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
    text = " or ".join("list" if kind == "array" else kind for kind in kinds)
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "over",
        "maximum": "at most",
        "exclusiveMaximum": "under",
        "pattern": "that matches",
    }
    limits = [f"{word} `{part[key]}`" for key, word in words.items() if key in part]
    return ", ".join([text, *limits])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    print(reference(), end="")
