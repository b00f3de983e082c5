"""What the tests of several stages share: the real recordings, and clips made on the spot."""

import os
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import settings

# The same examples on each run, and no time limit on a busy machine.
settings.register_profile("noctact", derandomize=True, deadline=None)
settings.load_profile("noctact")

DATA = Path(__file__).parents[2] / "shared" / "data"
OPTIONS = {"libx264": {"qp": "0"}, "mpeg4": {"qmin": "1", "qmax": "1"}}
PIXELS = {"ffv1": "bgr0"}  # as RGB, so that decoding gives the grays back to the digit


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real recordings: read there, never copied."""
    if not DATA.is_dir():
        pytest.skip("no real clips at ../shared/data")
    return DATA


def write_clip(
    path: Path,
    grays: Iterable[int] = range(0, 240, 20),
    size: tuple[int, int] = (32, 24),
    rate: int = 25,
    codec: str = "ffv1",
) -> Path:
    """Write a video, one plain frame for each gray level in `grays`; `size` is (width, height).

    ffv1 (in .mkv or .avi) keeps the levels exactly, libx264 to 1, mpeg4 to about 3.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate), options=OPTIONS.get(codec, {}))
        stream.width, stream.height = size
        stream.pix_fmt = PIXELS.get(codec, "yuv420p")
        stream.codec_context.thread_count = 1
        for gray in grays:
            image = np.full((size[1], size[0], 3), gray, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    """`write_clip`, as a fixture."""
    return write_clip


def write_tree(root: Path, files: Mapping[str, Iterable[str]]) -> Path:
    """Write `files` (file names by folder) below `root`: named as clips, but no videos."""
    for folder, names in files.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).write_bytes(os.fsencode(f"{folder}/{name}"))
    return root


@pytest.fixture(scope="session")
def make_tree() -> Callable[..., Path]:
    """`write_tree`, as a fixture."""
    return write_tree
