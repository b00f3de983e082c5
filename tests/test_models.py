"""The six models: parameters, arithmetic, description, memory estimate."""

import json
import subprocess
import sys

import numpy as np
import pytest

from noctact import backend  # noqa: F401 - chooses the backend before keras is imported
from noctact.errors import NoctactError
from noctact.memory import training_mb, weights
from noctact.models import build_model, model_names

PUBLISHED = {
    "simple_rnn": 29_523_564,
    "lstm": 118_093_068,
    "gru": 88_570_572,
    "cnn_simple_rnn": 3_089_004,
    "cnn_lstm": 11_835_660,
    "cnn_gru": 8_920_780,
}
SMALL = (4, 31, 47)  # neither side a multiple of the encoder's stride


def describe(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "noctact", "describe", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_describe_gives_the_published_parameters():
    facts = json.loads(describe("--json").stdout)
    assert {name: fact["parameters"] for name, fact in facts.items()} == PUBLISHED
    for fact in facts.values():
        for column in ("parameters", "flops"):
            assert sum(layer[column] for layer in fact["layers"]) == fact[column]


def test_describe_prints_a_table_for_other_shapes():
    words = ["gru", "--frames", "2", "--height", "4", "--width", "5", "--classes", "3"]
    text = describe(*words, "--units", "7").stdout
    # 3 gates x 7 units x (4 x 5 x 3 inputs + 7 recurrent + 2 biases), then 7 x 3 + 3
    assert f"gru: {3 * 7 * (60 + 7 + 2) + 24:,} parameters" in text
    assert "simple_rnn" not in text


@pytest.mark.parametrize("name", PUBLISHED)
def test_built_model_has_the_described_parameters_and_gives_probabilities(name):
    model = build_model(name, SMALL, 5, [6, 4], 0.5)
    clips = np.random.default_rng(1).integers(0, 256, (3, *SMALL, 3), dtype="uint8")
    probabilities = model.predict(clips, verbose=0)
    assert probabilities.shape == (3, 5)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    words = ["--frames", "4", "--height", "31", "--width", "47", "--classes", "5"]
    facts = json.loads(describe(name, *words, "--units", "6", "4", "--json").stdout)
    assert facts[name]["parameters"] == model.count_params()


def test_unknown_model_is_named_with_those_there_are():
    with pytest.raises(NoctactError, match=r"no model 'transformer'; there are cnn_gru, cnn_lstm"):
        build_model("transformer", SMALL, 5, [6], 0.5)


def test_every_model_file_is_a_published_model():
    assert set(model_names()) == set(PUBLISHED)


# peak_memory_mb in the run.json of whole trainings at full size, without a cache.
@pytest.mark.parametrize(("name", "measured"), [("lstm", 5132), ("simple_rnn", 2071)])
def test_memory_estimate_is_above_that_of_a_whole_training_but_not_far(name, measured):
    settings = {"units": [128, 64, 32], "batch_size": 16, "checkpoint": "last"}
    estimate = training_mb(name, (10, 240, 320), settings, cache_mb=0)
    assert measured < estimate < 1.3 * measured


@pytest.mark.parametrize("name", PUBLISHED)
def test_memory_estimate_counts_nearly_all_weights(name):
    counted = weights(name, (10, 240, 320), [128, 64, 32])
    assert 0.9 * PUBLISHED[name] < counted <= PUBLISHED[name]


# Highest resident memory, MB, of eight steps at full size: benchmarks/training.py.
@pytest.mark.parametrize(
    ("name", "batch_size", "measured"),
    [
        ("lstm", 64, 4443),
        ("gru", 64, 3967),
        ("simple_rnn", 64, 2897),
        ("cnn_lstm", 64, 3505),
        ("cnn_gru", 64, 3531),
        ("cnn_simple_rnn", 64, 3360),
        ("lstm", 16, 3317),
        ("simple_rnn", 16, 1773),
        ("cnn_gru", 16, 1630),
    ],
)
def test_memory_estimate_is_above_that_of_the_steps(name, batch_size, measured):
    settings = {"units": [128, 64, 32], "batch_size": batch_size, "checkpoint": "last"}
    estimate = training_mb(name, (10, 240, 320), settings, cache_mb=0)
    assert measured < estimate
    best = settings | {"checkpoint": "best"}  # holds the weights once more
    copy = weights(name, (10, 240, 320), [128, 64, 32]) * 4 / 1e6
    more = training_mb(name, (10, 240, 320), best, cache_mb=100) - estimate
    assert more == pytest.approx(copy + 100, abs=1)
