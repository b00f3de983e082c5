"""What the six models share: the encoder of a frame, recurrent layers, and the way back to stock.

The layers here compute what `keras.layers.SimpleRNN`, `LSTM`, `GRU` and
`TimeDistributed(Conv2D)` compute, with the same weights in the same order, several times faster on
full-size frames: the stock recurrent layers multiply the input by the kernel (for an LSTM on
240 x 320 pixels: 472 MB) anew at each time step, and `TimeDistributed` is a loop over the steps.
`to_stock` makes the same model of stock layers; that one is saved, and opens without this code.

The shapes of a recurrent layer, with 4 units on 16 clips of 5 steps of 3 features:

>>> import numpy as np
>>> clips = np.random.default_rng(1).random((16, 5, 3), dtype="float32")
>>> SimpleRNN(4)(clips).shape  # the state after the last step
TensorShape([16, 4])
>>> sequence, state = GRU(4, return_sequences=True, return_state=True)(clips)
>>> sequence.shape, state.shape  # the state after each step; after the last one
(TensorShape([16, 5, 4]), TensorShape([16, 4]))
>>> bool(np.all(sequence[:, -1] == state))
True
>>> sequence, state, carry = LSTM(4, return_sequences=True, return_state=True)(clips)
>>> sequence.shape, state.shape, carry.shape
(TensorShape([16, 5, 4]), TensorShape([16, 4]), TensorShape([16, 4]))
"""

from typing import Any

import keras
from keras import layers, ops

Tensor = Any  # of whichever backend
STRIDE = 15  # pixels: side of a patch, and the step from one to the next
FILTERS = 256


class Recurrent(layers.Layer):
    """A recurrent layer: (clips, steps, features) to (clips, units), or (clips, steps, units) with
    `return_sequences`; with `return_state` followed by each state after the last step, (clips,
    units). All are floats in -1..1 but for the LSTM's carry, which has no bounds.

    The product of the input and the kernel is one matrix product for all steps. A subclass has the
    equations of one step; W is `kernel` (features, gates x units), U `recurrent_kernel` (units,
    gates x units), b `bias`, and * multiplies elements.
    """

    gates: int
    states = 1
    bias_rows: int | None = None
    stock: type[layers.Layer]

    def __init__(
        self,
        units: int,
        return_sequences: bool = False,
        return_state: bool = False,
        **kwargs: Any,
    ) -> None:
        """`kwargs` are those of every Keras layer: name, dtype, ..."""
        super().__init__(**kwargs)
        self.units = units
        self.return_sequences = return_sequences
        self.return_state = return_state

    def build(self, shape: tuple[int | None, int, int]) -> None:
        """Make the weights, initialised as in the stock layer."""
        columns = self.gates * self.units
        self.kernel = self.add_weight(
            (shape[-1], columns), initializer="glorot_uniform", name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            (self.units, columns), initializer="orthogonal", name="recurrent_kernel"
        )
        rows = () if self.bias_rows is None else (self.bias_rows,)
        self.bias = self.add_weight((*rows, columns), initializer=self.first_bias, name="bias")

    def first_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """The bias before training."""
        return ops.zeros(shape, dtype)

    def call(self, sequences: Tensor) -> Tensor:
        """Go through the steps, from states of 0."""
        steps, features = sequences.shape[1:]
        rows = ops.matmul(ops.reshape(sequences, (-1, features)), self.kernel)
        projected = ops.reshape(rows + self.input_bias(), (-1, steps, self.gates * self.units))
        first = ops.zeros_like(projected[:, 0, : self.units])
        states = [first] * self.states
        outputs = []
        for step in range(steps):
            states = self.step(projected[:, step], *states)
            outputs.append(states[0])
        result = ops.stack(outputs, axis=1) if self.return_sequences else outputs[-1]
        return (result, *states) if self.return_state else result

    def input_bias(self) -> Tensor:
        """The bias that is added to the projected input of all steps, (gates x units,)."""
        return self.bias

    def step(self, x: Tensor, *states: Tensor) -> list[Tensor]:
        """The states after one step; `x` is x_t W + b, (clips, gates x units)."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments of this layer, and of its stock layer."""
        return {
            **super().get_config(),
            "units": self.units,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
        }

    def to_stock(self) -> layers.Layer:
        """The stock layer with the same arguments, without weights."""
        return self.stock.from_config(self.get_config())


class SimpleRNN(Recurrent):
    """Elman's network: h_t = tanh(x_t W + h_(t-1) U + b)."""

    gates = 1
    stock = layers.SimpleRNN

    def step(self, x: Tensor, *states: Tensor) -> list[Tensor]:
        """One step; see the class."""
        (h,) = states
        return [ops.tanh(x + ops.matmul(h, self.recurrent_kernel))]


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), with Keras's order of gates.

    i_t = sigmoid(x_t W_i + h_(t-1) U_i + b_i)      input gate
    f_t = sigmoid(x_t W_f + h_(t-1) U_f + b_f)      forget gate; b_f starts at 1
    g_t = tanh(x_t W_g + h_(t-1) U_g + b_g)         candidate
    o_t = sigmoid(x_t W_o + h_(t-1) U_o + b_o)      output gate
    c_t = f_t * c_(t-1) + i_t * g_t                 carry
    h_t = o_t * tanh(c_t)                           state
    """

    gates = 4
    states = 2
    stock = layers.LSTM

    def first_bias(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """The bias before training: 1 for the forget gate (Jozefowicz et al. 2015), else 0."""
        parts = [ops.zeros, ops.ones, ops.zeros, ops.zeros]
        return ops.concatenate([part((self.units,), dtype) for part in parts])

    def step(self, x: Tensor, *states: Tensor) -> list[Tensor]:
        """One step; see the class."""
        h, c = states
        i, f, g, o = ops.split(x + ops.matmul(h, self.recurrent_kernel), 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return [ops.sigmoid(o) * ops.tanh(c), c]


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014), the reset gate after the product, as in Keras and
    cuDNN; hence two biases, b of the input and d of the state.

    z_t = sigmoid(x_t W_z + b_z + h_(t-1) U_z + d_z)         update gate
    r_t = sigmoid(x_t W_r + b_r + h_(t-1) U_r + d_r)         reset gate
    g_t = tanh(x_t W_g + b_g + r_t * (h_(t-1) U_g + d_g))    candidate
    h_t = z_t * h_(t-1) + (1 - z_t) * g_t                    state
    """

    gates = 3
    bias_rows = 2
    stock = layers.GRU

    def input_bias(self) -> Tensor:
        """b of the equations; d stays within the step, where the reset gate weighs it."""
        return self.bias[0]

    def step(self, x: Tensor, *states: Tensor) -> list[Tensor]:
        """One step; see the class."""
        (h,) = states
        x_z, x_r, x_g = ops.split(x, 3, axis=-1)
        product = ops.matmul(h, self.recurrent_kernel) + self.bias[1]
        h_z, h_r, h_g = ops.split(product, 3, axis=-1)
        z = ops.sigmoid(x_z + h_z)
        g = ops.tanh(x_g + ops.sigmoid(x_r + h_r) * h_g)
        return [z * h + (1 - z) * g]


class Encoder(layers.Layer):
    """The published encoder, on each frame: uint8 (clips, count, height, width, 3), 0..255, to
    floats of at least 0, (clips, count, rows, columns, 256).

    256 filters of 15 x 15 pixels at stride 15 ("same" padding) on values scaled to 0..1, ReLU, and
    maxima of 2 x 2. Patches at a stride of their own size share no pixel, so that the convolution
    is one matrix product for all patches of all frames. They are cut out while the pixels are
    bytes. Bias and ReLU rise with their input, so that they may as well come after the maxima,
    where there is a quarter to do.
    """

    def build(self, shape: tuple[int | None, int, int, int, int]) -> None:
        """Make the weights, initialised as in `Conv2D`."""
        self.kernel = self.add_weight(
            (STRIDE, STRIDE, shape[-1], FILTERS), initializer="glorot_uniform", name="kernel"
        )
        self.bias = self.add_weight((FILTERS,), initializer="zeros", name="bias")

    def call(self, frames: Tensor) -> Tensor:
        """Encode each frame."""
        count, height, width, channels = frames.shape[1:]
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        images = ops.reshape(frames, (-1, height, width, channels))
        margins = [_margins(height), _margins(width)]
        images = ops.pad(images, [(0, 0), *margins, (0, 0)])
        grid = ops.reshape(images, (-1, rows, STRIDE, columns, STRIDE * channels))
        features = STRIDE * STRIDE * channels
        patches = ops.reshape(ops.transpose(grid, (0, 1, 3, 2, 4)), (-1, features))
        scaled = ops.cast(patches, self.compute_dtype) * (1 / 255)
        maps = ops.matmul(scaled, ops.reshape(self.kernel, (features, FILTERS)))
        maxima = ops.max_pool(ops.reshape(maps, (-1, rows, columns, FILTERS)), 2, 2, "same")
        encoded = ops.relu(maxima + self.bias)
        return ops.reshape(encoded, (-1, count, *encoded.shape[1:]))

    def to_stock(self) -> layers.Layer:
        """The stock layers that do the same, without weights."""
        convolution = layers.Conv2D(FILTERS, STRIDE, STRIDE, padding="same", activation="relu")
        pooling = layers.MaxPooling2D(2, padding="same")
        return keras.Sequential(
            [
                layers.Rescaling(1 / 255, name="scale"),
                layers.TimeDistributed(convolution, name="convolution"),
                layers.TimeDistributed(pooling, name="pooling"),
            ],
            name=self.name,
        )


def _margins(side: int) -> tuple[int, int]:
    """Zeros before and after a side of so many pixels: "same" padding, the odd one after."""
    missing = -side % STRIDE
    return missing // 2, missing - missing // 2


def frames_input(frames: tuple[int, int, int]) -> keras.KerasTensor:
    """The input, uint8 (clips, count, height, width, 3).

    Scaling to 0..1 is part of the model: bytes travel to the device, and nobody can forget it.
    """
    return keras.Input((*frames, 3), dtype="uint8", name="frames")


def scale_frames(frames: keras.KerasTensor) -> keras.KerasTensor:
    """Pixels 0..255 to floats 0..1, a frame in one row: (clips, count, features)."""
    return layers.Rescaling(1 / 255, name="scale")(flatten_frames(frames))


def flatten_frames(frames: keras.KerasTensor) -> keras.KerasTensor:
    """(clips, count, ...) to (clips, count, features): the values of a frame in one row."""
    return layers.Reshape((frames.shape[1], -1), name="flatten")(frames)


def encode_frames(frames: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """`Encoder` and dropout on each frame: (clips, count, features)."""
    x = Encoder(name="encoder")(frames)
    x = layers.Dropout(dropout, name="encoder_dropout")(x)
    return flatten_frames(x)


def recurrent_classifier(
    sequence: keras.KerasTensor,
    recurrent: type[layers.Layer],
    classes: int,
    units: list[int],
    dropout: float,
) -> keras.KerasTensor:
    """(clips, count, features) to (clips, classes): `recurrent` layers of `units`, softmax.

    Each recurrent layer is followed by dropout; the last one gives its final state only.
    """
    x = sequence
    for number, size in enumerate(units, 1):
        last = number == len(units)
        x = recurrent(size, return_sequences=not last, name=f"recurrent_{number}")(x)
        x = layers.Dropout(dropout, name=f"dropout_{number}")(x)
    # float32 whatever the precision of the rest: a softmax in float16 rounds small
    # probabilities to 0.
    return layers.Dense(classes, activation="softmax", dtype="float32", name="classes")(x)


def to_stock(model: keras.Model) -> keras.Model:
    """A copy of `model` with its weights, of stock Keras layers only.

    The weights have the same order and shapes in both: `model.set_weights(stock.get_weights())`
    is the way back.
    """
    # Of a model of the same layers that was never compiled: an optimizer would be copied too.
    layout = keras.Model(model.inputs, model.outputs, name=model.name)
    stock = keras.models.clone_model(layout, clone_function=_stock_layer)
    for copy, weight in zip(stock.weights, model.weights, strict=True):
        copy.assign(weight)
    return stock


def _stock_layer(layer: layers.Layer) -> layers.Layer:
    """The stock layer for one of ours; another layer is copied as it is."""
    if isinstance(layer, Recurrent | Encoder):
        return layer.to_stock()
    return layer.__class__.from_config(layer.get_config())
