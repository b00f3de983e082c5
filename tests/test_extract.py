"""Extracting a shard: what the file holds, broken clips, the same bytes again, and being killed."""

import csv
import os
import signal
import subprocess
import sys
import time

import av
import cv2
import h5py
import numpy as np
import pytest

from noctact.clips import shard_of
from noctact.errors import NoctactError
from noctact.extract import extract
from noctact.shards import Shards

SHAPE = (4, 24, 32)
# The gray levels of the frames of each clip; they differ in length, and no level is used twice.
GRAYS = {
    "Walk/a.mkv": range(1, 10),
    "Walk/b, c.mkv": range(20, 32),
    "Walk/ünï.mkv": range(40, 42),
    "run/a.mkv": range(50, 90),
    "run/d.avi": range(100, 104),
    "run/e.mkv": range(120, 121),
}
BROKEN = {
    "Walk/cut off.mkv": "decoding breaks off|not a video, or damaged",
    "run/text.mp4": "not a video, or damaged: Invalid data found",
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory, make_clip):
    root = tmp_path_factory.mktemp("clips")
    for video_id, levels in GRAYS.items():
        make_clip(root / video_id, levels)
    whole = make_clip(root / "whole.mkv", range(200)).read_bytes()
    (root / "Walk" / "cut off.mkv").write_bytes(whole[:300])
    (root / "run" / "text.mp4").write_text("not a video")
    return root


def run_extract(root, folder, shard=0, shards=1):
    folder.mkdir(parents=True, exist_ok=True)
    output, quarantine = folder / "shard.h5", folder / "quarantine.csv"
    extract(root, shard, shards, SHAPE, output, quarantine)
    return output, quarantine


def command(root, folder, shard=0, shards=1):
    options = {"clips": root, "shard": shard, "shards": shards, "count": 4, "height": 24}
    options |= {"width": 32, "output": folder / "shard.h5", "quarantine": folder / "quarantine.csv"}
    pairs = (f"--{name}={value}" for name, value in options.items())
    return [sys.executable, "-m", "noctact", "extract", *pairs]


def rows(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def expected_levels(video_id):
    levels = GRAYS[video_id]
    return [levels[int(i * len(levels) / 4)] for i in range(4)]


def test_a_shard_holds_the_right_frames_of_each_clip(clips, tmp_path):
    output, _ = run_extract(clips, tmp_path)
    with h5py.File(output) as shard:
        names = list(shard["video_id"].asstr())
        assert names == sorted(GRAYS)
        assert list(shard["label"].asstr()) == [name.split("/")[0] for name in names]
        for row, name in enumerate(names):
            n = len(GRAYS[name])
            assert shard["n_decoded"][row] == n
            assert list(shard["frame_index"][row]) == [int(i * n / 4) for i in range(4)]
            expected = np.broadcast_to(
                np.array(expected_levels(name), np.uint8)[:, None, None, None], (*SHAPE, 3)
            )
            np.testing.assert_array_equal(shard["frames"][row], expected)


def test_a_shard_has_the_agreed_layout(clips, tmp_path):
    output, _ = run_extract(clips, tmp_path)
    with h5py.File(output) as shard:
        assert set(shard) == {"frames", "video_id", "label", "frame_index", "n_decoded"}
        assert shard["frames"].shape == (6, *SHAPE, 3)
        assert shard["frames"].dtype == np.uint8
        assert shard["frames"].chunks == (1, *SHAPE, 3)
        assert shard["frame_index"].shape == (6, 4)
        assert np.issubdtype(shard["frame_index"].dtype, np.integer)
        assert shard["n_decoded"].shape == (6,)
        assert np.issubdtype(shard["n_decoded"].dtype, np.integer)
        assert dict(shard.attrs) == {
            "sampling": "int(i * n_decoded / count)",
            "padding": "zero, centred",
            "resize": "bilinear",
            "shard": "0 of 1",
            "av": av.__version__,
            "opencv": cv2.__version__,
            "h5py": h5py.__version__,
        }


def test_broken_clips_go_to_the_quarantine_and_the_others_are_extracted(clips, tmp_path):
    output, quarantine = run_extract(clips, tmp_path)
    faults = rows(quarantine)
    assert [row["video_id"] for row in faults] == list(BROKEN)
    for row in faults:
        assert row["path"] == str(clips / row["video_id"])
        assert any(row["reason"].startswith(text) for text in BROKEN[row["video_id"]].split("|"))
    with h5py.File(output) as shard:
        assert not set(BROKEN) & set(shard["video_id"].asstr())


def test_each_clip_is_in_the_shard_of_its_name(clips, tmp_path):
    found = {}
    for number in range(3):
        output, quarantine = run_extract(clips, tmp_path / str(number), number, 3)
        with h5py.File(output) as shard:
            assert shard.attrs["shard"] == f"{number} of 3"
            names = [*shard["video_id"].asstr(), *(row["video_id"] for row in rows(quarantine))]
        assert not found.keys() & set(names)
        found |= dict.fromkeys(names, number)
    assert found == {name: shard_of(name, 3) for name in (*GRAYS, *BROKEN)}
    assert len(set(found.values())) > 1


def test_clips_are_read_back_from_several_shards_in_any_order(clips, tmp_path):
    shards = Shards([run_extract(clips, tmp_path / str(n), n, 3)[0] for n in range(3)])
    names = ["run/e.mkv", "Walk/a.mkv", "Walk/ünï.mkv", "Walk/a.mkv", "run/a.mkv"]
    frames = shards.read(names)
    assert frames.shape == (5, *SHAPE, 3)
    assert frames[:, :, 0, 0, 0].tolist() == [expected_levels(name) for name in names]


def test_an_empty_shard_is_written(clips, tmp_path):
    empty = next(n for n in range(50) if n not in {shard_of(i, 50) for i in (*GRAYS, *BROKEN)})
    output, quarantine = run_extract(clips, tmp_path, empty, 50)
    assert rows(quarantine) == []
    with h5py.File(output) as shard:
        assert shard["frames"].shape == (0, *SHAPE, 3)
        assert len(shard["video_id"]) == 0
    assert Shards([output]).shape == SHAPE


@pytest.mark.parametrize("shard", [-1, 3, 4])
def test_a_shard_that_does_not_exist_is_an_error(clips, tmp_path, shard):
    with pytest.raises(NoctactError, match="shards count from 0 to 2"):
        run_extract(clips, tmp_path, shard, 3)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_gives_the_same_bytes_again(clips, tmp_path):
    first = [file.read_bytes() for file in run_extract(clips, tmp_path)]
    time.sleep(1.1)  # HDF5 keeps times in whole seconds, if at all
    done = subprocess.run(command(clips, tmp_path), capture_output=True, text=True, check=True)
    assert done.stdout == "shard 0: 6 clips, 2 in quarantine\n"
    assert [(tmp_path / name).read_bytes() for name in ("shard.h5", "quarantine.csv")] == first


@pytest.mark.parametrize("option", ["--shards=0", "--count=0", "--height=0", "--width=-1"])
def test_a_size_that_can_not_be_is_wrong_usage(clips, tmp_path, option):
    done = subprocess.run(
        [*command(clips, tmp_path), option], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert option.split("=")[0] in done.stderr


def test_a_failure_leaves_the_old_shard(clips, tmp_path):
    output, _ = run_extract(clips, tmp_path)
    before = output.read_bytes()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        extract(clips, 0, 2, SHAPE, output, tmp_path / "file" / "quarantine.csv")
    assert output.read_bytes() == before
    assert not list(tmp_path.glob(".partial-*"))


def test_killed_in_the_middle_it_leaves_nothing_under_the_final_names(tmp_path, make_clip):
    root, results = tmp_path / "clips", tmp_path / "results"
    clip = make_clip(tmp_path / "clip.mkv", range(200), size=(160, 120))
    for label in ("Walk", "run"):
        (root / label).mkdir(parents=True)
        for number in range(300):
            os.link(clip, root / label / f"{number}.mkv")
    results.mkdir()
    partial = results / ".partial-shard.h5"
    process = subprocess.Popen(command(root, results), stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not partial.exists() or partial.stat().st_size == 0:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert list(results.iterdir()) == [partial]
    # A run after it starts afresh.
    for path in root.glob("*/???.mkv"):
        path.unlink()
    for path in root.glob("*/[2-9]?.mkv"):
        path.unlink()
    again, clean = run_extract(root, results), run_extract(root, tmp_path / "clean")
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in clean]
    assert not partial.exists()
