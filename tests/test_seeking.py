"""Seeking as the notebooks did, and where it gives other pictures than decoding."""

import csv
import math
import os
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from noctact.__main__ import main
from noctact.errors import NoctactError
from noctact.parity import NOISE, conversion_noise
from noctact.sampling import RULES, FrameSettings, by_index
from noctact.seeking import read_by_seeking
from noctact.video import UndecodableError, read_frames

SMALL = FrameSettings(10, 24, 32)


def grays(frames):
    """The gray level of each frame; the frame must be plain."""
    assert all(np.ptp(frame.astype(int)) <= 3 for frame in frames)
    return [int(np.median(frame)) for frame in frames]


def claim_frames(avi, n):
    """Make both headers of an AVI file tell of `n` frames."""
    content = bytearray(avi.read_bytes())
    for chunk, field in ((b"avih", 16), (b"strh", 32)):
        at = content.index(chunk) + 8 + field
        content[at : at + 4] = n.to_bytes(4, "little")
    avi.write_bytes(content)
    return avi


# --- seeking --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("codec", "suffix", "tolerance"),
    [("ffv1", "mkv", 0), ("ffv1", "avi", 0), ("libx264", "mp4", 1), ("mpeg4", "mp4", 3)],
)
def test_the_right_frames_are_found_where_the_header_is_right(
    tmp_path, make_clip, codec, suffix, tolerance, rule
):
    clip = make_clip(tmp_path / f"clip.{suffix}", range(0, 240, 10), codec=codec)
    reading = read_by_seeking(clip, SMALL._replace(sampling=rule))
    indices = by_index(rule, 10, 24)
    assert reading.frames.shape == (10, 24, 32, 3)
    assert reading.frames.dtype == np.uint8
    assert reading.frame_index == indices
    assert np.abs(np.subtract(grays(reading.frames), [10 * i for i in indices])).max() <= tolerance
    assert reading.frame_time == pytest.approx([index / 25 for index in indices])
    assert reading[3:] == (24, 0, "seek", 32, 24, 25)


def test_the_channels_are_red_green_blue(tmp_path):
    path = tmp_path / "clip.mkv"
    image = np.full((48, 64, 3), (200, 100, 50), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    frames = read_by_seeking(path, FrameSettings(2, 48, 64)).frames
    np.testing.assert_array_equal(frames, [image, image])


def test_frames_are_padded_and_resized(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mkv", [200, 200], size=(24, 24))
    frames = read_by_seeking(clip, SMALL._replace(count=1)).frames
    np.testing.assert_array_equal(frames[0, :, :, 1], [[0] * 4 + [200] * 24 + [0] * 4] * 24)


def test_the_header_s_count_of_frames_is_what_is_divided(tmp_path, make_clip):
    clip = claim_frames(make_clip(tmp_path / "clip.avi", range(20)), 22)
    reading = read_by_seeking(clip, SMALL)
    assert reading.n_decoded == 22
    assert grays(reading.frames) == reading.frame_index == [0, 2, 4, 6, 8, 11, 13, 15, 17, 19]


@pytest.mark.parametrize(("n", "reason"), [(40, "no frame 20"), (0, "does not say how many")])
def test_a_header_that_is_too_wrong_is_refused(tmp_path, make_clip, n, reason):
    clip = claim_frames(make_clip(tmp_path / "clip.avi", range(20)), n)
    with pytest.raises(UndecodableError, match=reason):
        read_by_seeking(clip, SMALL)


@pytest.mark.parametrize(
    "name", ["-i.mkv", "http:x.mkv", "clip%03d.mkv", "clip001.mkv", "ü 视.mkv"]
)
def test_a_name_that_looks_like_something_else_is_a_file(tmp_path, make_clip, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    clip = make_clip(tmp_path / "plain.mkv", [7, 7]).rename(name)
    assert grays(read_by_seeking(clip, SMALL).frames) == [7] * 10


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("playlist.m3u8", "#EXTM3U\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n"),
        ("playlist.mp4", "#EXTM3U\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n"),
        ("list.mkv", "ffconcat version 1.0\nfile '{clip}'\n"),
        ("text.txt", "plain text, which FFmpeg would show as a moving picture\n" * 20),
        ("empty.mp4", ""),
    ],
)
def test_what_is_no_video_never_reaches_opencv(tmp_path, make_clip, monkeypatch, name, text):
    clip = make_clip(tmp_path / "clip.mkv")
    (tmp_path / name).write_text(text.format(clip=clip))
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: pytest.fail("OpenCV opened it"))
    with pytest.raises(UndecodableError, match=r"not a video|an empty file"):
        read_by_seeking(tmp_path / name, SMALL)


def test_what_can_not_be_read_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_by_seeking(tmp_path / "nowhere.mp4", SMALL)
    with pytest.raises(IsADirectoryError):
        read_by_seeking(tmp_path, SMALL)


def test_frames_by_time_are_an_error_and_no_fault_of_the_clip(tmp_path, make_clip):
    with pytest.raises(NoctactError, match="seeking knows no times") as caught:
        read_by_seeking(make_clip(tmp_path / "clip.mkv"), SMALL._replace(by="time"))
    assert not isinstance(caught.value, UndecodableError)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("truncated_half.avi", {}, "^the file is cut off$"),
        ("truncated_half.avi", {"truncated": "keep"}, r"^OpenCV finds no frame \d+"),
        ("interlaced_h264.mp4", {}, "^interlaced"),
        ("interlaced_mpeg2.mpg", {}, "^interlaced"),
        ("audio_only.mp4", {}, "^no video stream"),
    ],
)
def test_each_reason_says_what_is_wrong(data, name, settings, reason):
    with pytest.raises(UndecodableError, match=reason):
        read_by_seeking(data / "torture" / "derived" / name, SMALL._replace(**settings))


@pytest.mark.parametrize("turn", ["rotated90_meta.mp4", "rotated180_meta.mp4"])
def test_turned_clips_are_turned_as_decoding_does(data, turn):
    clip = data / "torture" / "derived" / turn
    sought = read_by_seeking(clip, SMALL)
    np.testing.assert_array_equal(sought.frames, read_frames(clip, SMALL).frames)
    # As a player shows it.
    assert (sought.width > sought.height) == (turn == "rotated180_meta.mp4")


def test_a_broken_clip_is_told_in_one_line(data, tmp_path):
    """FFmpeg, inside OpenCV, would write its own to stderr."""
    clip = data / "torture" / "derived" / "bitflips_mdat.mp4"
    code = "import sys; from pathlib import Path; from noctact.sampling import FrameSettings; "
    code += "from noctact.seeking import read_by_seeking; "
    code += "read_by_seeking(Path(sys.argv[1]), FrameSettings(10, 24, 32))"
    environment = {k: v for k, v in os.environ.items() if k != "OPENCV_FFMPEG_LOGLEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code, clip],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")


ON_ONE_CORE = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from noctact.sampling import FrameSettings
from noctact.seeking import read_by_seeking
from noctact.video import read_frames
clip, settings = Path(sys.argv[1]), FrameSettings(10, 128, 128)
same = read_by_seeking(clip, settings).frames == read_frames(clip, settings).frames
print(same.all(axis=(1, 2, 3)).sum())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_the_frames_found_do_not_depend_on_the_number_of_cores(data):
    """Left to itself, OpenCV takes one thread on one core, and finds the first frame last."""
    clip = data / "torture" / "real" / "codec" / "torchcodec__h265_video.mp4"
    command = [sys.executable, "-c", ON_ONE_CORE, clip]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"10\n"


# --- parity ---------------------------------------------------------------------------------------


def run_parity(capsys, root, output, **settings):
    options = [f"--{name}={value}" for name, value in settings.items()]
    code = main(["parity", f"--clips={root}", f"--output={output}", *options])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    with output.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream)), captured.out


def test_parity_lists_what_differs_and_what_can_not_be_compared(tmp_path, make_clip, capsys):
    root = tmp_path / "clips"
    make_clip(root / "Walk" / "same.mp4", range(0, 240, 10), codec="libx264")
    wrong = claim_frames(make_clip(root / "Walk" / "wrong, ü.avi", range(20)), 22)
    make_clip(root / "run" / "same.mkv")
    gone = claim_frames(make_clip(root / "run" / "gone.avi", range(20)), 40)
    (root / "run" / "empty.mp4").touch()
    (root / "run" / "text.mp4").write_text("not a video")
    rows, out = run_parity(capsys, root, tmp_path / "out" / "d.csv", height=24, width=32)
    assert out.startswith("1 of 3 clips differ, in 5 of 30 frames; 3 can't be compared; ")
    assert list(rows[0]) == [
        *("video_id", "path", "n_header", "n_decoded", "different", "first", "note")
    ]
    cells = [list(row.values()) for row in rows]
    assert [row[0] for row in cells] == [
        *("Walk/wrong, ü.avi", "run/empty.mp4", "run/gone.avi", "run/text.mp4")
    ]
    # By the header 0, 2, 4, 6, 8, 11, 13, 15, 17, 19; decoded 0, 2, 4, 6, 8, 10, 12, ...
    assert cells[0][1:] == [str(wrong), "22", "20", "5", "5", ""]
    assert cells[1][1:6] == [str(root / "run/empty.mp4"), "", "", "", ""]
    assert cells[1][6] == "seek: an empty file; exact: an empty file"
    assert cells[2][1:6] == [str(gone), "", "20", "", ""]
    assert cells[2][6].startswith("seek: OpenCV finds no frame 20")
    assert cells[3][2:6] == [""] * 4
    assert cells[3][6].count("not a video") == 2


def test_parity_heeds_the_settings(tmp_path, make_clip, capsys):
    root = tmp_path / "clips"
    claim_frames(make_clip(root / "Walk" / "a.avi", range(20)), 22)
    make_clip(root / "run" / "a.avi", range(20))
    size = {"height": 24, "width": 32}
    # By the header 0, 5, 11, 16; decoded 0, 5, 10, 15.
    rows, _ = run_parity(capsys, root, tmp_path / "d.csv", count=4, **size)
    assert [(row["different"], row["first"]) for row in rows] == [("2", "2")]
    # By the header 11; decoded 10.
    rows, _ = run_parity(capsys, root, tmp_path / "d.csv", count=1, sampling="center", **size)
    assert [(row["different"], row["first"]) for row in rows] == [("1", "0")]


def test_parity_by_time_is_an_error_of_one_line(tmp_path, make_clip, capsys):
    for label in ("Walk", "run"):
        make_clip(tmp_path / "clips" / label / "a.mkv")
    command = ["parity", f"--clips={tmp_path / 'clips'}", f"--output={tmp_path / 'd.csv'}"]
    assert main([*command, "--by=time"]) == 1
    assert "seeking knows no times" in capsys.readouterr().err
    assert not (tmp_path / "d.csv").exists()


def test_parity_of_real_clips(data, tmp_path, capsys):
    """Headers of these count two frames too many; the crops of them have right ones."""
    for label in ("hug", "kick"):
        for clip in sorted((data / "ut_interaction_set1" / label).glob("*.avi"))[:3]:
            (tmp_path / "wrong" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "wrong" / label / clip.name).symlink_to(clip)
        for clip in sorted((data / "ut_person_crops_set1" / label).glob("*.avi"))[:3]:
            (tmp_path / "right" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "right" / label / clip.name).symlink_to(clip)
    rows, out = run_parity(capsys, tmp_path / "wrong", tmp_path / "d.csv")
    assert out.startswith("6 of 6 clips differ, in ")
    assert all(int(row["n_header"]) - int(row["n_decoded"]) == 2 for row in rows)
    rows, out = run_parity(capsys, tmp_path / "right", tmp_path / "d.csv")
    assert out.startswith("0 of 6 clips differ, in 0 of 60 frames; 0 can't be compared")
    assert rows == []


@pytest.mark.parametrize(
    ("name", "different"),
    [
        ("derived/hevc_10bit.mp4", 0),  # deeper than 8 bits: rounded differently
        ("real/tenbit_hdr/torchcodec__h264_10bits.mp4", 0),
        ("derived/gray_h264.mp4", 0),
        ("derived/vfr_h264.mp4", 0),
        ("derived/anamorphic_sar2.mp4", 10),  # seeking leaves the pixels' shape
        ("derived/vp9.webm", 6),  # no count in the header: made up from the duration
    ],
)
def test_conversion_noise_is_no_difference(data, tmp_path, capsys, name, different):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "clip.mp4").symlink_to(data / "torture" / name)
    rows, _ = run_parity(capsys, tmp_path, tmp_path / "d.csv")
    assert [int(row["different"]) for row in rows] == [different] * (2 if different else 0)


@pytest.mark.parametrize("size", [(64, 48), (63, 48), (64, 47)])
def test_plain_formats_of_even_sizes_leave_no_room_for_noise(tmp_path, make_clip, size):
    clip = make_clip(tmp_path / "clip.mkv", size=size)
    assert conversion_noise(clip) == (0 if size == (64, 48) else NOISE)


def test_the_rate_is_a_number_or_unknown(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mp4", codec="libx264", rate=10)
    reading = read_by_seeking(clip, SMALL)
    assert reading.rate == 10
    assert not any(map(math.isnan, reading.frame_time))
