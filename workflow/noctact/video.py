"""Frames of one clip: decode, choose, pad, resize.

Frame i of a clip is the i-th that a decoder gives of the whole stream. Headers count frames that
are not there, and time stamps run backwards in AVI files with packed B-frames: neither is trusted.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from noctact.containers import is_cut_off
from noctact.errors import NoctactError
from noctact.sampling import FrameSettings, by_index, by_time

Image = NDArray[np.uint8]

# Containers of video, by FFmpeg's names; what else it opens are texts, pictures and playlists.
# fmt: off
FORMATS = (
    "asf", "avi", "dv", "flv", "gif", "h264", "hevc", "ivf", "m4v", "matroska", "mov", "mpeg",
    "mpegts", "mpegvideo", "mxf", "nut", "ogg", "rm", "webm", "wtv", "yuv4mpegpipe",
)
# fmt: on


class UndecodableError(NoctactError):
    """The clip gives no frames, or not all that it should; the text says why."""


class Reading(NamedTuple):
    """What was read of one clip."""

    frames: Image  # (count, height, width, 3), RGB
    frame_index: list[int]  # of each frame, counted from 0 in the order of decoding
    frame_time: list[float]  # seconds since the first frame; NaN where the file has no time stamps
    n_decoded: int  # frames that the clip decodes to
    n_lost: int  # frames that a truncated clip lacks, as far as its container tells
    decoding: str  # how the frames were come by
    width: int  # of the first frame as a player shows it, in its own pixels
    height: int
    rate: float  # mean frames a second, by the container; NaN when it does not say


def upright(frame: av.VideoFrame) -> Image:
    """`frame` as RGB, uint8 (height, width, 3), turned as its display matrix says.

    The matrix and range of the colours are those that the stream names; deeper samples are
    rounded to 8 bits, alpha is left out.
    """
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    # The display matrix gives degrees counter-clockwise, as rot90 counts.
    return np.rot90(image, round(frame.rotation / 90)) if frame.rotation else image


def letterbox(image: Image, height: int, width: int, pixel_aspect: float = 1.0) -> Image:
    """`image` (h, w, 3) zero-padded to the ratio width:height, then resized (bilinear) to it.

    The padding is centred; an odd pixel goes to the bottom or the right. The shorter side grows
    to `round(h * width / height)` or `round(w * height / width)`; with pixels that are shown
    `pixel_aspect` times as wide as high, w counts that many times.
    """
    h, w = image.shape[:2]
    extra_w = max(0, round(h * width / (height * pixel_aspect)) - w)
    extra_h = max(0, round(w * pixel_aspect * height / width) - h)
    left, top = extra_w // 2, extra_h // 2
    padded = cv2.copyMakeBorder(
        image, top, extra_h - top, left, extra_w - left, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
    return np.asarray(cv2.resize(padded, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


@contextmanager
def open_video(clip: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open `clip` as one of FORMATS, and give its first video stream.

    Raises UndecodableError for any other: FFmpeg would show a text file as a moving picture, and
    follow a playlist to other files and addresses. So for a file without a video stream.
    """
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
    try:
        container = av.open(str(clip), options=options)
    except av.error.ArgumentError as error:
        raise UndecodableError("not a video, by its content") from error
    except (av.FFmpegError, UnicodeError) as error:
        raise UndecodableError(f"not a video, or damaged: {reason(error)}") from error
    with container:
        if not container.streams.video:
            raise UndecodableError("no video stream in the file")
        yield container, container.streams.video[0]


def reason(error: Exception) -> str:
    """What FFmpeg says, without its number and function."""
    return str(error.strerror if isinstance(error, av.FFmpegError) else error)


def read_packets(container: InputContainer, stream: VideoStream) -> tuple[list[av.Packet], str]:
    """The packets of `stream`, and where reading breaks off the reason.

    Only a file that can be read to its end gives the last, empty packet, at which the decoder gives
    the frames that it still holds.
    """
    packets = []
    try:
        for packet in container.demux(stream):
            packets.append(packet)
    except av.FFmpegError as error:
        return packets, reason(error)
    return packets, ""


@dataclass
class Decoded:
    """The outcome of decoding: `images` by frame index, `stamps` of the frames that have any."""

    n_frames: int = 0
    images: dict[int, Image] = field(default_factory=dict)
    stamps: list[int] = field(default_factory=list)
    error: str = ""


def pixel_aspect(stream: VideoStream) -> float:
    """How many times as wide as high a pixel is shown.

    Raises UndecodableError for a ratio that no picture has.
    """
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 1 / 100 <= aspect <= 100:
        raise UndecodableError(f"the file says that its pixels are {aspect:g} times as wide as high")
    return aspect


def show(frame: av.VideoFrame, settings: FrameSettings, aspect: float) -> Image:
    """`frame` as the models see it: uint8 (height, width, 3)."""
    shape = 1 / aspect if frame.rotation % 180 else aspect
    return letterbox(upright(frame), settings.height, settings.width, shape)


def decode_whole(
    stream: VideoStream, packets: list[av.Packet], wanted: Collection[int], settings: FrameSettings
) -> Decoded:
    """Decode all `packets` and keep the `wanted` frames. An error of the decoder ends it."""
    stream.codec_context.thread_count = 1  # the shards are what runs in parallel
    aspect = pixel_aspect(stream)
    decoded = Decoded()
    try:
        for packet in packets:
            for frame in stream.decode(packet):
                if decoded.n_frames in wanted:
                    decoded.images[decoded.n_frames] = show(frame, settings, aspect)
                if frame.pts is not None:
                    decoded.stamps.append(frame.pts)
                decoded.n_frames += 1
    except av.FFmpegError as error:
        decoded.error = reason(error)
    return decoded


def last_duration(packets: list[av.Packet]) -> int:
    """How long the last frame is on screen, in units of the time stamps; 0 where it is not said."""
    stamped = [packet for packet in packets if packet.pts is not None]
    return max(stamped, key=lambda packet: packet.pts).duration or 0 if stamped else 0


def choose(settings: FrameSettings, n_frames: int, stamps: list[int], duration: int) -> list[int]:
    """Indices of the chosen frames of `n_frames`; the last is on screen for `duration`.

    By time, the j-th frame that comes out is on screen from the j-th stamp: packed B-frames carry
    their stamps out of order. Raises UndecodableError where stamps are missing.
    """
    if settings.by == "index":
        return by_index(settings.sampling, settings.count, n_frames)
    if len(stamps) < n_frames:
        raise UndecodableError(
            "frames without time stamps; config key frames.by: index does without them"
        )
    ordered = sorted(stamps)
    return by_time(settings.sampling, settings.count, ordered, ordered[-1] + duration)


def seconds(
    indices: list[int], n_frames: int, stamps: list[int], unit: Fraction | None
) -> list[float]:
    """Times of the frames `indices` since the first frame; NaN where stamps are missing."""
    if len(stamps) < n_frames or unit is None:
        return [math.nan] * len(indices)
    ordered = sorted(stamps)
    return [float((ordered[index] - ordered[0]) * unit) for index in indices]


def expected_frames(container: InputContainer, stream: VideoStream, n_packets: int) -> int:
    """How many frames the file should hold, by the most that its headers or packets promise."""
    if stream.frames or not (container.duration and stream.average_rate):
        return max(stream.frames, n_packets)
    return max(round(container.duration * stream.average_rate / av.time_base), n_packets)


def read_frames(clip: Path, settings: FrameSettings) -> Reading:
    """The chosen frames of `clip`.

    Raises UndecodableError when the file is no video, has no video stream, gives no frame, or is
    truncated (unless `settings.truncated` is `keep`); OSError when the file can't be read.
    """
    cut_off = is_cut_off(clip)  # and what the system says of an unreadable file
    clip = clip.absolute()  # FFmpeg would take a relative "http:x.mp4" for an address
    with open_video(clip) as (container, stream):
        packets, broken = read_packets(container, stream)
        full = [packet for packet in packets if packet.size]
        expected = expected_frames(container, stream, len(full))
        duration = last_duration(full)
        stamps = [packet.pts for packet in full if packet.pts is not None]
        # Which frames to choose depends on their number, which only decoding tells: a guess.
        wanted = choose(settings, len(full), stamps, duration) if full else []
        decoding, decoded = "whole", decode_whole(stream, packets, wanted, settings)
        size = (stream.codec_context.width, stream.codec_context.height)
        rate, unit = stream.average_rate, stream.time_base
    error = decoded.error or broken
    n_lost = max(0, expected - decoded.n_frames) if error or cut_off else 0
    if decoded.n_frames == 0:
        raise UndecodableError(f"no frame can be decoded{error and ': '}{error}")
    if (error or cut_off) and settings.truncated == "quarantine":
        how = f"decoding breaks off: {error}" if error else "the file is cut off"
        raise UndecodableError(f"{how}, after {decoded.n_frames} frames; about {n_lost} are lost")
    wanted = choose(settings, decoded.n_frames, decoded.stamps, duration)
    if not decoded.images.keys() >= {*wanted}:
        with open_video(clip) as (container, stream):
            packets, _ = read_packets(container, stream)
            decoded = decode_whole(stream, packets, wanted, settings)
    return Reading(
        frames=np.stack([decoded.images[index] for index in wanted]),
        frame_index=wanted,
        frame_time=seconds(wanted, decoded.n_frames, decoded.stamps, unit),
        n_decoded=decoded.n_frames,
        n_lost=n_lost,
        decoding=decoding,
        width=size[0],
        height=size[1],
        rate=float(rate) if rate else math.nan,
    )
