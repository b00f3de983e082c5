"""SimpleRNN on the pixels of each frame."""

import keras

from noctact.models.layers import flatten_frames, recurrent_classifier, scaled_input


def build(
    frames: tuple[int, int, int], classes: int, units: list[int], dropout: float
) -> keras.Model:
    """SimpleRNN layers of `units` on frames of (count, height, width) pixels, flattened.

    >>> build((10, 240, 320), 12, [128, 64, 32], 0.5).output.shape
    (None, 12)
    """
    inputs, scaled = scaled_input(frames)
    sequence = flatten_frames(scaled)
    outputs = recurrent_classifier(sequence, keras.layers.SimpleRNN, classes, units, dropout)
    return keras.Model(inputs, outputs)
