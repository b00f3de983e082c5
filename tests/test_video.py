"""Sampling, padding and decoding, on clips made here and on the real and damaged ones."""

import json
from fractions import Fraction
from multiprocessing import get_context

import av
import cv2
import numpy as np
import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st

from noctact.video import UndecodableError, letterbox, read_frames, sample, upright

# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_decoded", "count", "indices"),
    [
        (100, 10, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        (10, 10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (15, 10, [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]),
        (19, 4, [0, 4, 9, 14]),
        (3, 10, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]),
        (1, 3, [0, 0, 0]),
        (7, 1, [0]),
    ],
)
def test_sample_by_hand(n_decoded, count, indices):
    assert sample(n_decoded, count) == indices


@given(st.integers(1, 10**7), st.integers(1, 1000))
def test_sample_is_the_exact_rule(n_decoded, count):
    indices = sample(n_decoded, count)
    assert len(indices) == count
    for i, index in enumerate(indices):
        # The whole number next below the rational i * n / count, and a frame that exists.
        assert index <= Fraction(i * n_decoded, count) < index + 1
        assert 0 <= index < n_decoded


def test_sample_agrees_with_the_notebooks_floating_point():
    """A quotient of whole numbers, rounded to a double, never crosses a whole number."""
    for count in range(1, 31):
        for n_decoded in range(1, 1001):
            assert sample(n_decoded, count) == [int(i * n_decoded / count) for i in range(count)]


# --- padding and resizing -------------------------------------------------------------------------


def reference_letterbox(image, height, width):
    """The same by the definition: centred zero padding, then half-pixel-centre bilinear."""
    h, w = image.shape[:2]
    tall, wide = max(h, round(w * height / width)), max(w, round(h * width / height))
    padded = np.zeros((tall, wide, 3))
    top, left = (tall - h) // 2, (wide - w) // 2
    padded[top : top + h, left : left + w] = image

    def neighbours(source, target):
        at = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, source - 1), at - low

    y0, y1, fy = neighbours(tall, height)
    x0, x1, fx = neighbours(wide, width)
    fy, fx = fy[:, None, None], fx[None, :, None]
    upper = padded[y0][:, x0] * (1 - fx) + padded[y0][:, x1] * fx
    lower = padded[y1][:, x0] * (1 - fx) + padded[y1][:, x1] * fx
    return upper * (1 - fy) + lower * fy


def noise(h, w, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)


def assert_like_reference(image, height, width):
    result = letterbox(image, height, width)
    assert result.shape == (height, width, 3)
    assert result.dtype == np.uint8
    assert np.abs(result - reference_letterbox(image, height, width)).max() <= 1


@pytest.mark.parametrize(
    ("h", "w", "height", "width", "white_rows", "white_columns"),
    [
        (3, 4, 3, 4, slice(0, 3), slice(0, 4)),  # the ratio already
        (3, 2, 3, 4, slice(0, 3), slice(1, 3)),  # portrait: one black column on each side
        (3, 3, 3, 4, slice(0, 3), slice(0, 3)),  # an odd column goes to the right
        (1, 4, 3, 4, slice(1, 2), slice(0, 4)),  # wide: one black row above and below
        (2, 4, 3, 4, slice(0, 2), slice(0, 4)),  # an odd row goes to the bottom
        (1, 1, 5, 5, slice(0, 5), slice(0, 5)),  # enlarged
    ],
)
def test_padding_by_hand(h, w, height, width, white_rows, white_columns):
    expected = np.zeros((height, width, 3), np.uint8)
    expected[white_rows, white_columns] = 255
    result = letterbox(np.full((h, w, 3), 255, np.uint8), height, width)
    np.testing.assert_array_equal(result, expected)


def test_resizing_by_hand():
    """4 columns to 2: each is the mean of two. 2 columns to 4: a quarter of the way in between."""
    row = np.array([[[0] * 3, [100] * 3, [200] * 3, [50] * 3]] * 2, np.uint8)
    np.testing.assert_array_equal(letterbox(row, 1, 2)[0, :, 0], [50, 125])
    row = np.array([[[0] * 3, [200] * 3]], np.uint8)
    np.testing.assert_array_equal(letterbox(row, 2, 4)[0, :, 0], [0, 50, 150, 200])


@pytest.mark.parametrize(
    ("h", "w"),
    [
        *((240, 320), (480, 640)),  # the ratio itself
        *((240, 476), (288, 436), (720, 1280), (16, 1024)),  # landscape
        *((436, 288), (1280, 720), (240, 180)),  # portrait
        *((239, 321), (241, 319), (101, 77)),  # odd
        *((1, 1), (1, 57), (57, 1), (2, 3)),
    ],
)
def test_letterbox_equals_the_reference(h, w):
    assert_like_reference(noise(h, w), 240, 320)


@given(*[st.integers(1, 90)] * 4, st.integers(0, 99))
def test_letterbox_equals_the_reference_for_all_sizes(h, w, height, width, seed):
    assert_like_reference(noise(h, w, seed), height, width)


def test_a_turned_view_is_padded_like_its_copy():
    """upright() gives views with negative strides."""
    turned = np.rot90(noise(30, 50))
    np.testing.assert_array_equal(letterbox(turned, 24, 32), letterbox(turned.copy(), 24, 32))


# --- reading clips made here ----------------------------------------------------------------------


def grays(frames):
    """The gray level of each frame; the frame must be plain."""
    assert all(np.ptp(frame.astype(int)) <= 3 for frame in frames)
    return [int(np.median(frame)) for frame in frames]


@pytest.mark.parametrize(("codec", "suffix"), [("ffv1", "mkv"), ("ffv1", "avi")])
@pytest.mark.parametrize(("n", "count"), [(1, 10), (2, 10), (9, 10), (10, 10), (23, 10), (250, 7)])
def test_the_right_frames_are_picked(tmp_path, make_clip, codec, suffix, n, count):
    clip = make_clip(tmp_path / f"clip.{suffix}", range(n), codec=codec)
    frames, indices, n_decoded = read_frames(clip, count, 24, 32)
    assert frames.shape == (count, 24, 32, 3)
    assert frames.dtype == np.uint8
    assert n_decoded == n
    assert indices == [int(i * n / count) for i in range(count)]
    assert grays(frames) == indices


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "avi")])
def test_the_right_frames_are_picked_from_codecs_with_loss(tmp_path, make_clip, codec, suffix):
    clip = make_clip(tmp_path / f"clip.{suffix}", range(0, 240, 10), codec=codec)
    frames, indices, n_decoded = read_frames(clip, 10, 24, 32)
    assert n_decoded == 24
    assert indices == [0, 2, 4, 7, 9, 12, 14, 16, 19, 21]
    assert [round(gray / 10) for gray in grays(frames)] == indices


def test_the_channels_are_red_green_blue(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 4, 3, "bgr0"
        image = np.full((3, 4, 3), (200, 100, 50), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    frames, *_ = read_frames(path, 1, 3, 4)
    np.testing.assert_array_equal(frames[0], image)


def test_frames_are_padded_and_resized(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mkv", [200], size=(24, 24))
    frames, *_ = read_frames(clip, 1, 24, 32)
    columns = [0] * 4 + [200] * 24 + [0] * 4
    np.testing.assert_array_equal(frames[0, :, :, 1], [columns] * 24)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_frames(tmp_path / "nowhere.mp4", 10, 24, 32)


def test_a_folder_is_an_os_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_frames(tmp_path, 10, 24, 32)


@pytest.mark.parametrize("name", ["-i.mkv", "http:x.mkv", "clip%03d.mkv", "a\nb.mkv"])
def test_a_name_that_looks_like_an_option_or_an_address_is_a_file(
    tmp_path, make_clip, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    clip = make_clip(tmp_path / "plain.mkv", [7]).rename(name)
    assert grays(read_frames(clip, 1, 24, 32)[0]) == [7]


# --- the real recordings --------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["hug", "kick", "point", "punch", "push", "shake_hands"])
def test_avi_with_packed_b_frames_gives_frames_in_decode_order(data, label):
    clips = sorted((data / "ut_interaction_set1" / label).glob("*.avi"))
    assert len(clips) == 10
    for clip in clips:
        with av.open(str(clip)) as container:
            plain = list(container.decode(video=0))
        # The trap: frames sorted by their time stamps are others.
        assert [frame.pts for frame in plain] != sorted(frame.pts for frame in plain)
        # At the clip's own size nothing is padded or resized.
        frames, indices, n_decoded = read_frames(clip, 10, plain[0].height, plain[0].width)
        assert n_decoded == len(plain)
        assert indices == [int(i * len(plain) / 10) for i in range(10)]
        for frame, index in zip(frames, indices, strict=True):
            np.testing.assert_array_equal(frame, plain[index].to_ndarray(format="rgb24"))


ROTATED = [
    *("real/rotation/decord__video_0.mov", "real/rotation/decord__video_90.mov"),
    *("real/rotation/decord__video_180.mov", "real/rotation/decord__video_270.mov"),
    *("real/rotation/streamio__ios9.mov", "real/rotation/streamio__sideways movie.mov"),
    "real/rotation/streamio__vertical_video_from_iphone.mov",
    "real/rotation/streamio__horizontal_video_from_iphone.mov",
    *("derived/rotated90_meta.mp4", "derived/rotated180_meta.mp4"),
]


@pytest.mark.parametrize("name", ROTATED)
def test_rotation_is_that_of_opencv(data, name):
    path = data / "torture" / name
    found, bgr = cv2.VideoCapture(str(path)).read()
    assert found
    expected = bgr[..., ::-1].astype(int)
    with av.open(str(path)) as container:
        image = upright(next(container.decode(video=0)))
    assert image.shape == expected.shape
    difference = np.abs(image - expected).mean()
    assert difference < 2
    # Turned by 180 degrees or mirrored it would be another picture.
    for wrong in (image[::-1, ::-1], image[:, ::-1], image[::-1]):
        assert np.abs(wrong - expected).mean() > 5 * max(difference, 1)


# The frames before the damage; the rest can't be decoded, so that the clip counts as unusable.
BREAKS_OFF = {
    "derived/bitflips_mdat.mp4": 3,
    "derived/truncated_half_mdat.mp4": 33,
    "derived/truncated_last_percent.mp4": 53,
    "real/corrupt/decord__corrupted.mp4": 28,
}
EXPECTED = DATA / "torture" / "expected.jsonl"
TORTURE = [json.loads(line) for line in EXPECTED.open()] if EXPECTED.exists() else []


@pytest.fixture(scope="module")
def reader():
    """read_frames in another process, so that a decoder that never ends fails and can be ended."""
    with get_context("spawn").Pool(1) as pool:

        def read(path):
            return pool.apply_async(read_frames, (path, 10, 24, 32)).get(timeout=30)

        yield read


@pytest.mark.parametrize("reference", TORTURE, ids=lambda reference: reference["path"])
def test_every_file_of_the_torture_set_is_read_or_refused(data, reader, reference):
    path = data / "torture" / reference["path"]
    stored_otherwise = not path.is_file() or path.stat().st_size != reference["size"]
    if stored_otherwise and not path.name.endswith("symlink.mp4"):
        pytest.skip("not in this copy of the data")
    if reference["path"] in BREAKS_OFF:
        n = BREAKS_OFF[reference["path"]]
        with pytest.raises(UndecodableError, match=rf"^decoding breaks off after {n} frames: \w+"):
            reader(path)
    elif "err" in reference or stored_otherwise:  # a link may be stored as a text
        with pytest.raises((UndecodableError, FileNotFoundError), match=r"[a-z]+ [a-z]+ [a-z]+"):
            reader(path)
    else:
        frames, indices, n_decoded = reader(path)
        assert n_decoded == reference["n"]
        assert indices == [int(i * n_decoded / 10) for i in range(10)]
        assert frames.shape == (10, 24, 32, 3)


def test_the_list_of_clips_that_break_off_is_that_of_the_reference(data):
    assert {entry["path"]: entry["n"] for entry in TORTURE if "decerr" in entry} == BREAKS_OFF


def test_each_reason_says_what_is_wrong(data, tmp_path):
    (tmp_path / "empty.mp4").touch()
    for path, reason in (
        (data / "torture/derived/audio_only.mp4", "no video stream in the file"),
        (data / "torture/derived/text_named.mp4", "not a video, or damaged: Invalid data found"),
        (tmp_path / "empty.mp4", "not a video, or damaged: Invalid data found"),
    ):
        with pytest.raises(UndecodableError, match=f"^{reason}"):
            read_frames(path, 10, 24, 32)
