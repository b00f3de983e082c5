"""Changes of params in words, from the texts that Snakemake records."""

import json

import pytest

from noctact.changes import describe


def described(before: list[object], now: list[object]) -> str:
    return describe({repr(value) for value in before}, {repr(value) for value in now})


def test_code_is_named_once() -> None:
    old = ["noctact/models/gru.py 0123456789abcdef", "noctact/train.py 0123456789abcdef"]
    new = ["noctact/models/gru.py fedcba9876543210"]
    assert described(old, new) == "code of noctact/models/gru.py, noctact/train.py"


def test_settings_are_named_by_their_keys() -> None:
    old = json.dumps({"epochs": 2, "units": [8, 4], "split": {"seed": 1, "val": 0.15}})
    new = json.dumps({"epochs": 2, "units": [8], "split": {"seed": 5, "val": 0.15}})
    assert described([old], [new]) == "split.seed: 1 -> 5; units: [8, 4] -> [8]"


def test_a_swap_shows_as_two() -> None:
    old, new = json.dumps({"salt": 0.1, "mirror": 1}), json.dumps({"salt": 1, "mirror": 0.1})
    assert described([old], [new]) == "mirror: 1 -> 0.1; salt: 0.1 -> 1"


def test_clips_and_other_values() -> None:
    assert described(["0" * 64], ["1" * 64]) == "names or sizes of the clips"
    assert described(["--seed 1"], ["--seed 9"]) == "--seed 1 -> --seed 9"
    assert described([["gru", "lstm"]], [["gru"]]) == "['gru', 'lstm'] -> ['gru']"
    assert described([], ["--published resources"]) == "(nothing) -> --published resources"


@pytest.mark.parametrize("value", ["{braces}.mkv", "it's\na line", "", None, 3, 0.5, ("a", 1)])
def test_any_value_can_be_told(value: object) -> None:
    assert described([value], ["another"]).endswith("another")
