"""Frames decoded by skipping equal those of a whole decode, pixel by pixel."""

from collections import Counter
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from noctact.sampling import RULES, FrameSettings, by_index
from noctact.streams import Picture, Unproven, mpeg4, needed, structure
from noctact.streams.h264 import reordering
from noctact.streams.pictures import Bits
from noctact.video import (
    UndecodableError,
    letterbox,
    open_video,
    picture_packet,
    pixel_aspect,
    read_frames,
    read_source,
    upright,
)

SIZE = (112, 80)
N_FRAMES = 70


def pictures(n, width, height):
    """A textured picture that moves, with noise, a flash and cuts."""
    random = np.random.default_rng(7)
    texture = random.integers(0, 90, (height // 6, width // 6, 3), np.uint8)
    large = cv2.resize(texture, (2 * width, 2 * height))
    for i in range(n):
        x, y = int(width / 2 * (1 + np.sin(i / 9))), int(height / 2 * (1 + np.cos(i / 13)))
        image = large[y : y + height, x : x + width].copy()
        image[: height // 4, : width // 4] = i * 7 % 255
        image[random.random((height, width)) < 0.02] = 255
        yield 255 - image if i % 30 == 20 else image


def encode(path, codec, options, pix_fmt="yuv420p", gop=12, b_frames=None, varying=False):
    """Write a clip; the frames of a `varying` one stay on screen for different times."""
    durations = np.random.default_rng(1).integers(10, 120, N_FRAMES)
    times = np.cumsum(durations) if varying else np.arange(N_FRAMES) * 40
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE, pix_fmt
        stream.codec_context.thread_count, stream.codec_context.gop_size = 1, gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if varying:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(pictures(N_FRAMES, *SIZE)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            unit = Fraction(1, 1000) if varying else Fraction(1, 25)
            frame.pts, frame.time_base = int(times[i]) if varying else i, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def x264(text):
    return {"x264-params": text}


SKIPPING = {
    "default.mp4": ("libx264", {}),
    "one_gop.mp4": ("libx264", x264("keyint=infinite")),
    "gop12.mp4": ("libx264", x264("keyint=12")),
    "pyramid.mkv": ("libx264", x264("bframes=8:b-adapt=0:keyint=40")),
    "no_pyramid.mp4": ("libx264", x264("b-pyramid=none:keyint=20")),
    "open_gop.mp4": ("libx264", x264("open-gop=1:keyint=15")),
    "slices.mp4": ("libx264", x264("slices=4:keyint=20")),
    "cavlc.mp4": ("libx264", x264("cabac=0:weightp=2:ref=4")),
    "intra_refresh.mp4": ("libx264", x264("intra-refresh=1:keyint=30")),
    "transport.ts": (
        "libx264",
        x264("aud=1:nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:keyint=25"),
    ),
    "raw.h264": ("libx264", x264("keyint=20")),
    "flash.flv": ("libx264", x264("keyint=20")),
    "b_frames.avi": ("libx264", x264("keyint=20:bframes=2")),
    "baseline.mp4": ("libx264", {"profile": "baseline"}),
    "lossless.mp4": ("libx264", {"qp": "0"}),
    "all_intra.mp4": ("libx264", x264("keyint=1")),
    "matrices.mp4": ("libx264", x264("cqm=jvt:8x8dct=1:keyint=20")),
    "ten_bit.mp4": ("libx264", x264("keyint=20"), {"pix_fmt": "yuv420p10le"}),
    "full_chroma.mp4": ("libx264", x264("keyint=20"), {"pix_fmt": "yuv444p"}),
    "gray.mp4": ("libx264", x264("keyint=20"), {"pix_fmt": "gray"}),
    "varying.mp4": ("libx264", x264("keyint=20"), {"varying": True}),
    "part2.avi": ("mpeg4", {}),
    "part2.mp4": ("mpeg4", {}),
    "part2_b.avi": ("mpeg4", {}, {"b_frames": 2}),
    "part2_b.mp4": ("mpeg4", {"b_strategy": "0"}, {"b_frames": 4, "gop": 30}),
    "part2_quarter.avi": ("mpeg4", {"flags": "+qpel+mv4"}, {"b_frames": 2}),
    "part2_fields.avi": ("mpeg4", {"flags": "+ildct+ilme"}),
    "part2_matrix.mkv": ("mpeg4", {"mpeg_quant": "1"}, {"b_frames": 1}),
    "part2_packets.avi": ("mpeg4", {"ps": "200"}, {"b_frames": 2}),
    "part2_varying.mp4": ("mpeg4", {}, {"varying": True}),
    "part2.ts": ("mpeg4", {}, {"b_frames": 2}),
}
WHOLE = {
    "fields.mp4": ("interlaced", "libx264", x264("tff=1:keyint=20")),
    "part2_fields_b.avi": ("B-VOPs of fields", "mpeg4", {"flags": "+ildct"}, {"b_frames": 2}),
    "partitions.avi": ("data partitions", "mpeg4", {"data_partitioning": "1"}),
    "hevc.mp4": ("codec hevc", "libx265", {"x265-params": "keyint=20:open-gop=1:log-level=none"}),
    "vp9.webm": ("codec vp9", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "vp8.webm": ("codec vp8", "libvpx", {"deadline": "realtime"}),
    "av1.mkv": ("codec libdav1d", "libsvtav1", {"preset": "13"}),
    "part1.mpg": ("codec mpeg1video", "mpeg1video", {}),
    "photos.avi": ("codec mjpeg", "mjpeg", {}, {"pix_fmt": "yuvj420p"}),
    "windows.wmv": ("codec wmv2", "wmv2", {}),
}


def plain(path):
    """All frames by a whole decode, at their own size."""
    with av.open(str(path)) as container:
        return [upright(frame).copy() for frame in container.decode(video=0)]


def assert_exact(path):
    """Check several settings against `plain`; return how the frames were decoded."""
    frames = plain(path)
    for count in (1, 3, 10, len(frames)):
        for rule in RULES:
            reading = read_frames(path, FrameSettings(count, 60, 80, sampling=rule))
            assert reading.n_decoded == len(frames)
            assert reading.frame_index == by_index(rule, count, len(frames))
            for frame, index in zip(reading.frames, reading.frame_index, strict=True):
                np.testing.assert_array_equal(frame, letterbox(frames[index], 60, 80))
    return reading.decoding


@pytest.mark.parametrize("name", SKIPPING)
def test_skipping_gives_the_frames_of_a_whole_decode(tmp_path, name):
    codec, options, *more = SKIPPING[name]
    path = encode(tmp_path / name, codec, options, **(more[0] if more else {}))
    assert assert_exact(path) == "skipping"


@pytest.mark.parametrize("name", WHOLE)
def test_what_can_not_be_proven_is_decoded_whole(tmp_path, name):
    why, codec, options, *more = WHOLE[name]
    path = encode(tmp_path / name, codec, options, **(more[0] if more else {}))
    assert assert_exact(path) == f"whole: {why}"


@pytest.mark.parametrize("name", ["default.mp4", "varying.mp4", "part2_b.avi", "part2_varying.mp4"])
@pytest.mark.parametrize("rule", RULES)
def test_times_are_those_of_a_whole_decode(tmp_path, name, rule):
    codec, options, *more = SKIPPING[name]
    path = encode(tmp_path / name, codec, options, **(more[0] if more else {}))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    starts = sorted(frame.time for frame in frames)
    reading = read_frames(path, FrameSettings(10, 24, 32, sampling=rule, by="time"))
    assert reading.decoding == "skipping"
    for index, time in zip(reading.frame_index, reading.frame_time, strict=True):
        assert time == pytest.approx(starts[index] - starts[0], abs=1e-9)
    # A tenth of the clip's time lies between one chosen moment and the next; the frame on screen
    # at a moment began at most one frame before it.
    longest = max(np.diff(starts))
    steps = np.diff(reading.frame_time)
    assert np.ptp(steps) <= 2 * longest


@pytest.mark.parametrize("name", ["pyramid.mkv", "part2_b.mp4", "part2_quarter.avi", "part2.avi"])
def test_each_frame_alone_is_that_of_a_whole_decode(tmp_path, name):
    """Of one frame only, as little as can be is decoded: what is missing would show."""
    codec, options, *more = SKIPPING[name]
    path = encode(tmp_path / name, codec, options, **(more[0] if more else {}))
    with open_video(path) as (container, stream):
        source, context = read_source(container, stream), stream.codec_context
        found = structure(context.name, context.extradata or b"", map(bytes, source.packets))
    frames = plain(path)
    for index, place in enumerate(found.output):
        with open_video(path) as (container, stream):
            source = read_source(container, stream)
            stream.codec_context.thread_count, stream.codec_context.copy_opaque = 1, True
            packets = [picture_packet(source, found, i) for i in needed(found.pictures, [place])]
            images = {
                frame.opaque: upright(frame)
                for packet in [*packets, None]
                for frame in stream.decode(packet)
            }
        np.testing.assert_array_equal(images[place], frames[index])


def rewrite(source, target, change):
    """Copy the video of `source`, each packet's data through `change(number, data)`."""
    with av.open(str(source)) as container, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(container.demux(video=0)):
            if packet.size:
                changed = av.Packet(change(number, bytes(packet)))
                changed.stream, changed.pts, changed.dts = stream, packet.pts, packet.dts
                changed.time_base = packet.time_base
                copy.mux(changed)
    return target


def test_another_encoder_in_mid_stream_is_unproven(tmp_path):
    """Decoders know the faults of encoders by name: from XviD on, the transform is another."""
    source = encode(tmp_path / "source.avi", "mpeg4", {}, gop=20)

    def name(number, data):
        at = data.index(b"\x00\x00\x01\xb6")
        return data[:at] + b"\x00\x00\x01\xb2XviD0050" + data[at:] if number == 40 else data

    path = rewrite(source, tmp_path / "named.avi", name)
    assert assert_exact(path) == "whole: a change of encoder"


def test_b_frames_beside_a_picture_that_is_not_coded_are_unproven(tmp_path):
    source = encode(tmp_path / "source.avi", "mpeg4", {"b_strategy": "0"}, b_frames=2, gop=30)

    def drop(number, data):
        at = data.index(b"\x00\x00\x01\xb6")
        bits = f"{int.from_bytes(data[at + 4 : at + 8]):032b}"
        end = bits.index("0", 2) + 2 + 5 + 1  # seconds, marker, ticks of 25, marker
        if number % 12 != 7 or bits[:2] != "01":
            return data
        dropped = (bits[:end] + "0").ljust(32, "1")
        return data[: at + 4] + int(dropped, 2).to_bytes(4)

    path = rewrite(source, tmp_path / "dropped.avi", drop)
    assert len(plain(path)) < N_FRAMES
    assert assert_exact(path) == "whole: B-VOPs without two references"


# --- packed B-frames ------------------------------------------------------------------------------


def pack(source, target):
    """Rewrite an MPEG-4 clip as old DivX did: each B-VOP behind its reference in one packet, and a
    VOP that is not coded in its place."""
    with av.open(str(source)) as container:
        data = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    at = data[0].index(b"\x00\x00\x01\xb6")
    data[0] = data[0][:at] + b"\x00\x00\x01\xb2DivX503b1393p" + data[0][at:]
    kinds = [packet[packet.index(b"\x00\x00\x01\xb6") + 4] >> 6 for packet in data]
    packed = []
    for packet, kind in zip(data, kinds, strict=True):
        if kind == 2 and packed and packed[-1] is not None:
            packed[-1] += packet
            packed.append(None)
        elif kind == 2:
            packed[-1] = packet
            packed.append(None)
        else:
            packed.append(packet)
    with av.open(str(target), "w") as container:
        with av.open(str(source)) as original:
            stream = container.add_stream_from_template(original.streams.video[0])
        for i, content in enumerate(packed):
            packet = av.Packet(content or b"\x00\x00\x01\xb6\x51\xcf")
            packet.stream, packet.pts, packet.dts = stream, i, i
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    return target


def test_packed_b_frames_give_the_frames_of_a_whole_decode(tmp_path):
    source = encode(tmp_path / "source.avi", "mpeg4", {"b_strategy": "0"}, b_frames=1, gop=30)
    path = pack(source, tmp_path / "packed.avi")
    assert path.read_bytes().count(b"DivX503b1393p") == 1
    assert len(plain(path)) == N_FRAMES
    assert assert_exact(path) == "skipping"


def assert_chosen_exact(path):
    """Check ten frames against a whole decode, without holding all; return the way of decoding."""
    reading = read_frames(path, FrameSettings(10, 60, 80))
    wanted = dict(zip(reading.frame_index, reading.frames, strict=True))
    n = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            if n in wanted:
                aspect = pixel_aspect(stream)
                shape = 1 / aspect if frame.rotation % 180 else aspect
                np.testing.assert_array_equal(wanted[n], letterbox(upright(frame), 60, 80, shape))
            n += 1
    assert reading.n_decoded == n
    assert reading.frame_index == by_index("left", 10, n)
    return reading.decoding


@pytest.mark.parametrize(
    ("folder", "n"), [("ut_interaction_set1", 60), ("ut_person_crops_set1", 110)]
)
def test_all_real_clips_are_exact(data, folder, n):
    clips = sorted(path for path in (data / folder).rglob("*") if path.is_file())
    assert len(clips) == n
    assert {assert_chosen_exact(clip) for clip in clips} == {"skipping"}


def test_the_odd_files_that_decode_to_their_end_are_exact(data):
    """Those of which frames are lost, and those that can't be opened: test_video.py."""
    ways = Counter()
    for path in sorted(path for path in (data / "torture").rglob("*") if path.is_file()):
        with suppress(UndecodableError):
            ways[assert_chosen_exact(path).split(":")[0]] += 1
    assert ways["skipping"] > 40
    assert ways["whole"] > 15


# --- the parts ------------------------------------------------------------------------------------


def test_exp_golomb_numbers_by_hand():
    """Table 9-2 of ITU-T H.264: 1, 010, 011, 00100, 00101 are 0 to 4."""
    bits = Bits(int("1010011001000010111111111"[:24], 2).to_bytes(3))
    assert [bits.ue() for _ in range(5)] == [0, 1, 2, 3, 4]
    bits = Bits(int("010011001000010100110001", 2).to_bytes(3))
    assert [bits.se() for _ in range(4)] == [1, -1, 2, -2]
    assert bits.u(3) == 0b001


def test_reading_past_the_end_is_unproven():
    with pytest.raises(Unproven):
        Bits(b"\x00\x00").ue()
    with pytest.raises(Unproven):
        Bits(b"\xff").u(9)


def picture(reference, since, telling=False):
    return Picture(0, 0, reference, telling, since)


def test_needed_pictures_by_hand():
    #        0 I    1 P    2 b     3 P    4 b     5 I    6 b (of 3 and 5)  7 P
    refs = [True, True, False, True, False, True, False, True]
    since = [0, 0, 0, 0, 0, 5, 0, 5]
    stream = [picture(*both) for both in zip(refs, since, strict=True)]
    assert needed(stream, [0]) == [0]
    assert needed(stream, [4]) == [0, 1, 3, 4]
    assert needed(stream, [7]) == [5, 7]
    assert needed(stream, [6]) == [0, 1, 3, 5, 6]
    stream[1] = picture(True, 0, telling=True)
    assert needed(stream, [7]) == [0, 1, 5, 7]


def test_reordering_by_hand():
    assert reordering([0, 1, 2, 3]) == 0
    assert reordering([0, 2, 1, 3]) == 1  # I P b P
    assert reordering([0, 3, 2, 4, 1]) == 2  # I P B b b: two wait for the first b


def test_vop_header_by_hand():
    layer = mpeg4.Layer(resolution=30, low_delay=False, interlaced=False)
    # B, one second on, marker, 5 ticks of 30 (5 bits), marker, coded, threshold, quantizer 4,
    # ranges 1 and 2.
    bits = "10101001011100000100001010"
    data = b"\x00\x00\x01\xb6" + int(bits.ljust(32, "1"), 2).to_bytes(4)
    assert mpeg4.parse_header(data, layer) == mpeg4.Header(2, 1, 5, True)
    for damaged in (
        bits.replace("00100001010", "00000001010"),  # quantizer 0
        bits[:-3] + "000",  # no range
        "11" + bits[2:],  # sprites
        "10100" + bits[5:],  # no marker
        "1010111110" + bits[10:],  # 30 ticks of 30
    ):
        data = b"\x00\x00\x01\xb6" + int(damaged.ljust(32, "1"), 2).to_bytes(4)
        with pytest.raises(Unproven):
            mpeg4.parse_header(data, layer)


def test_an_unknown_codec_is_unproven():
    with pytest.raises(Unproven, match="codec vp9"):
        structure("vp9", b"", [])


@pytest.mark.parametrize("name", ["gop12.mp4", "part2_b.mp4"])
def test_each_damaged_header_of_a_picture_is_noticed_or_harmless(tmp_path, name):
    """Flip each of the first 48 bits of a skipped picture, and compare with a whole decode."""
    codec, options, *more = SKIPPING[name]
    path = encode(tmp_path / name, codec, options, **(more[0] if more else {}))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    victim = packets[16]
    whole = path.read_bytes()
    settings = FrameSettings(2, 24, 32, truncated="keep")  # frames 0 and 35
    for bit in range(48):
        data = bytearray(whole)
        data[victim.pos + bit // 8] ^= 128 >> bit % 8
        damaged = Path(tmp_path / f"damaged{path.suffix}")
        damaged.write_bytes(data)
        frames = []
        with av.open(str(damaged)) as container, suppress(av.FFmpegError):
            frames.extend(map(upright, container.decode(video=0)))
        reading = read_frames(damaged, settings)
        assert reading.n_decoded == len(frames)
        for frame, index in zip(reading.frames, reading.frame_index, strict=True):
            np.testing.assert_array_equal(frame, letterbox(frames[index], 24, 32))
