"""Evaluation: clips without their order or motion, what a model costs; its files: test_train.py."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctact.cost import flops, inference_ms, layer_table, total
from noctact.describe import describe
from noctact.errors import NoctactError
from noctact.evaluate import first_frame, permutation, predict, shuffled
from noctact.predictions import accuracies, evaluated, predictions, write
from noctact.shards import ClipFrames, Shards, write_shard

import keras  # isort: skip - after noctact.cost, which chooses the backend
from keras import layers  # isort: skip

# --- the order of the frames ----------------------------------------------------------------------


@given(video_id=st.text(), count=st.integers(0, 40))
def test_permutation_is_one_and_the_same_but_never_the_identity(video_id, count):
    order = permutation(video_id, count).tolist()
    assert sorted(order) == list(range(count))
    assert order == permutation(video_id, count).tolist()
    assert count < 2 or order != sorted(order)


def test_permutation_comes_from_the_name_alone():
    """As in the runs of before, and in those of other machines."""
    assert permutation("Run/a.mp4", 10).tolist() == [8, 1, 2, 6, 7, 3, 9, 5, 4, 0]
    drawn = Counter(tuple(permutation(f"Run/{n}.mp4", 3).tolist()) for n in range(2000))
    assert len(drawn) == 5  # of 3! = 6, all but one
    assert min(drawn.values()) > 400 - 5 * 18  # 18: standard deviation of Binomial(2000, 1/5)


def test_each_clip_is_shuffled_by_itself():
    frames = np.arange(3 * 5 * 2 * 2 * 3, dtype=np.uint8).reshape(3, 5, 2, 2, 3)
    names = ["a", "b", "c"]
    found = shuffled(frames, names)
    for n, name in enumerate(names):
        np.testing.assert_array_equal(found[n], frames[n][permutation(name, 5)])
    np.testing.assert_array_equal(shuffled(frames[::-1], names[::-1])[::-1], found)
    np.testing.assert_array_equal(shuffled(frames[1:2], names[1:2]), found[1:2])


def test_first_frame_is_repeated():
    frames = np.arange(2 * 3 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 3, 2, 2, 3)
    found = first_frame(frames)
    assert found.shape == frames.shape
    assert found.dtype == np.uint8
    for clip, original in zip(found, frames, strict=True):
        assert all(np.array_equal(frame, original[0]) for frame in clip)


# --- predictions ----------------------------------------------------------------------------------

SHAPE = (4, 3, 5)
CLASSES = ["A", "b, c", "Ü"]
NAMES = [f"{CLASSES[n % 3]}/{n}.mp4" for n in range(11)]
FRAMES = np.random.default_rng(0).integers(0, 256, (11, *SHAPE, 3), dtype="uint8")
SPLIT = pd.DataFrame(
    {
        "video_id": NAMES,
        "label": [name.split("/")[0] for name in NAMES],
        "split": ["train"] * 2 + ["val"] * 4 + ["test"] * 5,
    }
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    index = list(range(SHAPE[0]))
    rows = [
        ClipFrames(name, "A", frames, index, index, 4, 0, "whole", 5, 3, 1.0)
        for name, frames in zip(NAMES, FRAMES, strict=True)
    ]
    file = tmp_path_factory.mktemp("shards") / "shard-000.h5"
    write_shard(file, rows, SHAPE, {})
    return Shards([file])


def classifier(*middle):
    keras.utils.set_random_seed(0)
    rows = layers.Reshape((SHAPE[0], -1))
    scale = layers.Rescaling(1 / 255)
    end = layers.Dense(3, activation="softmax")
    return keras.Sequential([keras.Input((*SHAPE, 3)), rows, scale, *middle, end])


def tables(model, shards, batch_size=3):
    return predict(model, evaluated(SPLIT), CLASSES, shards, batch_size)


def shares(table):
    return table[[f"p_{label}" for label in CLASSES]].to_numpy()


def test_a_model_that_sees_the_order_loses_by_the_shuffling(shards):
    model = classifier(layers.SimpleRNN(4))
    found = tables(model, shards)
    assert list(found) == ["predictions", "shuffled", "first_frame"]
    clips = found["predictions"]["video_id"].tolist()
    assert clips == sorted(NAMES[2:])
    frames = FRAMES[[NAMES.index(clip) for clip in clips]]
    first = np.stack([np.stack([clip[0]] * SHAPE[0]) for clip in frames])
    for name, seen in (
        ("predictions", frames),
        ("shuffled", shuffled(frames, clips)),
        ("first_frame", first),
    ):
        np.testing.assert_allclose(shares(found[name]), model.predict_on_batch(seen), atol=1e-6)
        other = tables(model, shards, batch_size=16)[name]
        pd.testing.assert_frame_equal(found[name], other, atol=1e-6)
    difference = abs(shares(found["predictions"]) - shares(found["shuffled"])).max(axis=1)
    assert (difference > 1e-3).all()


def test_a_mean_over_time_does_not_see_the_order(shards):
    found = tables(classifier(layers.GlobalAveragePooling1D()), shards)
    pd.testing.assert_frame_equal(found["shuffled"], found["predictions"], atol=1e-6)
    assert abs(shares(found["first_frame"]) - shares(found["predictions"])).max() > 1e-3


def test_a_model_of_the_first_frame_needs_no_other(shards):
    found = tables(classifier(layers.Cropping1D((0, SHAPE[0] - 1)), layers.Flatten()), shards)
    pd.testing.assert_frame_equal(found["first_frame"], found["predictions"], atol=1e-6)


def test_table_of_predictions_as_a_file(tmp_path):
    clips = pd.DataFrame(
        {
            "video_id": ["A/1", "A/2", "B/3"],
            "label": ["A", "A", "B"],
            "split": ["val"] * 2 + ["test"],
        }
    )
    table = predictions(clips, ["A", "B"], np.array([[0.5, 0.5], [0.25, 0.75], [0, 1]]))
    write(table, tmp_path / "predictions.csv")
    assert (tmp_path / "predictions.csv").read_text() == (
        '"video_id","split","true","predicted","p_A","p_B"\n'
        '"A/1","val","A","A",0.5,0.5\n'
        '"A/2","val","A","B",0.25,0.75\n'
        '"B/3","test","B","B",0.0,1.0\n'
    )
    assert accuracies(table) == "test accuracy 1.0000  val accuracy 0.5000"


def test_split_of_train_clips_only():
    with pytest.raises(NoctactError, match=r"no val or test clips; raise split\.val"):
        evaluated(SPLIT[:2])


# --- cost -----------------------------------------------------------------------------------------

ENCODER = 2 * (15 * 15 * 3 * 256) * (10 * 16 * 22)  # each of 16 x 22 positions in 10 frames


def recurrent(gates: int, features: int) -> int:
    """FLOPs of layers of 128, 64 and 32 units and 10 steps, and 12 classes after the last step."""
    kernels = features * 128 + 128 * 128 + 128 * 64 + 64 * 64 + 64 * 32 + 32 * 32
    return 2 * 10 * gates * kernels + 2 * 32 * 12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("simple_rnn", recurrent(1, 240 * 320 * 3)),  # 590,459,648
        ("lstm", recurrent(4, 240 * 320 * 3)),
        ("gru", recurrent(3, 240 * 320 * 3)),
        ("cnn_lstm", ENCODER + recurrent(4, 8 * 11 * 256)),
        ("cnn_gru", ENCODER + recurrent(3, 8 * 11 * 256)),
    ],
)
def test_flops_of_the_published_models(name, expected):
    (table,) = describe([name], (10, 240, 320), 12, [128, 64, 32]).values()
    assert total(row["flops"] for row in table) == expected


def test_layer_table_shows_the_layers_of_the_encoder():
    (table,) = describe(["cnn_gru"], (2, 30, 45), 3, [4]).values()
    rows = {row["layer"]: tuple(row.values())[1:] for row in table}
    assert rows["encoder/convolution"] == (
        "TimeDistributed(Conv2D)",
        "2 x 2 x 3 x 256",
        675 * 256 + 256,
        2 * 675 * 256 * 12,
    )
    assert rows["recurrent_1"] == (
        "GRU",
        "4",
        3 * 4 * (512 + 4 + 2),
        2 * 2 * 3 * 4 * (512 + 4),
    )
    assert rows["flatten"] == ("Reshape", "2 x 512", 0, 0)


def after(shape, layer):
    """`layer`, built for inputs of `shape`."""
    layer(keras.Input(shape))
    return layer


@pytest.mark.parametrize(
    ("shape", "layer", "expected"),
    [
        ((7,), layers.Dense(5), 2 * 7 * 5),
        ((3, 4, 7), layers.Dense(5), 2 * 7 * 5 * 12),
        ((3, 7), layers.TimeDistributed(layers.Dense(5)), 2 * 7 * 5 * 3),
        ((10, 7), layers.Conv1D(5, 3), 2 * 3 * 7 * 5 * 8),
        ((9, 9, 4), layers.Conv2D(6, 3, 2, "same", groups=2), 2 * 9 * 2 * 6 * 25),
        ((5, 5, 5, 1), layers.Conv3D(2, 3), 2 * 27 * 2 * 27),
        ((6, 7), layers.LSTM(5, return_sequences=True), 2 * 6 * 4 * 5 * (7 + 5)),
        ((6, 7), layers.GRU(5, return_state=True), 2 * 6 * 3 * 5 * (7 + 5)),
        ((6, 7), layers.Bidirectional(layers.SimpleRNN(5)), 2 * 2 * 6 * 5 * (7 + 5)),
        ((7,), keras.Sequential([layers.Dense(5), layers.Dense(2)]), 2 * (7 * 5 + 5 * 2)),
        (
            (3, 7),
            layers.TimeDistributed(keras.Sequential([layers.Dense(5), layers.Dense(2)])),
            2 * (7 * 5 + 5 * 2) * 3,
        ),
        ((8, 8, 3), layers.MaxPooling2D(), 0),
        ((8, 8, 3), layers.BatchNormalization(), 0),
        ((3, 7), layers.TimeDistributed(layers.LayerNormalization()), 0),
        ((7,), layers.PReLU(), 0),
        # Not known: better than wrong.
        ((7,), layers.EinsumDense("ab,bc->ac", 5), None),
        ((3, 7), layers.TimeDistributed(layers.EinsumDense("ab,bc->ac", 5)), None),
        ((7,), keras.Sequential([layers.Dense(5), layers.EinsumDense("ab,bc->ac", 5)]), None),
        ((8, 8, 3), layers.DepthwiseConv2D(3), None),
        ((8, 8, 3), layers.Conv2DTranspose(3, 3), None),
        ((4, 8, 8, 3), layers.ConvLSTM2D(3, 3), None),
        ((None, 7), layers.LSTM(5), None),
        ((None, 7), layers.Dense(5), None),
    ],
)
def test_flops_of_a_layer(shape, layer, expected):
    assert flops(after(shape, layer)) == expected


def test_a_layer_of_several_outputs_has_the_shapes_of_all():
    inputs = keras.Input((6, 7))
    outputs = layers.LSTM(5, return_sequences=True, return_state=True, name="lstm")(inputs)
    row = layer_table(keras.Model(inputs, outputs))[1]
    assert (row["kind"], row["output"]) == ("LSTM", "6 x 5, 5, 5")


def test_inference_is_timed_a_clip():
    model = classifier(layers.SimpleRNN(4))
    one, many = (inference_ms(model, FRAMES[:n]) for n in (1, 11))
    assert 0 < many < one < 1000
