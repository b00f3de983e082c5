"""GRU on the output of a convolutional encoder of each frame."""

import keras

from noctact.models.layers import encode_frames, recurrent_classifier, scaled_input


def build(
    frames: tuple[int, int, int], classes: int, units: list[int], dropout: float
) -> keras.Model:
    """GRU layers of `units` on frames of (count, height, width) pixels, each CNN-encoded.

    >>> build((10, 240, 320), 12, [128, 64, 32], 0.5).output.shape
    (None, 12)
    """
    inputs, scaled = scaled_input(frames)
    sequence = encode_frames(scaled, dropout)
    outputs = recurrent_classifier(sequence, keras.layers.GRU, classes, units, dropout)
    return keras.Model(inputs, outputs)
