"""What a model of stock Keras layers costs: parameters, FLOPs, time of a prediction."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noctact import backend  # noqa: F401 - chooses the backend before keras is imported

import keras  # isort: skip
from keras import layers  # isort: skip

CALLS = 10  # that are timed: a batch of 32 full-size clips takes seconds

# Layers by how often their kernels are used in a forward pass; `flops` says how that counts.
ONCE_A_POSITION = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
ONCE_A_STEP = (layers.SimpleRNN, layers.LSTM, layers.GRU)
NEVER = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Normalization,
    layers.PReLU,
    layers.RMSNormalization,
    layers.UnitNormalization,
)


def flops(layer: keras.Layer) -> int | None:
    """FLOPs of a forward pass of one clip through `layer`, or through a model's layers.

    Counted from the shapes: each number of a kernel is a multiply-add, 2 FLOPs, as often as the
    kernel is used. That of a dense or convolutional layer is used once for each position of the
    output (each frame, row and column), those of a recurrent layer once for each time step. Left
    out is what works on single elements (bias, activation, normalisation, dropout), and pooling.
    A layer that a model uses several times counts once. None where a layer has weights of a kind
    that is not known here, or a shape is not fixed.
    """
    if isinstance(layer, keras.Model):
        return total(flops(part) for part in layer.layers)
    if isinstance(layer, layers.TimeDistributed) and isinstance(layer.layer, keras.Model):
        return _product([flops(layer.layer), layer.output.shape[1]])
    inner = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
    if isinstance(inner, NEVER) or not inner.weights:
        return 0
    if isinstance(inner, ONCE_A_POSITION) and _channels_last(inner):
        return _multiply_adds([inner.kernel], layer.output.shape[1:-1])
    if isinstance(layer, layers.Bidirectional):
        directions = [layer.forward_layer, layer.backward_layer]
    else:
        directions = [layer]
    if all(isinstance(each, ONCE_A_STEP) for each in directions):
        cells = [each.cell for each in directions]
        kernels = [kernel for cell in cells for kernel in (cell.kernel, cell.recurrent_kernel)]
        return _multiply_adds(kernels, layer.input.shape[1:2])
    return None


def _channels_last(layer: keras.Layer) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _multiply_adds(kernels: Iterable[Any], positions: Sequence[int | None]) -> int | None:
    """FLOPs of `kernels` that are used at each of `positions` (a shape; None for any size)."""
    uses = _product(positions)
    return None if uses is None else 2 * uses * sum(math.prod(each.shape) for each in kernels)


def _product(parts: Iterable[int | None]) -> int | None:
    """The product of `parts`; None when one of them is."""
    known = list(parts)
    return None if None in known else math.prod(part for part in known if part is not None)


def total(parts: Iterable[int | None]) -> int | None:
    """The sum of `parts`; None when one of them is."""
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)


def layer_table(model: keras.Model) -> list[dict[str, Any]]:
    """One row a layer, those of nested models one by one: layer (its name; `encoder/scale` for a
    nested one), kind, output (shape of one clip), parameters (trainable), flops (see `flops`).
    """
    return [
        {
            "layer": name,
            "kind": _kind(layer),
            "output": ", ".join(
                " x ".join(map(str, tensor.shape[1:]))
                for tensor in keras.tree.flatten(layer.output)
            ),
            "parameters": sum(math.prod(weight.shape) for weight in layer.trainable_weights),
            "flops": flops(layer),
        }
        for name, layer in _flat(model)
    ]


def _flat(model: keras.Model, folder: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """The layers of `model` and of the models in it, with their names."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer, f"{folder}{layer.name}/")
        else:
            yield f"{folder}{layer.name}", layer


def _kind(layer: keras.Layer) -> str:
    """The class of `layer`, after it that of the layer it wraps: `TimeDistributed(Conv2D)`."""
    name = type(layer).__name__
    return f"{name}({_kind(layer.layer)})" if isinstance(layer, layers.Wrapper) else name


def inference_ms(model: keras.Model, clips: NDArray[np.uint8]) -> float:
    """Milliseconds a clip that `model` takes to predict `clips` as one batch.

    The shortest of CALLS calls, which what runs beside disturbs least, after one that isn't timed,
    in which Keras traces the model.
    """
    seconds = []
    for _ in range(1 + CALLS):
        began = time.perf_counter()
        model.predict_on_batch(clips)
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds[1:]) / len(clips)
