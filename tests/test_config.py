"""The config: schema, defaults, reference, and a clear line for each mistake."""

import argparse
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from noctact.arguments import add_frame_settings, frame_settings
from noctact.config import check, load_schema, model_settings, reference
from noctact.errors import NoctactError
from noctact.sampling import FrameSettings
from noctact.train import Settings

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def leaves(tree, path=()):
    """(path, schema) of every key in the schema `tree`, from the top down."""
    for key, part in tree.get("properties", {}).items():
        yield (*path, key), part
        yield from leaves(part, (*path, key))


def read(file: Path):
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def test_schema_is_valid_and_explains_every_key():
    jsonschema.Draft202012Validator.check_schema(load_schema())
    for path, part in leaves(load_schema()):
        assert part.get("description"), path
        assert "default" in part, path


def test_config_yaml_states_the_defaults():
    assert check({}) == check(read(ROOT / "config/config.yaml"))


def test_config_yaml_names_every_key_but_the_generator():
    config = read(ROOT / "config/config.yaml")
    for path, _ in leaves(load_schema()):
        at = config
        for key in path:
            if path[0] != "synthetic":
                assert key in at, path
                at = at[key]


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_shipped_configs_pass(file):
    assert check(read(file))["models"] == [
        "simple_rnn",
        "lstm",
        "gru",
        "cnn_simple_rnn",
        "cnn_lstm",
        "cnn_gru",
    ]


def test_reference_is_up_to_date():
    assert (ROOT / "config/README.md").read_text(encoding="utf-8") == reference(), "make docs"


def test_reference_names_every_key():
    text = reference()
    for path, part in leaves(load_schema()):
        assert f"`{'.'.join(path)}`" in text
        assert part["description"] in text


def test_defaults_are_the_published_protocol():
    config = check({})
    assert FrameSettings(*(config["frames"][name] for name in FrameSettings._fields)) == (
        FrameSettings(count=10, height=240, width=320, sampling="left", by="index")
    )
    assert config["training"] == {
        "loss": "msle",
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "batch_size": 64,
        "epochs": 50,
        "dropout": 0.5,
        "units": [128, 64, 32],
        "precision": "float32",
        # What the notebooks did not have is off.
        "schedule": "constant",
        "clip_norm": None,
        "class_weights": False,
        "label_smoothing": 0,
        "mirror": False,
        "brightness": 0,
        "salt": 0,
        "early_stopping": None,
        "checkpoint": "last",
    }
    assert config["seeds"] == [1]


def test_published_yaml_takes_frames_as_the_notebooks_did():
    published, default = check(read(ROOT / "config/published.yaml"))["frames"], check({})["frames"]
    assert published == default | {"decoding": "seek"}


def test_the_command_line_has_the_frame_settings_of_the_config():
    parser = argparse.ArgumentParser()
    add_frame_settings(parser)
    keys = load_schema()["properties"]["frames"]["properties"]
    assert set(keys) - {"shards", "seconds", "memory_mb"} == set(FrameSettings._fields)
    defaults = FrameSettings(*(keys[name]["default"] for name in FrameSettings._fields))
    assert frame_settings(parser.parse_args([])) == defaults
    for name in FrameSettings._fields:
        for value in keys[name].get("enum", [7]):
            given = frame_settings(parser.parse_args([f"--{name}={value}"]))
            assert given == defaults._replace(**{name: value})


def test_partial_sections_get_the_other_defaults_and_the_input_stays_as_it_was():
    given = {"frames": {"height": 48}}
    assert check(given)["frames"]["width"] == 320
    assert given == {"frames": {"height": 48}}


def test_per_model_changes_one_model_only():
    config = check({"per_model": {"gru": {"learning_rate": 0.01, "units": [5]}}})
    gru, lstm = (json.loads(model_settings(config, name, 7)) for name in ("gru", "lstm"))
    assert lstm == config["training"] | {"seed": 7}
    assert gru == lstm | {"learning_rate": 0.01, "units": [5]}
    assert set(lstm) == set(Settings._fields)


def test_swapped_values_make_other_settings():
    one = check({"per_model": {"gru": {"batch_size": 3, "epochs": 7}}})
    other = check({"per_model": {"gru": {"batch_size": 7, "epochs": 3}}})
    assert model_settings(one, "gru", 1) != model_settings(other, "gru", 1)


def test_switches_can_be_turned_on_for_one_model():
    own = {
        "schedule": "cosine",
        "clip_norm": 0.5,
        "class_weights": True,
        "label_smoothing": 0.1,
        "mirror": True,
        "brightness": 0.2,
        "salt": 0.05,
        "early_stopping": 1,
        "checkpoint": "best",
    }
    config = check({"per_model": {"gru": own}, "seeds": [0, 3], "cache_mb": 0})
    assert json.loads(model_settings(config, "gru", 3)).items() >= own.items()
    assert (config["seeds"], config["cache_mb"]) == ([0, 3], 0)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"modles": []}, ["modles: no such key", "did you mean models?"]),
        ({"training": {"lr": 1}}, ["training.lr: no such key", "the keys here are loss"]),
        ({"training": {"learning_rate": "1e-4"}}, ["training.learning_rate", "'1e-4'"]),
        ({"training": {"loss": "mse"}}, ["training.loss", "'mse' is not one of", "msle"]),
        ({"training": {"epochs": 0}}, ["training.epochs", "minimum of 1"]),
        ({"training": {"dropout": 1}}, ["training.dropout", "1"]),
        ({"training": {"units": []}}, ["training.units"]),
        ({"training": {"seed": 1}}, ["training.seed: no such key", "mean seeds at the top level?"]),
        ({"per_model": {"gru": {"seed": 1}}}, ["per_model.gru.seed: no such key"]),
        ({"seeds": []}, ["seeds"]),
        ({"seeds": 3}, ["seeds", "3 is not of type 'array'"]),
        ({"seeds": [2, 2]}, ["seeds", "[2, 2]"]),
        ({"seeds": [-1]}, ["seeds.0", "-1"]),
        ({"training": {"schedule": "step"}}, ["training.schedule", "'step'", "cosine"]),
        ({"training": {"clip_norm": 0}}, ["training.clip_norm", "0"]),
        ({"training": {"class_weights": 1}}, ["training.class_weights", "'boolean'"]),
        ({"training": {"label_smoothing": 1}}, ["training.label_smoothing", "1"]),
        ({"training": {"mirror": "yes"}}, ["training.mirror", "'yes'"]),
        ({"training": {"brightness": -0.1}}, ["training.brightness", "-0.1"]),
        ({"training": {"salt": 1}}, ["training.salt", "1"]),
        ({"training": {"early_stopping": 0}}, ["training.early_stopping", "minimum of 1"]),
        ({"training": {"checkpoint": "first"}}, ["training.checkpoint", "'first'", "best"]),
        ({"cache_mb": -1}, ["cache_mb", "minimum of 0"]),
        (
            {"per_model": {"gru": {"unit": 3}}},
            ["per_model.gru.unit: no such key", "did you mean units?"],
        ),
        ({"per_model": {"grru": {}}}, ["no model grru", "cnn_gru"]),
        ({"models": ["gru", "transformer"]}, ["no model transformer", "cnn_gru"]),
        ({"models": []}, ["models"]),
        ({"models": ["gru", "gru"]}, ["models"]),
        ({"run": "a/b"}, ["run", "'a/b'"]),
        ({"run": "../up"}, ["run"]),
        ({"source": "youtube"}, ["source", "'youtube'", "kaggle"]),
        ({"source": "folder"}, ["path", "source: folder"]),
        ({"path": "clips"}, ["path", "source: folder"]),
        ({"training": {"epochs": 2.0}}, ["training.epochs", "2.0 is not of type 'integer'"]),
        ({"training": {"learning_rate": float("inf")}}, ["training.learning_rate", "inf"]),
        ({"groups": {"pattern": "("}}, ["groups.pattern", "missing )"]),
        ({"groups": {"pattern": "(x)"}}, ["groups.pattern", "(?P<group>"]),
        ({"source": "archive"}, ["path", "source: archive"]),
        ({"split": {"val": 0.5, "test": 0.5}}, ["split", "nothing to train on"]),
        ({"split": {"val": 0}}, ["split.val"]),
        ({"split": {"scarce": "go on"}}, ["split.scarce", "'go on' is not one of", "clips"]),
        ({"split": {"strategy": "column"}}, ["split.file", "needed with split.strategy: column"]),
        ({"split": {"file": "my.csv"}}, ["split.file", "goes with split.strategy: column"]),
        (
            {"split": {"strategy": "column", "file": "my.csv", "column": ""}},
            ["split.column", "''"],
        ),
        ({"classes": 1}, ["classes"]),
        ({"sha256": "abc"}, ["sha256"]),
        ({"kaggle": {"dataset": "name"}}, ["kaggle.dataset"]),
        ({"frames": {"sampling": "right"}}, ["frames.sampling", "'right' is not one of", "center"]),
        ({"frames": {"by": "pts"}}, ["frames.by", "index", "time"]),
        ({"frames": {"seconds": 0}}, ["frames.seconds", "minimum of 1"]),
        ({"frames": {"decoding": "seek", "by": "time"}}, ["frames.decoding", "frames.by: index"]),
        ({"frames": None}, ["frames", "None is not of type 'object'"]),
    ],
)
def test_mistakes_are_named(config, parts):
    with pytest.raises(NoctactError) as caught:
        check(config)
    message = str(caught.value)
    assert message.startswith("config key")
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("file", ["my.csv", "/lists/my.csv", "s3://bucket/my.csv", "~/my.csv"])
def test_the_file_of_a_split_may_lie_anywhere(file):
    split = check({"split": {"strategy": "column", "file": file}})["split"]
    assert split["file"] == file.replace("~", str(Path.home()))
    assert split["column"] == "split"


def test_switches_may_come_as_the_text_of_a_command_line():
    given = {"gpu": "true", "scratch": "False"}
    config = check(given)
    assert (config["gpu"], config["scratch"]) == (True, False)
    assert given == {"gpu": "true", "scratch": "False"}
    with pytest.raises(NoctactError, match="config key gpu: 'yes' is not of type 'boolean'"):
        check({"gpu": "yes"})
