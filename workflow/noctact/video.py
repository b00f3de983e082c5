"""Frames of one clip: decode, choose, pad, resize.

Frame i of a clip is the i-th that a decoder gives of the whole stream. Headers count frames that
are not there, and time stamps run backwards in AVI files with packed B-frames: neither is trusted.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from noctact.containers import instead_of_video, is_cut_off
from noctact.errors import NoctactError
from noctact.sampling import FrameSettings, by_index, by_time
from noctact.streams import Structure, Unproven, needed, require, structure

Image = NDArray[np.uint8]
Packet: TypeAlias = "av.Packet[VideoStream]"

# Containers of video, by FFmpeg's names; what else it opens are texts, pictures and playlists.
# fmt: off
FORMATS = (
    "asf", "avi", "dv", "flv", "gif", "h264", "hevc", "ivf", "m4v", "matroska", "mov", "mpeg",
    "mpegts", "mpegvideo", "mxf", "nut", "ogg", "rm", "webm", "wtv", "yuv4mpegpipe",
)
# fmt: on

# What a container can put beside a packet to change how the following are decoded.
CHANGES = {"new_extradata", "param_change"}

# At this level decoders tell of the damage that they patch up. It is read where it matters; errors
# tell the rest.
av.logging.set_level(av.logging.INFO)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").setLevel(logging.CRITICAL + 1)

# One for all frames: to make one costs more than to convert a small frame.
CONVERTER = VideoReformatter()


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
    width: int  # of the first of the frames, turned upright, in its own pixels
    height: int
    rate: float  # mean frames a second, by the container; NaN when it does not say


def upright(frame: av.VideoFrame) -> Image:
    """`frame` as RGB, uint8 (height, width, 3), turned as its display matrix says.

    The matrix and range of the colours are those that the stream names; deeper samples are
    rounded to 8 bits, alpha is left out.
    """
    # One thread, as for decoding: the shards are what runs in parallel.
    rgb = CONVERTER.reformat(frame, format="rgb24", threads=1)
    image = np.asarray(rgb.to_ndarray(), np.uint8)
    # The display matrix gives degrees counter-clockwise, as rot90 counts.
    return np.rot90(image, round(frame.rotation / 90)) if frame.rotation else image


def letterbox(
    image: Image, height: int, width: int, pixel_aspect: float = 1.0, out: Image | None = None
) -> Image:
    """`image` (h, w, 3) zero-padded to the ratio width:height, then resized (bilinear) to it.

    The padding is centred; an odd pixel goes to the bottom or the right. The shorter side grows
    to `round(h * width / height)` or `round(w * height / width)`; with pixels that are shown
    `pixel_aspect` times as wide as high, w counts that many times. Written to `out` if given.

    Raises UndecodableError for sizes that OpenCV does not take, MemoryError when it has too little.
    """
    h, w = image.shape[:2]
    extra_w = max(0, round(h * width / (height * pixel_aspect)) - w)
    extra_h = max(0, round(w * pixel_aspect * height / width) - h)
    left, top = extra_w // 2, extra_h // 2
    borders = (top, extra_h - top, left, extra_w - left)
    try:
        padded = cv2.copyMakeBorder(image, *borders, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        resized = cv2.resize(padded, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
    except cv2.error as error:
        if "Insufficient memory" in str(error):
            raise MemoryError from error
        raise UndecodableError(f"frames of {w} x {h} can't be made {width} x {height}") from error
    return np.asarray(resized, np.uint8)


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
    except (av.error.InvalidDataError, UnicodeError) as error:
        raise UndecodableError(instead_of_video(clip)) from error
    except av.FFmpegError as error:
        raise UndecodableError(f"can't be opened: {reason(error)}") from error
    with container:
        if not container.streams.video:
            raise UndecodableError("no video stream in the file")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise UndecodableError("no decoder for the video stream")
        yield container, stream


def reason(error: Exception) -> str:
    """What FFmpeg says, without its number and function.

    Raises `error` itself when memory ran out, which says nothing of the clip.
    """
    if isinstance(error, MemoryError):
        raise error
    return str(error.strerror if isinstance(error, av.FFmpegError) else error)


class Source(NamedTuple):
    """What reading the packets of a clip tells, before any is decoded."""

    packets: list[Packet]  # with data; the decoder is flushed after them unless `broken`
    broken: str  # why reading them breaks off
    expected: int  # frames that the file should hold, by the most that its headers promise
    last_duration: int  # how long the last frame is on screen, in `unit`; 0 where it is not said
    unit: Fraction | None  # of the time stamps, in seconds
    rate: float


def read_source(container: InputContainer, stream: VideoStream) -> Source:
    """Read all packets of `stream`, and what its headers say."""
    packets, broken = [], ""
    try:
        for packet in container.demux(stream):
            packets.append(packet)
    except av.FFmpegError as error:
        broken = reason(error)
    packets = [packet for packet in packets if packet.size]
    promised = stream.frames
    if not promised and container.duration and stream.average_rate:
        promised = round(container.duration * stream.average_rate / av.time_base)
    stamped = [packet for packet in packets if packet.pts is not None]
    last = max(stamped, key=lambda packet: packet.pts or 0, default=None)
    return Source(
        packets,
        broken,
        expected=max(promised, len(packets)),
        last_duration=(last.duration or 0) if last else 0,
        unit=stream.time_base,
        rate=float(stream.average_rate) if stream.average_rate else math.nan,
    )


@dataclass
class Decoded:
    """The outcome of decoding: `frames` as the models see them, and in which row each index is."""

    frames: Image  # (n, height, width, 3)
    rows: dict[int, int] = field(default_factory=dict)
    n_frames: int = 0
    stamps: list[int] = field(default_factory=list)  # of the frames that have any
    size: tuple[int, int] = (0, 0)  # height and width of the first row before it was resized
    error: str = ""

    def keep(self, index: int, frame: av.VideoFrame, aspect: float) -> None:
        """Take `frame` into the next row."""
        image, out = upright(frame), self.frames[len(self.rows)]
        if not self.rows:
            self.size = image.shape[:2]
        self.rows[index] = len(self.rows)
        shape = 1 / aspect if frame.rotation % 180 else aspect
        letterbox(image, out.shape[0], out.shape[1], shape, out)

    def take(self, indices: list[int]) -> Image:
        """The frames `indices`, in their order."""
        rows = [self.rows[index] for index in indices]
        return self.frames if rows == [*range(len(self.frames))] else self.frames[rows]


def room_for(wanted: set[int], settings: FrameSettings) -> Image:
    """An array for the `wanted` frames."""
    return np.empty((len(wanted), settings.height, settings.width, 3), np.uint8)


def pixel_aspect(stream: VideoStream) -> float:
    """How many times as wide as high a pixel is shown.

    Raises UndecodableError for a ratio that no picture has.
    """
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 1 / 100 <= aspect <= 100:
        raise UndecodableError(
            f"the file says that its pixels are {aspect:g} times as wide as high"
        )
    return aspect


def decode_whole(
    stream: VideoStream, source: Source, wanted: set[int], settings: FrameSettings
) -> Decoded:
    """Decode all packets and keep the `wanted` frames. An error of the decoder ends it."""
    stream.codec_context.thread_count = 1
    aspect = pixel_aspect(stream)
    decoded = Decoded(room_for(wanted, settings))
    flush = [] if source.broken else [None]
    try:
        for packet in [*source.packets, *flush]:
            for frame in stream.decode(packet):
                if decoded.n_frames in wanted:
                    decoded.keep(decoded.n_frames, frame, aspect)
                if frame.pts is not None:
                    decoded.stamps.append(frame.pts)
                decoded.n_frames += 1
    except av.FFmpegError as error:
        decoded.error = reason(error)
    return decoded


def decode_needed(stream: VideoStream, source: Source, settings: FrameSettings) -> Decoded:
    """Decode the chosen frames only, and the pictures that they are made from.

    Raises Unproven when the headers don't tell which those are, before the decoder is used; and
    afterwards unless exactly the pictures asked for come out, in the order that the headers told
    and without a fault.
    """
    context = stream.codec_context
    require(not source.broken and not any(map(is_odd, source.packets)), "damaged packets")
    found = structure(context.name, context.extradata or b"", map(bytes, source.packets))
    pts = [source.packets[picture.stamp].pts for picture in found.pictures]
    stamps = [stamp for stamp in pts if stamp is not None]
    wanted = {*choose(settings, len(found.output), stamps, source.last_duration)}
    decoded = Decoded(room_for(wanted, settings), n_frames=len(found.output), stamps=stamps)
    places = needed(found.pictures, [found.output[index] for index in wanted])
    rank = {place: index for index, place in enumerate(found.output)}
    aspect = pixel_aspect(stream)
    context.thread_count = 1
    context.copy_opaque = True
    context.options = {"err_detect": "explode"}  # stop at what a decoder would patch up
    indices = []
    with av.logging.Capture() as log:  # where decoders tell of what they patch up
        try:
            for packet in [*(picture_packet(source, found, place) for place in places), None]:
                for frame in stream.decode(packet):
                    indices.append(rank.get(cast(int, frame.opaque), -1))
                    if indices[-1] in wanted:
                        decoded.keep(indices[-1], frame, aspect)
        except av.FFmpegError as error:
            raise Unproven("a fault in the stream") from error
    require(not any(origin == context.name for _, origin, _ in log), "a fault in the stream")
    require(
        indices == sorted(rank[place] for place in places), "other frames than the headers told"
    )
    return decoded


def is_odd(packet: Packet) -> bool:
    """True for a packet that the container calls damaged, hidden, or a change of parameters."""
    changes = (data.data_type in CHANGES for data in packet.iter_sidedata())
    return packet.is_corrupt or packet.is_discard or any(changes)


def picture_packet(source: Source, found: Structure, place: int) -> Packet:
    """The packet to decode for the picture at `place`, marked with it."""
    picture = found.pictures[place]
    packet = source.packets[picture.packet]
    if picture.data is not None:
        packet = cast(Packet, av.Packet(picture.data))
    packet.opaque = place
    return packet


def choose(settings: FrameSettings, n_frames: int, stamps: list[int], duration: int) -> list[int]:
    """Indices of the chosen frames of `n_frames`; the last is on screen for `duration`, or as long
    as the one before where that is 0.

    By time, the j-th frame that comes out is on screen from the j-th stamp: packed B-frames carry
    their stamps out of order. Raises UndecodableError where stamps are missing.
    """
    if n_frames == 0:
        return []
    if settings.by == "index":
        return by_index(settings.sampling, settings.count, n_frames)
    if len(stamps) < n_frames:
        raise UndecodableError(
            "frames without time stamps; config key frames.by: index does without them"
        )
    ordered = sorted(stamps)
    duration = duration or ordered[-1] - ordered[-2:][0]
    return by_time(settings.sampling, settings.count, ordered, ordered[-1] + duration)


def seconds(indices: list[int], decoded: Decoded, unit: Fraction | None) -> list[float]:
    """Times of the frames `indices` since the first frame; NaN where stamps are missing."""
    if len(decoded.stamps) < decoded.n_frames or unit is None:
        return [math.nan] * len(indices)
    ordered = sorted(decoded.stamps)
    return [float((ordered[index] - ordered[0]) * unit) for index in indices]


def decode_again(clip: Path, wanted: set[int], settings: FrameSettings) -> Decoded:
    """Open `clip` anew and decode it whole."""
    with open_video(clip) as (container, stream):
        return decode_whole(stream, read_source(container, stream), wanted, settings)


def guess(source: Source, settings: FrameSettings) -> list[int]:
    """The frames to choose if each packet gives one: how many there are only decoding tells."""
    stamps = [packet.pts for packet in source.packets if packet.pts is not None]
    if len(stamps) < len(source.packets):
        settings = settings._replace(by="index")
    return choose(settings, len(source.packets), stamps, source.last_duration)


def read_frames(clip: Path, settings: FrameSettings) -> Reading:
    """The chosen frames of `clip`.

    Raises UndecodableError when the file is no video, has no video stream, gives no frame, or is
    truncated (unless `settings.truncated` is `keep`); OSError when the file can't be read.
    """
    cut_off = is_cut_off(clip)  # and what the system says of an unreadable file
    clip = clip.absolute()  # FFmpeg would take a relative "http:x.mp4" for an address
    decoding, decoded = "skipping", None
    with open_video(clip) as (container, stream):
        source = read_source(container, stream)
        try:
            require(not cut_off, "cut off")
            decoded = decode_needed(stream, source, settings)
        except Unproven as why:
            decoding = f"whole: {why}"
            if not stream.codec_context.is_open:
                decoded = decode_whole(stream, source, {*guess(source, settings)}, settings)
    if decoded is None:  # the decoder was used in vain
        decoded = decode_again(clip, {*guess(source, settings)}, settings)
    error = decoded.error or source.broken
    n_lost = max(0, source.expected - decoded.n_frames) if error or cut_off else 0
    if decoded.n_frames == 0:
        raise UndecodableError(f"no frame can be decoded{error and ': '}{error}")
    if (error or cut_off) and settings.truncated == "quarantine":
        told = f"decoding breaks off after {decoded.n_frames} frames: {error}"
        cut = f"the file is cut off after {decoded.n_frames} frames"
        raise UndecodableError(f"{told if error else cut}; about {n_lost} are lost")
    indices = choose(settings, decoded.n_frames, decoded.stamps, source.last_duration)
    if not decoded.rows.keys() >= {*indices}:
        decoded = decode_again(clip, {*indices}, settings)
    return Reading(
        frames=decoded.take(indices),
        frame_index=indices,
        frame_time=seconds(indices, decoded, source.unit),
        n_decoded=decoded.n_frames,
        n_lost=n_lost,
        decoding=decoding,
        width=decoded.size[1],
        height=decoded.size[0],
        rate=source.rate,
    )
