"""Our layers compute what the stock ones do: outputs, gradients, weights; under each backend."""

import doctest
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

from noctact import backend
from noctact.models import build_model, layers, model_names
from noctact.models.layers import GRU, LSTM, SimpleRNN, to_stock

import keras  # isort: skip - after noctact.backend, which chooses the backend

STOCK = {
    "simple_rnn": keras.layers.SimpleRNN,
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
}
FRAMES = [(4, 31, 47), (2, 30, 60)]  # multiples of the encoder's stride, and not
RELATIVE = 1e-4
numpy = keras.ops.convert_to_numpy


def published(name: str, frames: tuple[int, int, int], units: list[int]) -> keras.Model:
    """The architecture of the notebooks, in stock layers, on frames scaled to 0..1."""
    each = keras.layers.TimeDistributed
    inputs = x = keras.Input((*frames, 3))
    if name.startswith("cnn_"):
        x = each(keras.layers.Conv2D(256, 15, strides=15, padding="same", activation="relu"))(x)
        x = each(keras.layers.MaxPooling2D(2, padding="same"))(x)
        x = each(keras.layers.Dropout(0.5))(x)
        x = each(keras.layers.Flatten())(x)
    else:
        x = keras.layers.Reshape((frames[0], -1))(x)
    for number, size in enumerate(units, 1):
        recurrent = STOCK[name.removeprefix("cnn_")]
        x = recurrent(size, return_sequences=number < len(units))(x)
        x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(x))


def random_weights(model: keras.Model) -> list[np.ndarray]:
    """Weights for all of `model`, the biases too, that keep the units out of saturation."""
    random = np.random.default_rng(2)
    return [
        random.normal(0, 1 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape).astype("float32")
        for weight in model.weights
    ]


def gradients(model: keras.Model, inputs: np.ndarray, targets: np.ndarray) -> list[np.ndarray]:
    """Gradients of the cross-entropy by all weights."""
    loss = keras.losses.CategoricalCrossentropy()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415 - the other backend may be in use

        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs))
        return [numpy(part) for part in tape.gradient(value, model.trainable_weights)]
    import jax  # noqa: PLC0415 - as above

    def value_of(weights):
        rest = [variable.value for variable in model.non_trainable_variables]
        return loss(targets, model.stateless_call(weights, rest, inputs)[0])

    found = jax.grad(value_of)([weight.value for weight in model.trainable_weights])
    return [numpy(part) for part in found]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Each array within RELATIVE of the expected one, by the norm."""
    for one, other in zip(found, expected, strict=True):
        assert np.linalg.norm(other) > 0
        assert np.linalg.norm(one - other) <= RELATIVE * np.linalg.norm(other)


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("name", model_names())
def test_model_equals_the_published_one_of_stock_layers(name, frames):
    stock = published(name, frames, [6, 4])
    stock.set_weights(random_weights(stock))
    ours = build_model(name, frames, 5, [6, 4], 0.5)
    ours.set_weights(stock.get_weights())
    random = np.random.default_rng(1)
    clips = random.integers(0, 256, (3, *frames, 3), dtype="uint8")
    targets = np.eye(5, dtype="float32")[[4, 0, 2]]
    scaled = clips / np.float32(255)
    assert np.abs(numpy(ours(clips)) - numpy(stock(scaled))).max() < 1e-5
    assert_close(gradients(ours, clips, targets), gradients(stock, scaled, targets))
    # And back, in what is saved.
    saved = to_stock(ours)
    assert np.abs(numpy(saved(clips)) - numpy(stock(scaled))).max() < 1e-5
    for one, other in zip(saved.get_weights(), stock.get_weights(), strict=True):
        assert np.array_equal(one, other)
    modules = {type(layer).__module__.split(".")[0] for layer in saved._flatten_layers()}
    assert modules == {"keras"}


@pytest.mark.parametrize("shape", [(16, 5, 3), (2, 1, 7), (3, 12, 1)])
@pytest.mark.parametrize("layer", [SimpleRNN, LSTM, GRU])
def test_layer_equals_the_stock_one(layer, shape):
    ours = layer(4, return_sequences=True, return_state=True)
    stock = ours.to_stock()
    sequences = np.random.default_rng(1).normal(size=shape).astype("float32")
    ours(sequences)
    stock(sequences)
    ours.set_weights(random_weights(ours))
    stock.set_weights(ours.get_weights())
    for one, other in zip(ours(sequences), stock(sequences), strict=True):
        assert one.shape == other.shape
        assert np.abs(numpy(one) - numpy(other)).max() < 1e-5


@pytest.mark.parametrize("layer", [SimpleRNN, LSTM, GRU])
def test_weights_start_as_in_the_stock_layer(layer):
    ours, stock = layer(7), layer(7).to_stock()
    for each in (ours, stock):
        each.build((None, 3, 5))
    for one, other in zip(ours.weights, stock.weights, strict=True):
        assert (one.name, one.shape) == (other.name, other.shape)
        if one.name == "bias":
            assert np.array_equal(numpy(one), numpy(other))
    kernel, recurrent = (numpy(weight) for weight in ours.weights[:2])
    assert np.abs(kernel).max() <= np.sqrt(6 / sum(kernel.shape))  # Glorot and Bengio 2010
    assert np.allclose(recurrent @ recurrent.T, np.eye(7), atol=1e-5)  # orthogonal rows


@pytest.mark.parametrize("schedule", [0.01, keras.optimizers.schedules.CosineDecay(0.01, 10)])
def test_adam_takes_the_steps_of_keras(schedule):
    random = np.random.default_rng(1)
    start = random.normal(size=(5, 7)).astype("float32")
    variables = [keras.Variable(start), keras.Variable(start)]
    optimizers = [
        backend.adam(schedule, global_clipnorm=0.5),
        keras.optimizers.Adam(schedule, global_clipnorm=0.5),
    ]
    for _ in range(10):
        gradient = keras.ops.convert_to_tensor(random.normal(size=(5, 7)).astype("float32"))
        for optimizer, variable in zip(optimizers, variables, strict=True):
            optimizer.apply([gradient], [variable])
    ours, stock = (numpy(variable) for variable in variables)
    assert np.abs(stock - start).max() > 0.02
    assert np.abs(ours - stock).max() < 1e-5


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="shapes print as TensorFlow's")
@pytest.mark.parametrize("module", ["layers", *model_names()])
def test_examples_in_the_documentation(module):
    result = doctest.testmod(import_module(f"noctact.models.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="this is the other backend")
def test_all_of_this_holds_under_jax():
    assert find_spec("jax"), "jax is in the lock for this test: make test installs it"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "not frames1", __file__],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert layers.__name__ in sys.modules
    assert " passed" in done.stdout
