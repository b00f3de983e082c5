"""Frames of one clip as the published notebooks took them: OpenCV seeks to each by its number.

Kept for comparison with them; `video.read_frames` gives the frames that are meant. Seeking goes by
the frame count of the file's header, which can be wrong, and OpenCV turns a number into a time and
back, which can give a neighbour. Pixels that are not square are left so.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from noctact.containers import is_cut_off
from noctact.errors import NoctactError
from noctact.sampling import FrameSettings, by_index
from noctact.video import Image, Reading, UndecodableError, letterbox, open_video

# What FFmpeg says of a damaged clip is in the error; OpenCV reads this when it opens the first one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# OpenCV takes as many as there are cores, and some clips give other frames with other numbers of
# threads. Two, as on the notebooks' machines, give the same on any machine.
THREADS = [cv2.CAP_PROP_N_THREADS, 2]


def check(clip: Path) -> None:
    """Keep from OpenCV what it must not open; raises UndecodableError.

    Its FFmpeg opens texts and playlists as well. Of interlaced frames OpenCV 5.0 gives the picture
    as its memory happens to be, for it does not notice that their conversion fails.
    """
    with open_video(clip) as (_, stream):
        if stream.codec_context.field_order > 1:  # 0: not said, 1: progressive
            raise UndecodableError(
                "interlaced, which OpenCV does not convert; config key frames.decoding: exact does"
            )


@contextmanager
def open_capture(clip: Path) -> Iterator[cv2.VideoCapture]:
    """Open `clip` in OpenCV, by FFmpeg and nothing else.

    Raises UndecodableError as `check` does, and when OpenCV can't open it.
    """
    clip = clip.absolute()  # FFmpeg would take a relative "http:x.mp4" for an address
    check(clip)
    # Left to choose, OpenCV takes the digits in a name for the number in a series of pictures.
    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, THREADS)
    try:
        if not capture.isOpened():
            raise UndecodableError("OpenCV can't open it")
        yield capture
    finally:
        capture.release()


def seek(capture: cv2.VideoCapture, index: int, settings: FrameSettings) -> Image:
    """Frame `index` as OpenCV finds it: uint8 (height, width, 3), RGB, turned as the file says.

    Raises UndecodableError when it finds none.
    """
    capture.set(cv2.CAP_PROP_POS_FRAMES, index)
    found, bgr = capture.read()
    if not found:
        raise UndecodableError(f"OpenCV finds no frame {index}, though the header counts it")
    return letterbox(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), settings.height, settings.width)


def read_by_seeking(clip: Path, settings: FrameSettings) -> Reading:
    """The chosen frames of `clip`; `n_decoded` is the header's count, the times are by its rate.

    Raises UndecodableError when the file is no video, is interlaced, is cut off (unless
    `settings.truncated` is `keep`), or lacks a frame that the header counts; OSError when it can't
    be read; NoctactError when the frames are to be chosen by time.
    """
    if settings.by != "index":
        raise NoctactError(
            "config key frames.by: seeking knows no times; take by: index or decoding: exact"
        )
    if is_cut_off(clip) and settings.truncated == "quarantine":
        raise UndecodableError("the file is cut off")
    with open_capture(clip) as capture:
        n_frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if n_frames < 1:
            raise UndecodableError("the header does not say how many frames there are")
        indices = by_index(settings.sampling, settings.count, n_frames)
        rate = capture.get(cv2.CAP_PROP_FPS) or math.nan
        return Reading(
            frames=np.stack([seek(capture, index, settings) for index in indices]),
            frame_index=indices,
            frame_time=[index / rate for index in indices],
            n_decoded=n_frames,
            n_lost=0,
            decoding="seek",
            width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            rate=rate,
        )
