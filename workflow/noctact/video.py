"""Frames of one clip: decode, sample, pad, resize."""

from collections.abc import Sequence
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from noctact.errors import NoctactError

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


def sample(n_decoded: int, count: int) -> list[int]:
    """Indices of the `count` frames chosen from `n_decoded`: `int(i * n_decoded / count)`.

    The rule of the published notebooks, in whole numbers. A clip shorter than `count` repeats
    frames.
    """
    return [i * n_decoded // count for i in range(count)]


def upright(frame: av.VideoFrame) -> Image:
    """`frame` as RGB, uint8 (height, width, 3), turned as its display matrix says."""
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    # The display matrix gives degrees counter-clockwise, as rot90 counts.
    return np.rot90(image, round(frame.rotation / 90)) if frame.rotation else image


def letterbox(image: Image, height: int, width: int) -> Image:
    """`image` (h, w, 3) zero-padded to the ratio width:height, then resized (bilinear) to it.

    The padding is centred; an odd pixel goes to the bottom or the right. The shorter side grows
    to `round(h * width / height)` or `round(w * height / width)`.
    """
    h, w = image.shape[:2]
    extra_w = max(0, round(h * width / height) - w)
    extra_h = max(0, round(w * height / width) - h)
    left, top = extra_w // 2, extra_h // 2
    padded = cv2.copyMakeBorder(
        image, top, extra_h - top, left, extra_w - left, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
    return np.asarray(cv2.resize(padded, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def open_video(clip: Path) -> InputContainer:
    """Open `clip` as one of FORMATS.

    Raises UndecodableError for any other: FFmpeg would show a text file as a moving picture, and
    follow a playlist to other files and addresses.
    """
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
    try:
        return av.open(str(clip), options=options)
    except av.error.ArgumentError as error:
        raise UndecodableError("not a video, by its content") from error


def packet_count(clip: Path) -> int:
    """Packets of the first video stream: nearly always the number of frames, at no decoding.

    Raises UndecodableError when there is no video stream.
    """
    with open_video(clip) as container:
        if not container.streams.video:
            raise UndecodableError("no video stream in the file")
        return sum(packet.size > 0 for packet in container.demux(container.streams.video[0]))


def decode(
    clip: Path, wanted: Sequence[int], height: int, width: int
) -> tuple[int, dict[int, Image]]:
    """Decode all of `clip`; return the number of frames, and the `wanted` ones by their index,
    letterboxed to (height, width, 3).

    The index of a frame is its place in the order in which the decoder gives them: time stamps
    run backwards in AVI files with packed B-frames, and headers count frames that are not there.
    """
    chosen = set(wanted)
    images = {}
    n_decoded = 0
    with open_video(clip) as container:
        # One thread a clip: the clips of a shard, and the shards, are what runs in parallel.
        container.streams.video[0].codec_context.thread_count = 1
        try:
            for frame in container.decode(video=0):
                if n_decoded in chosen:
                    images[n_decoded] = letterbox(upright(frame), height, width)
                n_decoded += 1
        except av.FFmpegError as error:
            raise UndecodableError(
                f"decoding breaks off after {n_decoded} frames: {error.strerror}"
            ) from error
    return n_decoded, images


def read_frames(clip: Path, count: int, height: int, width: int) -> tuple[Image, list[int], int]:
    """The sampled frames of `clip` as uint8 (count, height, width, 3), their indices, and the
    number of frames that the clip decodes to.

    Raises UndecodableError when the file is no video, has no video stream, gives no frame, or
    when decoding breaks off; OSError when the file can't be read.
    """
    clip.open("rb").close()  # what the system says of an unreadable file is clearer than FFmpeg
    clip = clip.absolute()  # FFmpeg would take a relative "http:x.mp4" for an address
    try:
        guess = packet_count(clip)
        n_decoded, images = decode(clip, sample(guess, count), height, width)
        if n_decoded != guess:
            # The frames to choose depend on the number of frames, which only decoding tells.
            n_decoded, images = decode(clip, sample(n_decoded, count), height, width)
    except (av.FFmpegError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, av.FFmpegError) else error
        raise UndecodableError(f"not a video, or damaged: {reason}") from error
    if n_decoded == 0:
        raise UndecodableError("no frame can be decoded")
    indices = sample(n_decoded, count)
    return np.stack([images[index] for index in indices]), indices, n_decoded
