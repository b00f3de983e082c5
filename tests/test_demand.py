import math

import pytest

from noctact.demand import (
    frames_mb,
    stage_minutes,
    step_seconds,
    training_disk_mb,
    training_minutes,
)

FULL = (10, 240, 320)
PUBLISHED = {"units": [128, 64, 32], "batch_size": 64, "epochs": 50}
# Seconds a step of 64 clips, two threads: docs/training.md.
MEASURED = {
    "simple_rnn": 0.509,
    "lstm": 1.664,
    "gru": 1.324,
    "cnn_simple_rnn": 1.094,
    "cnn_lstm": 1.294,
    "cnn_gru": 1.329,
}


@pytest.mark.parametrize("model", MEASURED)
def test_a_step_is_predicted_to_take_what_it_takes_or_somewhat_more(model):
    predicted = step_seconds(model, FULL, PUBLISHED, threads=2)
    assert MEASURED[model] < predicted < 1.5 * MEASURED[model]


def test_a_step_by_hand():
    # 1 x 128 x (230,400 + 128 + 1) weights, two products of two operations, 64 x 10 frames.
    operations = 128 * 230_529 * 2 * 2 * 640
    by_hand = 0.05 + operations / (2 * 70e9)
    assert step_seconds("simple_rnn", FULL, PUBLISHED, threads=2) == pytest.approx(by_hand)
    # Behind the encoder: 16 x 22 patches of 675 values to 256 maps, of which 8 x 11 x 256 are left.
    operations = (128 * (22_528 + 129) * 3 + 2 * 16 * 22 * 675 * 256) * 2 * 640
    by_hand = 0.05 + operations / (4 * 70e9)
    assert step_seconds("cnn_simple_rnn", FULL, PUBLISHED, threads=4) == pytest.approx(by_hand)


def test_a_training_by_hand():
    step = step_seconds("lstm", FULL, PUBLISHED, threads=2)
    # 640 clips are ten steps, 50 epochs, twice the time, ten minutes to start.
    minutes = 10 + math.ceil(2 * 50 * 10 * step / 60)
    assert training_minutes("lstm", FULL, PUBLISHED, 640, threads=2) == minutes
    # With threads enough the file system sets the pace: 640 clips of 2.304 MB at 200 MB/s.
    reading = 10 + math.ceil(2 * 50 * 640 * 2.304 / 200 / 60)
    assert training_minutes("lstm", FULL, PUBLISHED, 640, threads=1000) == reading


def test_stages_and_disk_by_hand():
    assert stage_minutes("extract", 414) == 10 + math.ceil(2 * 414 * 0.9 / 60)
    assert frames_mb(FULL, 3) == 8  # 2.304 MB each, and a signature of 0.06
    # The kernel of the LSTM has 118 million weights of 4 bytes: once as the model, twice four.
    weights = 4 * 128 * (230_400 + 129)
    assert training_disk_mb("lstm", FULL, PUBLISHED) == 100 + math.ceil(weights * 36 / 1e6)
