"""Film strips: the frames of clips, brightened for the viewer."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from noctact.figures.canvas import GREY, STYLE, styled

Image = NDArray[np.uint8]  # (height, width, 3), RGB

# In pixels, so that a picture of `side` or less shows its own pixels, unsmoothed.
SIDE = 160  # of a picture, at most
NARROW = 120  # the width that a narrow one has for its caption
MANY = 24  # clips; where there are more, they are smaller, and two beside each other
SMALL = 80
COLUMNS = 5
GAP = 8
LINE = 22  # of text
TEXT: dict[str, Any] = {"family": "DejaVu Sans Mono", "size": 8, "va": "top", "linespacing": 1.3}
LETTER = 8 / 72 * STYLE["figure.dpi"] * 0.602  # the width of each: the font has one only
BRIGHTENED = "Dark clips are brightened: one value in a hundred becomes white."


class Strip(NamedTuple):
    """Frames of a clip, uint8 (n, height, width, 3) in RGB, and lines on it, the first in bold."""

    frames: NDArray[np.uint8]
    caption: str


class Row(NamedTuple):
    """Clips that belong side by side, and a line above them."""

    title: str
    strips: Sequence[Strip]


class _Block(NamedTuple):
    """A strip, ready to draw: lines in bold, lines below them, pictures."""

    title: list[str]
    text: list[str]
    pictures: list[Image]

    def above(self) -> int:
        """Pixels of the lines."""
        return (len(self.title) + len(self.text)) * LINE

    def height(self) -> int:
        """Pixels in all, with the room below."""
        rows = math.ceil(len(self.pictures) / COLUMNS)
        below = rows * (len(self.pictures[0]) + GAP) + 2 * GAP if rows else GAP
        return self.above() + below


@styled
def errors(strips: Sequence[Strip], title: str) -> Figure:
    """Draw all frames of each clip, five in a row, below its caption.

    Night clips are dark: each is brightened, by the factor under its caption; see `brighten`.
    Without `strips` there is nothing but the title.
    """
    return _sheet([Row("", strips)], title, BRIGHTENED, SIDE, across=1)


@styled
def contact_sheet(rows: Sequence[Row], title: str, text: str) -> Figure:
    """Draw up to five frames of each clip, two clips beside each other, row by row.

    Noise of single pixels is taken out, and each clip is brightened; see `denoise` and `brighten`.
    `text` is below the title. Without `rows` there is nothing but the two.
    """
    chosen = [
        Row(
            row.title,
            [
                Strip(denoise(each.frames[_spread(len(each.frames))]), each.caption)
                for each in row.strips
            ],
        )
        for row in rows
    ]
    return _sheet(chosen, title, text, SIDE, across=2)


@styled
def examples(strips: Sequence[Strip]) -> Figure:
    """Draw up to five frames of each clip in one row, else as `errors`."""
    chosen = [Strip(frames[_spread(len(frames))], caption) for frames, caption in strips]
    side, across = (SMALL, 2) if len(strips) > MANY else (SIDE, 1)
    return _sheet([Row("", chosen)], "One clip of each class", BRIGHTENED, side, across)


def _spread(count: int) -> NDArray[np.intp]:
    """Give up to COLUMNS of `count` places, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, COLUMNS).round().astype(np.intp))


def thumbnail(image: Image, side: int) -> Image:
    """`image` with its longer side at most `side`, small ones enlarged by a whole number."""
    scale = side / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(length * scale)) for length in image.shape[:2])
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return image.repeat(int(scale), axis=0).repeat(int(scale), axis=1)


def brighten(frames: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Multiply all values by one factor that makes their 99th percentile white; never darker.

    Gives the frames and the factor, from 1 to 255.
    """
    factor = 255 / max(1.0, float(np.percentile(frames, 99)))
    return np.minimum(np.rint(frames * np.float32(factor)), 255).astype(np.uint8), factor


def denoise(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take out noise of single pixels: the median of 3 x 3 pixels, colour by colour."""
    return np.stack([np.asarray(cv2.medianBlur(frame, 3), np.uint8) for frame in frames])


def _wrap(text: str, width: int) -> list[str]:
    """Break `text` into lines of `width` pixels at most, less a margin."""
    return textwrap.wrap(text, int((width - 2 * GAP) / LETTER))


def _sheet(rows: Sequence[Row], title: str, text: str, side: int, across: int) -> Figure:
    """Draw the clips, `across` beside each other, with pictures of `side` pixels or less.

    Laid out by pixels, from the top: automatic layouts scale the pictures.
    """
    small = [
        [np.stack([thumbnail(frame, side) for frame in strip.frames]) for strip in row.strips]
        for row in rows
    ]
    widths = [frames.shape[2] for row in small for frames in row]
    wide = max([*widths, NARROW * side // SIDE])
    step = COLUMNS * (wide + GAP) + 2 * GAP
    width = across * step
    head = _Block(_wrap(title, width), _wrap(text, width) if widths else [], [])
    places, y = [(head, 2 * GAP, GAP)], head.above() + 3 * GAP
    for row, clips in zip(rows, small, strict=True):
        blocks = [_block(*each, step) for each in zip(row.strips, clips, strict=True)]
        if row.title:
            above = _Block(_wrap(row.title, width), [], [])
            places.append((above, 2 * GAP, y))
            y += above.height()
        for n in range(0, len(blocks), across):
            beside = _level(blocks[n : n + across])
            places += [(block, 2 * GAP + k * step, y) for k, block in enumerate(beside)]
            y += max(block.height() for block in beside)
    figure = Figure(figsize=(width / STYLE["figure.dpi"], y / STYLE["figure.dpi"]))
    for block, left, top in places:
        _draw(figure, block, left, y - top)
    return figure


def _block(strip: Strip, frames: NDArray[np.uint8], width: int) -> _Block:
    """Make a strip ready to draw: `frames` are its pictures, at their final size."""
    bright, factor = brighten(frames)
    first, *more = strip.caption.splitlines()
    text = ", ".join([*more, f"brightened {factor:.1f} times"])
    return _Block(_wrap(first, width), _wrap(text, width), list(bright))


def _level(blocks: Sequence[_Block]) -> list[_Block]:
    """Fill up the lines of blocks beside each other, so that their pictures are on one level."""
    high = max(block.above() for block in blocks)
    return [
        block._replace(text=block.text + [""] * ((high - block.above()) // LINE))
        for block in blocks
    ]


def _draw(figure: Figure, block: _Block, left: int, top: int) -> None:
    """Draw a block, `left` and `top` pixels from the lower left corner."""
    _write(figure, block.title, left, top, {"weight": "bold"})
    _write(figure, block.text, left, top - len(block.title) * LINE, {"color": GREY})
    for n, picture in enumerate(block.pictures):
        high, wide = picture.shape[:2]
        down = block.above() + n // COLUMNS * (high + GAP) + high
        right = left + n % COLUMNS * (wide + GAP)
        figure.figimage(picture, right, top - down, origin="upper")


def _write(
    figure: Figure, lines: Sequence[str], left: int, top: int, looks: dict[str, Any]
) -> None:
    """Write lines at a place in pixels from the lower left corner."""
    width, height = figure.get_size_inches() * figure.dpi
    for n, line in enumerate(lines):
        figure.text(left / width, (top - n * LINE) / height, line, **(TEXT | looks))
