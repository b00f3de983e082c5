"""Padding, decoding and colours, on clips made here and on the real and damaged ones."""

import json
from multiprocessing import get_context

import av
import cv2
import numpy as np
import pytest
from conftest import DATA
from hypothesis import given
from hypothesis import strategies as st

from noctact.containers import is_cut_off
from noctact.sampling import FrameSettings
from noctact.video import UndecodableError, letterbox, read_frames, upright

SMALL = FrameSettings(10, 24, 32)
KEEP = SMALL._replace(truncated="keep")

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
    frames, indices, _, n_decoded, *_ = read_frames(clip, FrameSettings(count, 24, 32))
    assert frames.shape == (count, 24, 32, 3)
    assert frames.dtype == np.uint8
    assert n_decoded == n
    assert indices == [int(i * n / count) for i in range(count)]
    assert grays(frames) == indices


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "avi")])
def test_the_right_frames_are_picked_from_codecs_with_loss(tmp_path, make_clip, codec, suffix):
    clip = make_clip(tmp_path / f"clip.{suffix}", range(0, 240, 10), codec=codec)
    frames, indices, _, n_decoded, *_ = read_frames(clip, SMALL)
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
    frames, *_ = read_frames(path, FrameSettings(1, 3, 4))
    np.testing.assert_array_equal(frames[0], image)


def test_frames_are_padded_and_resized(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.mkv", [200], size=(24, 24))
    frames, *_ = read_frames(clip, FrameSettings(1, 24, 32))
    columns = [0] * 4 + [200] * 24 + [0] * 4
    np.testing.assert_array_equal(frames[0, :, :, 1], [columns] * 24)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_frames(tmp_path / "nowhere.mp4", SMALL)


def test_a_folder_is_an_os_error(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_frames(tmp_path, SMALL)


@pytest.mark.parametrize("name", ["-i.mkv", "http:x.mkv", "clip%03d.mkv", "a\nb.mkv"])
def test_a_name_that_looks_like_an_option_or_an_address_is_a_file(
    tmp_path, make_clip, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    clip = make_clip(tmp_path / "plain.mkv", [7]).rename(name)
    assert grays(read_frames(clip, FrameSettings(1, 24, 32))[0]) == [7]


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
        settings = FrameSettings(10, plain[0].height, plain[0].width)
        frames, indices, _, n_decoded, *_ = read_frames(clip, settings)
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


# Damaged clips: the frames that decode, and about how many are lost.
LOST = {
    "derived/bitflips_mdat.mp4": (3, 54),
    "derived/truncated_half.avi": (65, 70),
    "derived/truncated_half_mdat.mp4": (33, 24),
    "derived/truncated_last_percent.mp4": (53, 4),
    "real/corrupt/decord__corrupted.mp4": (28, 22),
}
EXPECTED = DATA / "torture" / "expected.jsonl"
TORTURE = [json.loads(line) for line in EXPECTED.open()] if EXPECTED.exists() else []


@pytest.fixture(scope="module")
def reader():
    """read_frames in another process, so that a decoder that never ends fails and can be ended."""
    with get_context("spawn").Pool(1) as pool:

        def read(path, settings):
            return pool.apply_async(read_frames, (path, settings)).get(timeout=30)

        yield read


@pytest.mark.parametrize("reference", TORTURE, ids=lambda reference: reference["path"])
def test_every_file_of_the_torture_set_is_read_or_refused(data, reader, reference):
    path = data / "torture" / reference["path"]
    stored_otherwise = not path.is_file() or path.stat().st_size != reference["size"]
    if stored_otherwise and not path.name.endswith("symlink.mp4"):
        pytest.skip("not in this copy of the data")
    if "err" in reference or stored_otherwise:  # a link may be stored as a text
        with pytest.raises((UndecodableError, FileNotFoundError), match=r"[a-z]+ [a-z]+ [a-z]+"):
            reader(path, SMALL)
        return
    n, lost = LOST.get(reference["path"], (reference["n"], 0))
    assert n == reference["n"]
    if lost:
        with pytest.raises(UndecodableError, match=f"after {n} frames.* about {lost} are lost"):
            reader(path, SMALL)
    reading = reader(path, KEEP if lost else SMALL)
    assert (reading.n_decoded, reading.n_lost) == (n, lost)
    assert reading.frame_index == [int(i * n / 10) for i in range(10)]
    assert reading.frames.shape == (10, 24, 32, 3)


def test_the_clips_that_break_off_are_those_of_the_reference(data):
    assert {entry["path"] for entry in TORTURE if "decerr" in entry} == LOST.keys() - {
        "derived/truncated_half.avi"  # cut between two frames: no decoder says a word
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        ("Zusammenfassung: naïve\n".encode() * 9, "a text, not a video"),
        (bytes(range(256)) * 9, "not a video, or damaged beyond reading"),
    ],
)
def test_each_reason_says_what_is_wrong(tmp_path, content, reason):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(UndecodableError, match=f"^{reason}"):
        read_frames(tmp_path / "clip.mp4", SMALL)


def test_a_file_without_video_says_so(data):
    with pytest.raises(UndecodableError, match="no video stream in the file"):
        read_frames(data / "torture/derived/audio_only.mp4", SMALL)


# --- files that are cut off -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("mkv", "ffv1")]
)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_clip_that_is_cut_off_is_refused_or_kept_with_the_loss(
    tmp_path, make_clip, suffix, codec, part
):
    whole = make_clip(tmp_path / f"whole.{suffix}", range(100), size=(64, 48), codec=codec)
    if suffix == "mp4":  # its index at the front, as on the web
        with (
            av.open(str(whole)) as source,
            av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        whole = tmp_path / "front.mp4"
    cut = tmp_path / f"cut.{suffix}"
    data = whole.read_bytes()
    # By frames: the index may be as long as the frames of such a small clip.
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    cut.write_bytes(data[: places[round(100 * part)] + 3])
    with pytest.raises(UndecodableError, match=r"about \d+ are lost"):
        read_frames(cut, SMALL)
    reading = read_frames(cut, KEEP)
    assert reading.n_decoded + reading.n_lost == 100
    assert abs(reading.n_decoded - 100 * part) <= 4  # a decoder may hold some back
    assert reading.decoding == "whole: cut off"
    levels = grays(reading.frames)
    assert np.abs(np.subtract(levels, reading.frame_index)).max() <= 3
    assert not read_frames(whole, SMALL).n_lost


def test_a_cut_is_seen_behind_boxes_of_all_kinds(tmp_path, make_clip):
    data = make_clip(tmp_path / "whole.mp4", range(100), codec="libx264").read_bytes()
    box = (16).to_bytes(4) + b"uuid" + bytes(8)
    at = int.from_bytes(data[:4])  # behind the first box
    (tmp_path / "cut.mp4").write_bytes(data[:at] + box + data[at : at + 500])
    assert is_cut_off(tmp_path / "cut.mp4")
    (tmp_path / "more.mp4").write_bytes(data[:at] + box + data[at:])
    assert not is_cut_off(tmp_path / "more.mp4")


def test_padding_after_the_end_of_a_file_is_no_loss(tmp_path, make_clip):
    clip = make_clip(tmp_path / "clip.avi", range(30))
    clip.write_bytes(clip.read_bytes() + b"LIST\xff\xff\xff\x0fmovi" + bytes(2000))
    assert read_frames(clip, SMALL).n_decoded == 30


# --- colours and shapes ---------------------------------------------------------------------------


def write_colour(path, codec, pix_fmt, colour, size=(32, 24), **options):
    """A clip of one frame of one colour, given in the samples of `pix_fmt`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        for frame in [av.VideoFrame.from_ndarray(colour, format=pix_fmt), None]:
            container.mux(stream.encode(frame))
    return path


def flat(shape, levels, dtype):
    return np.broadcast_to(np.asarray(levels, dtype), (*shape, len(levels))).copy()


def only_frame(path, height=24, width=32):
    return read_frames(path, FrameSettings(1, height, width)).frames[0]


def test_ten_and_sixteen_bits_are_rounded_to_eight(tmp_path):
    for pix_fmt, level, expected in (
        ("gray16le", 0x8080, 128),
        ("gray10le", 512, 127.5),
        ("gray", 77, 77),
    ):
        image = np.full((24, 32), level, np.uint8 if pix_fmt == "gray" else np.uint16)
        frame = only_frame(write_colour(tmp_path / f"{pix_fmt}.mkv", "ffv1", pix_fmt, image))
        assert np.abs(frame - expected).max() <= 1


def test_alpha_is_left_out(tmp_path):
    image = flat((24, 32), (200, 100, 50, 20), np.uint8)
    frame = only_frame(write_colour(tmp_path / "clip.mov", "png", "rgba", image))
    np.testing.assert_array_equal(frame, image[..., :3])


def test_odd_sizes_lose_no_row_and_no_column(tmp_path):
    image = np.zeros((23, 31, 3), np.uint8)
    image[:, -1] = image[-1] = (255, 0, 255)
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 31, 23, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    np.testing.assert_array_equal(only_frame(tmp_path / "clip.mkv", 23, 31), image)


def test_the_matrix_and_range_that_the_stream_names_are_used(data):
    """A full-range BT.709 clip, against the formula of ITU-R BT.709 (3.2, 3.3)."""
    path = data / "torture/real/codec/torchcodec__bt709_full_range.mp4"
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    y, u, v = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    )
    u, v = (np.kron(part.astype(float) - 128, np.ones((2, 2))) for part in (u, v))
    red, blue = y + 1.5748 * v, y + 1.8556 * u
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    expected = np.clip(np.stack([red, green, blue], -1), 0, 255)
    assert np.abs(upright(frame) - expected).mean() < 1


def test_pixels_that_are_not_square_by_hand():
    white = np.full((4, 2, 3), 255, np.uint8)
    # Pixels twice as wide as high: 2 x 4 of them show 4 x 4. For 8 x 4, one black pixel (which
    # is two wide) goes to each side.
    padded = np.pad(white, ((0, 0), (1, 1), (0, 0)))
    expected = cv2.resize(padded, (8, 4), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(letterbox(white, 4, 8, pixel_aspect=2), expected)
    # Half as wide as high: they show 1 x 4. For 2 x 4, one black pixel goes to each side.
    padded = np.pad(white, ((0, 0), (1, 1), (0, 0)))
    expected = cv2.resize(padded, (2, 4), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(letterbox(white, 4, 2, pixel_aspect=0.5), expected)


def test_pixels_that_are_not_square_are_shown_as_a_player_would(data):
    square = read_frames(data / "torture/derived/base_faststart.mp4", FrameSettings(3, 240, 320))
    wide = read_frames(data / "torture/derived/anamorphic_sar2.mp4", FrameSettings(3, 240, 320))
    # 436 x 288 shown as 872 x 288: 320 x 106, between black bars of 67 rows.
    rows = np.flatnonzero(wide.frames.max((0, 2, 3)) > 8)
    assert (rows[0], rows[-1]) == pytest.approx((67, 172), abs=1)
    # The same picture as the square one, pressed to that height.
    content = wide.frames[0][rows[0] : rows[-1] + 1]
    inner = np.flatnonzero(square.frames.max((0, 2, 3)) > 8)
    pressed = cv2.resize(square.frames[0][inner[0] : inner[-1] + 1], (320, len(rows)))
    assert np.abs(content.astype(int) - pressed).mean() < 8


def test_each_frame_of_changing_size_is_padded_by_its_own(data):
    path = data / "torture/derived/res_change.ts"
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        aspect = float(container.streams.video[0].sample_aspect_ratio)
    assert len({(frame.width, frame.height) for frame in frames}) == 2
    reading = read_frames(path, FrameSettings(len(frames), 48, 64))
    for frame, image in zip(frames, reading.frames, strict=True):
        np.testing.assert_array_equal(image, letterbox(upright(frame), 48, 64, aspect))


def test_an_impossible_shape_of_pixels_is_told(tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 304, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 250
        frame = av.VideoFrame.from_ndarray(np.zeros((304, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UndecodableError, match="pixels are 250 times as wide as high"):
        read_frames(tmp_path / "clip.mp4", SMALL)
