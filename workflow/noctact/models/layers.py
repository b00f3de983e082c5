"""What the six models share: scaled input, per-frame encoder, stack of recurrent layers."""

import keras
from keras import layers


def scaled_input(frames: tuple[int, int, int]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input, uint8 (clips, count, height, width, 3), and the same as float in 0 to 1.

    Scaling is part of the model: bytes travel to the device, and nobody can forget it.
    """
    inputs = keras.Input((*frames, 3), dtype="uint8", name="frames")
    return inputs, layers.Rescaling(1 / 255, name="scale")(inputs)


def flatten_frames(frames: keras.KerasTensor) -> keras.KerasTensor:
    """(clips, count, ...) to (clips, count, features): the pixels of a frame in one row."""
    count = frames.shape[1]
    return layers.Reshape((count, -1), name="flatten")(frames)


def encode_frames(frames: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
    """The published encoder, on each frame: (clips, count, height, width, 3) to
    (clips, count, features).

    256 filters of 15 x 15 pixels at stride 15, ReLU, maxima of 2 x 2, dropout. Kernels one frame
    deep make a Conv3D the same as a Conv2D on each frame, without a loop over the frames.
    """
    x = layers.Conv3D(
        256, (1, 15, 15), (1, 15, 15), padding="same", activation="relu", name="convolution"
    )(frames)
    x = layers.MaxPooling3D((1, 2, 2), padding="same", name="pooling")(x)
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
