"""The film strip of a clip, and of a row of a shard: what it shows, and what it refuses."""

import math

import cv2
import h5py
import numpy as np
import pytest

from noctact.__main__ import main
from noctact.frames import facts_text, film_strip
from noctact.sampling import FrameSettings
from noctact.shards import ClipFrames, write_shard
from noctact.video import Reading, read_frames


def draw(capsys, *arguments):
    """Run the stage; the path that it prints."""
    code = main(["frames", *map(str, arguments)])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    return captured.out.removesuffix("\n")


def refused(capsys, *arguments):
    """Run the stage, which must fail; its one line on stderr."""
    assert main(["frames", *map(str, arguments)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def show(path):
    """The pixels of a PNG: uint8 (height, width, 3), RGB."""
    return cv2.imread(str(path))[..., ::-1]


def places(image, gray):
    """Where the pixels of that gray level lie: row and column numbers."""
    return np.nonzero((image == gray).all(axis=2))


def assert_nothing_is_cut_off(image):
    assert all((edge == 255).all() for edge in (image[:5], image[-5:], image[:, :5], image[:, -5:]))


def a_reading(frames, **fields):
    count = len(frames)
    facts = {"frame_index": list(range(count)), "frame_time": [i / 25 for i in range(count)]}
    facts |= {"n_decoded": 123, "n_lost": 0, "decoding": "whole", "width": 436, "height": 288}
    return Reading(frames=frames, **(facts | {"rate": 25.0} | fields))


# --- a clip ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gray", [77, 3])  # dark ones are not brightened
def test_the_strip_shows_each_frame_as_it_is(tmp_path, make_clip, capsys, gray):
    clip = make_clip(tmp_path / "clip.mkv", [gray] * 12)
    output = tmp_path / "new" / "strip.png"
    assert draw(capsys, clip, f"--output={output}", "--height=24", "--width=32") == str(output)
    rows, _ = places(show(output), gray)
    # Ten frames of 32 x 24, enlarged ten times; the letters have a few such pixels.
    assert 10 * 320 * 240 <= len(rows) < 10 * 320 * 240 + 1000
    assert_nothing_is_cut_off(show(output))


def test_the_frames_stand_in_rows_of_five(tmp_path, make_clip, capsys):
    clip = make_clip(tmp_path / "clip.mkv", range(100, 240, 20))
    draw(capsys, clip, f"--output={tmp_path / 'strip.png'}", "--count=7", "--height=48")
    image = show(tmp_path / "strip.png")
    # The middle of what has the gray level of each frame; some pixels of letters have it too.
    at = [np.median(places(image, gray), axis=1) for gray in range(100, 240, 20)]
    rows, columns = np.transpose(at)
    np.testing.assert_allclose(rows[:5], rows[0], atol=2)
    np.testing.assert_allclose(rows[5:], rows[5], atol=2)
    assert rows[5] > rows[0] + 100
    assert (np.diff(columns[:5]) > 100).all()
    np.testing.assert_allclose(columns[5:], columns[:2], atol=2)


def test_frames_of_the_published_size_are_shown_pixel_by_pixel(data, tmp_path, capsys):
    clip = data / "ut_interaction_set1" / "hug" / "10_2_1.avi"
    draw(capsys, clip, f"--output={tmp_path / 'strip.png'}")
    image = show(tmp_path / "strip.png")
    for frame in read_frames(clip, FrameSettings(10, 240, 320)).frames:
        away = cv2.matchTemplate(image, frame, cv2.TM_SQDIFF)
        _, _, (column, row), _ = cv2.minMaxLoc(away)
        np.testing.assert_array_equal(image[row : row + 240, column : column + 320], frame)


def test_by_default_the_strip_is_named_as_the_clip_and_lies_here(
    tmp_path, make_clip, capsys, monkeypatch
):
    clip = make_clip(tmp_path / "clips" / "ünï 视频 $x$ 100%.mkv")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time it is replaced
        assert draw(capsys, clip) == "ünï 视频 $x$ 100%-frames.png"
        assert_nothing_is_cut_off(show_bytes(tmp_path / "ünï 视频 $x$ 100%-frames.png"))


def show_bytes(path):
    """As `show`, for any file name."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def test_seeking_can_be_looked_at_too(data, tmp_path, capsys):
    clip = data / "ut_interaction_set1" / "hug" / "10_2_1.avi"
    exact, sought = tmp_path / "exact.png", tmp_path / "sought.png"
    draw(capsys, clip, f"--output={exact}")
    draw(capsys, clip, f"--output={sought}", "--decoding=seek")
    assert (show(exact) != show(sought)).any()


# --- the layout -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "size"),
    [
        *((n, (240, 320)) for n in (1, 2, 5, 6, 50)),
        *((n, size) for n in (1, 6) for size in [(24, 32), (320, 240), (8, 400), (400, 8), (1, 1)]),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "W" * 240 + ".mp4", "a long name " * 20])
def test_nothing_is_cut_off_whatever_the_name_and_size(tmp_path, count, size, name):
    frames = np.full((count, *size, 3), 90, np.uint8)
    decoding = "whole: a long reason why no frame could be skipped" if count > 1 else "whole"
    times = [1234.5] * count
    reading = a_reading(
        frames, frame_index=[98765] * count, frame_time=times, n_lost=17, decoding=decoding
    )
    figure = film_strip(reading, name)
    edges = figure.bbox.padded(-5)
    for text in figure.texts:
        box = text.get_window_extent()
        assert edges.x0 <= box.x0 < box.x1 <= edges.x1
        assert edges.y0 <= box.y0 < box.y1 <= edges.y1
    # No text lies on a picture, or on another text.
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [picture.get_window_extent() for picture in figure.images]
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[i + 1 :])


def test_the_title_and_captions_tell_what_is_shown():
    reading = a_reading(
        np.zeros((2, 48, 64, 3), np.uint8), frame_index=[0, 61], frame_time=[0, 61 / 25]
    )
    title, first, second = (text.get_text() for text in film_strip(reading, "Walk/a.mp4").texts)
    assert title.splitlines()[0] == "Walk/a.mp4"
    assert " ".join(title.splitlines()[1:]) == (
        "2 of 123 frames (25 a second), 436 x 288 shown as 64 x 48, decoding: whole"
    )
    assert (first, second) == ("frame 0\n0.000 s", "frame 61\n2.440 s")


def test_what_is_not_known_is_not_told():
    frames = np.zeros((1, 48, 64, 3), np.uint8)
    reading = a_reading(frames, frame_time=[math.nan], rate=math.nan, n_lost=17)
    assert facts_text(reading).startswith("1 of 123 frames (rate unknown, about 17 lost), ")
    assert film_strip(reading, "a").texts[1].get_text() == "frame 0"
    assert "29.97 a second" in facts_text(a_reading(frames, rate=30000 / 1001))


# --- a row of a shard -----------------------------------------------------------------------------

NAMES = ["Walk/a.mkv", "Walk/é.mkv", "run/b.mkv", "run/c.mkv"]


@pytest.fixture
def shard(tmp_path):
    """A shard of clips of 3 frames, each clip of another gray level: 50, 60, ..."""
    rows = [
        ClipFrames(
            name,
            name.split("/")[0],
            **a_reading(np.full((3, 24, 32, 3), 50 + 10 * row, np.uint8))._asdict(),
        )
        for row, name in enumerate(NAMES)
    ]
    write_shard(tmp_path / "shard-000.h5", rows, (3, 24, 32), {})
    return tmp_path / "shard-000.h5"


@pytest.mark.parametrize("name", ["Walk/é.mkv", "Walk/e\u0301.mkv"])
def test_a_row_of_a_shard_is_shown(shard, tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = draw(capsys, shard, f"--clip={name}")
    rows, _ = places(show_bytes(tmp_path / path), 60)
    assert len(rows) >= 3 * 320 * 240


def test_without_a_name_a_shard_tells_some(shard, capsys):
    line = refused(capsys, shard)
    assert f"{shard}: a shard of 4 clips; choose by --clip: " in line
    assert line.endswith("'Walk/a.mkv', 'Walk/é.mkv', 'run/b.mkv', ...")


def test_a_clip_that_is_not_in_the_shard_is_told_with_what_is_close(shard, capsys):
    line = refused(capsys, shard, "--clip=Walk/A.mkv")
    assert f"{shard}: no clip 'Walk/A.mkv'; do you mean 'Walk/" in line
    assert "it holds 'Walk/a.mkv', " in refused(capsys, shard, "--clip=xyz")


# --- what is refused ------------------------------------------------------------------------------


def test_each_error_names_the_file(tmp_path, make_clip, shard, capsys):
    clip = make_clip(tmp_path / "clip.mkv")
    (tmp_path / "text.mp4").write_text("not a video")
    h5py.File(tmp_path / "other.h5", "w").close()
    for arguments, reason in (
        ([tmp_path / "nowhere.mp4"], "No such file or directory: "),
        ([tmp_path], "Is a directory: "),
        ([tmp_path / "text.mp4"], "text.mp4: a text, not a video"),
        ([tmp_path / "other.h5"], "other.h5: not a shard"),
        ([clip, "--clip=Walk/a.mkv"], "clip.mkv: --clip chooses a clip of a shard"),
        ([clip, "--output=strip.gif"], "strip.gif: a film strip is a .png"),
        ([clip, f"--output={clip / 'x.png'}"], "clip.mkv"),
        ([clip, "--by=time", "--decoding=seek"], "seeking knows no times"),
    ):
        assert reason in refused(capsys, *arguments)
