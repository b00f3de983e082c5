"""GRU on the output of a convolutional encoder of each frame."""

import keras

from noctact.models.layers import GRU, encode_frames, frames_input, recurrent_classifier


def build(
    frames: tuple[int, int, int], classes: int, units: list[int], dropout: float
) -> keras.Model:
    """GRU layers of `units` on frames of (count, height, width) pixels, each CNN-encoded.

    >>> build((10, 240, 320), 12, [128, 64, 32], 0.5).output.shape
    (None, 12)
    """
    inputs = frames_input(frames)
    sequence = encode_frames(inputs, dropout)
    outputs = recurrent_classifier(sequence, GRU, classes, units, dropout)
    return keras.Model(inputs, outputs)
