"""Controls: hand-worked predictions, what they look at and what not, clear errors."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from noctact.__main__ import main
from noctact.controls import classifiers, control, metadata, probabilities, thumbnail
from noctact.errors import NoctactError
from noctact.shards import ClipFrames, Shards, write_shard
from noctact.tables import MANIFEST, SPLIT, write_csv

SHAPE = (2, 6, 8)
# (label, split, gray level, width, n_decoded, rate), one a clip: A is dark, B bright.
CLIPS = [
    ("A", "train", 10, 320, 50, "25"),
    ("A", "train", 20, 320, 52, "25"),
    ("A", "train", 30, 640, 90, ""),
    ("B", "train", 200, 320, 51, "25"),
    ("B", "train", 210, 640, 91, ""),
    ("B", "train", 220, 640, 92, ""),
    ("C", "val", 215, 640, 90, ""),
    ("A", "val", 15, 320, 50, "25"),
    ("B", "test", 205, 320, 51, "25"),
]
NAMES = [f"{label}/{number}.mp4" for number, (label, *_) in enumerate(CLIPS)]


def frames_of(gray: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 10, (*SHAPE, 3))
    return (noise + gray).astype("uint8")


FRAMES = [frames_of(clip[2], number) for number, clip in enumerate(CLIPS)]


def shard(file, chosen, frames=FRAMES):
    index = list(range(SHAPE[0]))
    rows = [
        ClipFrames(NAMES[n], CLIPS[n][0], frames[n], index, index, 2, 0, "whole", 8, 6, 1.0)
        for n in chosen
    ]
    write_shard(file, rows, SHAPE, {})
    return file


def table(clips=CLIPS):
    rows = [(name, clip[0], name, clip[1]) for name, clip in zip(NAMES, clips, strict=True)]
    return pd.DataFrame(rows, columns=SPLIT)


def write_manifest(file, clips=CLIPS):
    facts = dict.fromkeys(MANIFEST, "0") | {"height": "240"}
    write_csv(
        file,
        MANIFEST,
        [
            (
                facts
                | {"video_id": name, "label": label}
                | {"width": width, "n_decoded": length, "rate": rate}
            ).values()
            for name, (label, _, _, width, length, rate) in zip(NAMES, clips, strict=True)
        ],
    )
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds manifest.csv, split.csv, and all clips in all.h5."""
    folder = tmp_path_factory.mktemp("controls")
    write_manifest(folder / "manifest.csv")
    write_csv(folder / "split.csv", SPLIT, table().to_numpy().tolist())
    shard(folder / "all.h5", range(len(CLIPS)))
    return folder


@pytest.fixture(scope="module")
def shards(folder):
    return Shards([folder / "all.h5"])


@pytest.fixture(scope="module")
def found(folder, shards):
    return control(table(), folder / "manifest.csv", shards)


def test_tables_hold_the_val_and_test_clips_by_name(found):
    assert list(found) == ["majority", "mean_frame", "metadata"]
    for predictions in found.values():
        columns = ["video_id", "split", "true", "predicted", "p_A", "p_B", "p_C"]
        assert list(predictions) == columns
        assert predictions["video_id"].tolist() == ["A/7.mp4", "B/8.mp4", "C/6.mp4"]
        assert predictions["split"].tolist() == ["val", "test", "val"]
        assert predictions["true"].tolist() == ["A", "B", "C"]
        shares = predictions[["p_A", "p_B", "p_C"]].to_numpy()
        np.testing.assert_allclose(shares.sum(axis=1), 1)
        assert (shares[:, 2] == 0).all(), "a class without train clips"
        assert predictions["predicted"].tolist() == [["A", "B"][n] for n in shares.argmax(axis=1)]


def test_majority_is_the_first_of_the_most_frequent_classes(found, folder, shards):
    assert found["majority"]["predicted"].tolist() == ["A", "A", "A"]  # 3 clips each of A and B
    np.testing.assert_allclose(found["majority"][["p_A", "p_B"]], 0.5)
    fewer = table().drop(index=0)
    predictions = control(fewer, folder / "manifest.csv", shards)["majority"]
    assert predictions["predicted"].tolist() == ["B", "B", "B"]
    np.testing.assert_allclose(predictions[["p_A", "p_B"]], [[0.4, 0.6]] * 3)


def test_mean_frame_tells_dark_from_bright(found):
    assert found["mean_frame"]["predicted"].tolist() == ["A", "B", "B"]


def test_mean_frame_does_not_see_the_order_of_the_frames(found, folder, tmp_path):
    backwards = [frames[::-1] for frames in FRAMES]
    file = shard(tmp_path / "backwards.h5", range(len(CLIPS)), backwards)
    again = control(table(), folder / "manifest.csv", Shards([file]))["mean_frame"]
    pd.testing.assert_frame_equal(again, found["mean_frame"])


def test_metadata_counts_the_nearest_clips(found):
    """Five of six train clips: all but the farthest, which is of B for A/7 and B/8, of A for C/6.

    A/7 is 320 wide, 50 long, at rate 25: farthest is B/5 (640, 92, unknown); for B/8 too. C/6 is
    640, 90, unknown: farthest is A/0 (320, 50, 25).
    """
    predictions = found["metadata"]
    np.testing.assert_allclose(predictions[["p_A", "p_B"]], [[0.6, 0.4], [0.6, 0.4], [0.4, 0.6]])


def test_metadata_as_numbers(folder):
    values = metadata(folder / "manifest.csv", ["C/6.mp4", "A/0.mp4"])
    assert values.tolist() == [[640, 240, 90, 0], [320, 240, 50, 25]]


def test_fewer_train_clips_than_neighbours(folder, shards):
    few = table().drop(index=[0, 1, 4, 5])  # A/2 and B/3 are left to train on
    predictions = control(few, folder / "manifest.csv", shards)["metadata"]
    np.testing.assert_allclose(predictions[["p_A", "p_B"]], 0.5)


@pytest.mark.parametrize(
    ("size", "shrunk"), [((48, 64), (24, 32)), ((6, 8), (6, 8)), ((1, 96), (1, 32))]
)
def test_thumbnail_is_the_mean_over_time_and_area(size, shrunk):
    frames = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype="uint8")
    height, width = size[0] // shrunk[0], size[1] // shrunk[1]
    blocks = frames.reshape(3, shrunk[0], height, shrunk[1], width, 3)
    np.testing.assert_allclose(thumbnail(frames), blocks.mean(axis=(0, 2, 4)), rtol=1e-5)


def test_thumbnail_keeps_the_aspect():
    assert thumbnail(np.zeros((1, 240, 320, 3), np.uint8)).shape == (24, 32, 3)
    assert thumbnail(np.zeros((1, 200, 100, 3), np.uint8)).shape == (64, 32, 3)
    assert thumbnail(np.zeros((1, 1, 100, 3), np.uint8)).shape == (1, 32, 3)


def test_training_that_does_not_converge_is_told_of(capsys):
    random = np.random.default_rng(0)
    known, labels = random.normal(size=(50, 20)), np.arange(50) % 3
    probabilities(LogisticRegression(max_iter=1), known, labels, known, 3)
    assert "failed to converge" in capsys.readouterr().out
    probabilities(classifiers(50)["mean_frame"], known, labels, known, 3)
    assert capsys.readouterr().out == ""


def run(split, manifest, files, output):
    words = ["--split", split, "--manifest", manifest, "--shards", *files, "--output", output]
    return main(["controls", *map(str, words)])


def test_files_are_the_same_whatever_the_order_of_rows_and_shards(folder, tmp_path, capsys):
    files = [folder / "all.h5"]
    assert run(folder / "split.csv", folder / "manifest.csv", files, tmp_path / "one") == 0
    out = capsys.readouterr().out
    assert "majority    test accuracy 0.0000  val accuracy 0.5000" in out
    assert "mean_frame  test accuracy 1.0000  val accuracy 0.5000" in out
    assert len(out.splitlines()) == 3
    write_csv(tmp_path / "split.csv", SPLIT, table()[::-1].to_numpy().tolist())
    files = [shard(tmp_path / f"{n}.h5", range(n, len(CLIPS), 2)) for n in (1, 0)]
    assert run(tmp_path / "split.csv", folder / "manifest.csv", files, tmp_path / "two") == 0
    names = ["majority.csv", "mean_frame.csv", "metadata.csv"]
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == names
    for name in names:
        first = (tmp_path / "one" / name).read_bytes()
        assert first == (tmp_path / "two" / name).read_bytes()
        assert first.startswith(b'"video_id","split","true","predicted","p_A","p_B","p_C"\n')


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([6, 7, 8], "train clips of fewer than two classes"),
        ([0, 1, 2, 6, 7, 8], "train clips of fewer than two classes"),
        ([0, 1, 2, 3, 4, 5], "no val or test clips"),
    ],
)
def test_a_split_of_which_nothing_can_be_said(folder, shards, rows, message):
    with pytest.raises(NoctactError, match=message):
        control(table().loc[rows], folder / "manifest.csv", shards)


def test_clip_that_the_manifest_or_the_shards_lack(folder, shards, tmp_path):
    write_csv(tmp_path / "none.csv", MANIFEST, [])
    with pytest.raises(NoctactError, match=r"none.csv: no clip 'A/0.mp4'; run stage audit again"):
        control(table(), tmp_path / "none.csv", shards)
    file = shard(tmp_path / "some.h5", range(8))
    with pytest.raises(NoctactError, match=r"B/8\.mp4: not in the shards"):
        control(table(), folder / "manifest.csv", Shards([file]))


@pytest.mark.parametrize("cell", ["", "wide", "nan", "inf"])
def test_cell_that_is_no_number(shards, tmp_path, cell):
    clips = [CLIPS[0], (*CLIPS[1][:3], cell, *CLIPS[1][4:]), *CLIPS[2:]]
    manifest = write_manifest(tmp_path / "manifest.csv", clips)
    with pytest.raises(NoctactError, match=f"clip 'A/1.mp4' has the width '{cell}'"):
        control(table(), manifest, shards)


def test_no_keras_is_imported():
    program = "import sys, noctact.controls; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
