"""Extracting a shard: what the file holds, clips that are broken, slow or too large, the same bytes
again, full disks, and being killed.
"""

import csv
import hashlib
import io
import os
import re
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from functools import partial

import av
import cv2
import h5py
import numpy as np
import psutil
import pytest
from test_workers import runs

from noctact import extract as stage
from noctact.__main__ import main
from noctact.clips import shard_of
from noctact.errors import NoctactError
from noctact.extract import extract
from noctact.sampling import FrameSettings
from noctact.seeking import read_by_seeking
from noctact.shards import Shards
from noctact.video import read_frames

SHAPE = (4, 24, 32)
SETTINGS = FrameSettings(*SHAPE)
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
    "Walk/cut off.mkv": "can't be opened",
    "run/text.mp4": "not a video",
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


def run_extract(root, folder, shard=0, shards=1, settings=SETTINGS, seconds=60, memory_mb=1000):
    folder.mkdir(parents=True, exist_ok=True)
    output, quarantine = folder / "shard.h5", folder / "quarantine.csv"
    checksum = folder / "shard.h5.sha256"
    signatures = folder / "signatures.h5"
    extract(
        *(root, shard, shards, settings, output, signatures, quarantine, checksum),
        *(seconds, memory_mb),
    )
    return output, quarantine


def command(root, folder, shard=0, shards=1):
    options = {"clips": root, "shard": shard, "shards": shards, "count": 4, "height": 24}
    options |= {"width": 32, "output": folder / "shard.h5", "quarantine": folder / "quarantine.csv"}
    options |= {"checksum": folder / "shard.h5.sha256", "signatures": folder / "signatures.h5"}
    pairs = (f"--{name}={value}" for name, value in options.items())
    return [sys.executable, "-m", "noctact", "extract", *pairs]


def run_command(*arguments, **options):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, **options
    )


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
            sha256 = hashlib.sha256(expected.tobytes()).hexdigest()
            assert shard["sha256"].asstr()[row] == sha256


def test_a_shard_has_the_agreed_layout(clips, tmp_path):
    output, _ = run_extract(clips, tmp_path, settings=SETTINGS._replace(by="time"))
    with h5py.File(output) as shard:
        assert {name: (column.shape, column.dtype) for name, column in shard.items()} == {
            "frames": ((6, *SHAPE, 3), np.uint8),
            "video_id": ((6,), h5py.string_dtype()),
            "label": ((6,), h5py.string_dtype()),
            "frame_index": ((6, 4), np.int32),
            "frame_time": ((6, 4), np.float64),
            "n_decoded": ((6,), np.int32),
            "n_lost": ((6,), np.int32),
            "decoding": ((6,), h5py.string_dtype()),
            "width": ((6,), np.int32),
            "height": ((6,), np.int32),
            "rate": ((6,), np.float64),
            "sha256": ((6,), h5py.string_dtype()),
        }
        assert shard["frames"].chunks == (1, *SHAPE, 3)
        assert dict(shard.attrs) == {
            "sampling": "left",
            "by": "time",
            "decoding": "exact",
            "truncated": "quarantine",
            "padding": "zero, centred",
            "resize": "bilinear",
            "shard": "0 of 1",
            "av": av.__version__,
            "opencv": cv2.__version__,
            "h5py": h5py.__version__,
        }


@pytest.mark.parametrize("decoding, read", [("exact", read_frames), ("seek", read_by_seeking)])
def test_a_row_holds_all_that_was_read_of_a_clip(clips, tmp_path, decoding, read):
    settings = SETTINGS._replace(sampling="endpoints", decoding=decoding)
    output, _ = run_extract(clips, tmp_path, settings=settings)
    with h5py.File(output) as shard:
        names = list(shard["video_id"].asstr())
        for name in ("Walk/ünï.mkv", "run/d.avi"):
            reading = read(clips / name, settings)
            row = names.index(name)
            assert shard["decoding"].asstr()[row] == reading.decoding
            for column in set(reading._fields) - {"decoding"}:
                np.testing.assert_array_equal(shard[column][row], getattr(reading, column))
        row = names.index("run/d.avi")
        expected = {"n_decoded": 4, "n_lost": 0, "width": 32, "height": 24, "rate": 25}
        assert {name: shard[name][row] for name in expected} == expected
        if decoding == "exact":
            np.testing.assert_allclose(shard["frame_time"][row], [0, 0.04, 0.08, 0.12], atol=1e-3)
            assert list(shard["frame_index"][row]) == [0, 1, 2, 3]


def test_what_a_cut_off_clip_still_gives_is_kept_on_request(clips, tmp_path, make_clip):
    root = tmp_path / "clips"
    whole = make_clip(tmp_path / "whole.avi", range(0, 200, 4)).read_bytes()
    for name in ("Walk/a.avi", "Walk/b.avi", "run/a.avi", "run/cut.avi"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(whole[: len(whole) // 2] if "cut" in name else whole)
    quarantine = run_extract(root, tmp_path)[1]
    assert [row["video_id"] for row in rows(quarantine)] == ["run/cut.avi"]
    output, quarantine = run_extract(root, tmp_path, settings=SETTINGS._replace(truncated="keep"))
    assert rows(quarantine) == []
    with h5py.File(output) as shard:
        assert shard.attrs["truncated"] == "keep"
        assert list(shard["n_lost"][:3]) == [0, 0, 0]
        assert shard["n_lost"][3] > 0
        assert shard["n_decoded"][3] < 50


def test_broken_clips_go_to_the_quarantine_and_the_others_are_extracted(clips, tmp_path):
    output, quarantine = run_extract(clips, tmp_path)
    faults = rows(quarantine)
    assert [row["video_id"] for row in faults] == list(BROKEN)
    for row in faults:
        assert row["path"] == str(clips / row["video_id"])
        assert BROKEN[row["video_id"]] in row["reason"]
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
    done = run_command(clips, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "shard 0: 6 clips, 2 in quarantine\n"
    assert [(tmp_path / name).read_bytes() for name in ("shard.h5", "quarantine.csv")] == first


@pytest.mark.parametrize(
    "option", ["shards=0", "count=0", "height=0", "width=-1", "seconds=0", "memory=x"]
)
def test_a_size_that_can_not_be_is_wrong_usage(clips, tmp_path, option, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command(clips, tmp_path)[3:], f"--{option}"])
    assert stop.value.code == 2
    assert option.split("=")[0] in capsys.readouterr().err


def test_a_failure_leaves_the_old_shard(clips, tmp_path):
    output, _ = run_extract(clips, tmp_path)
    before = output.read_bytes()
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "quarantine.csv"
    with pytest.raises(OSError, match="file"):
        extract(
            *(clips, 0, 2, SETTINGS, output, tmp_path / "signatures.h5", inside),
            *(tmp_path / "sum", 60, 1000),
        )
    assert output.read_bytes() == before
    assert not list(tmp_path.glob(".partial-*"))


def large_clip(path, size, n):
    """Write a clip of `n` frames of `size` (width, height), all alike, in a few KB each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "gray"
        stream.codec_context.thread_count = 1
        image = np.full((size[1], size[0]), 77, np.uint8)
        (data,) = [
            bytes(packet)
            for frame in (av.VideoFrame.from_ndarray(image, format="gray"), None)
            for packet in stream.encode(frame)
        ]
        for number in range(n):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)


def test_clips_that_take_too_much_are_quarantined_and_the_others_extracted(
    tmp_path, make_clip, capfd
):
    root = tmp_path / "clips"
    for name in ("Walk/a.mkv", "Walk/b.mkv", "run/a.mkv", "run/z.mkv"):
        make_clip(root / name)
    large_clip(root / "Walk" / "long.mkv", (1600, 1200), 3000)
    large_clip(root / "run" / "large.mkv", (4000, 3000), 1)
    output, quarantine = run_extract(root, tmp_path, seconds=1, memory_mb=50)
    assert [(row["video_id"], row["reason"]) for row in rows(quarantine)] == [
        ("Walk/long.mkv", "decoding took more than 1 s"),
        ("run/large.mkv", "decoding needs more than 50 MB"),
    ]
    assert list(Shards([output]).read(["Walk/b.mkv", "run/z.mkv"])[:, 0, 0, 0, 0]) == [0, 0]
    assert capfd.readouterr() == ("shard 0: 4 clips, 2 in quarantine\n", "")


@pytest.mark.parametrize(
    "error",
    [
        OSError(12, "Cannot allocate memory"),
        cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate"),
        NoctactError("no frame can be decoded: Cannot allocate memory"),
    ],
)
def test_errors_of_memory_are_told_as_such(monkeypatch, error):
    def read(clip, settings):
        raise error

    monkeypatch.setattr(stage, "read_frames", read)
    with pytest.raises(MemoryError):
        stage.read_clip(SETTINGS, "a.mkv")


def test_progress_is_a_line_now_and_then_in_a_log(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with stage.progress(3, 413) as bar:
        bar.set_postfix_str("2 in quarantine", refresh=False)
        bar.update(20)
        bar.start_t -= 11
        bar.last_print_t -= 11
        bar.update(100)
        bar.update(100)
    number = r"\d+\.\d"
    assert re.fullmatch(
        rf"shard 3: 120 of 413 clips, {number} clips/s, 00:2\d left, 2 in quarantine\n",
        log.getvalue(),
    )


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with stage.progress(3, 413) as bar:
        bar.set_postfix_str("2 in quarantine", refresh=False)
        bar.update(413)
    last = terminal.getvalue().rstrip("\n").split("\r")[-1]
    assert last.startswith("shard 3: 100%|")
    assert "413/413" in last
    assert last.endswith(", 2 in quarantine]")


@pytest.fixture
def noisy_clips(tmp_path, make_clip):
    """150 clips of random pixels, 1.4 MB in a shard."""
    root = tmp_path / "clips"
    clip = root / "Walk" / "000.mkv"
    clip.parent.mkdir(parents=True)
    (root / "run").mkdir()
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "bgr0"
        for image in np.random.default_rng(0).integers(0, 255, (8, 24, 32, 3), np.uint8):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for number in range(148):
        os.link(clip, root / "run" / f"{number:03}.mkv")
    os.link(clip, root / "Walk" / "001.mkv")
    return root


def test_a_full_disk_is_one_clear_line_and_no_shard(noisy_clips, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        done = run_command(noisy_clips, disk)
        left = list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"noctact extract: {disk}/shard.h5: no space left on the disk: free some and run again\n"
    )
    assert left == []


def test_a_file_that_may_not_grow_is_one_clear_line_and_no_shard(noisy_clips, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10**6,) * 2)
    done = run_command(noisy_clips, results, preexec_fn=limit)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"noctact extract: [Errno 27] File too large: '{results}/.partial-signatures.h5'\n"
    )
    assert list(results.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_middle_it_leaves_nothing_under_the_final_names(tmp_path, make_clip, number):
    root, results = tmp_path / "clips", tmp_path / "results"
    clip = make_clip(tmp_path / "clip.mkv", range(50), size=(160, 120))
    for label in ("Walk", "run"):
        (root / label).mkdir(parents=True)
        for n in range(300):
            os.link(clip, root / label / f"{n}.mkv")
    results.mkdir()
    unfinished = results / ".partial-shard.h5"
    process = subprocess.Popen(command(root, results), stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not unfinished.exists() or unfinished.stat().st_size == 0:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.005)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.send_signal(number)
    assert process.wait() == -number
    assert {file.name for file in results.iterdir()} <= {unfinished.name, ".partial-signatures.h5"}
    while any(map(runs, workers)):
        assert time.monotonic() < until
        time.sleep(0.01)
    # A run after it starts afresh.
    for path in [*root.glob("*/???.mkv"), *root.glob("*/??.mkv")]:
        path.unlink()
    again, clean = run_extract(root, results), run_extract(root, tmp_path / "clean")
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in clean]
    assert not unfinished.exists()
