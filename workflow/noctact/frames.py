"""Stage frames: a film strip of what the models see of one clip, from its file or from a shard."""

import argparse
import math
import textwrap
import unicodedata
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import h5py
from matplotlib import style
from matplotlib.figure import Figure

from noctact.arguments import add_frame_settings, frame_settings
from noctact.errors import NoctactError
from noctact.extract import read_clip
from noctact.figures import STYLE, save
from noctact.figures.strips import thumbnail
from noctact.sampling import FrameSettings
from noctact.shards import Shards, read_columns
from noctact.video import Reading, UndecodableError

FACTS = [name for name in Reading._fields if name != "frames"]

# Pixels of the strip, so that a picture of this side or less shows its own pixels, unsmoothed.
SIDE = 320
GAP = 20
LINE = 22  # of text
CAPTION = 6 + 2 * LINE
COLUMNS = 5
TEXT: dict[str, Any] = {"family": "DejaVu Sans Mono", "size": 8, "va": "top", "linespacing": 1.3}
LETTER = 8 / 72 * STYLE["figure.dpi"] * 0.602  # the width of each: the font has one only


def read_file(file: Path, settings: FrameSettings) -> Reading:
    """Read a clip as stage extract does; raises NoctactError for one that can't be read."""
    try:
        return read_clip(settings, file)
    except UndecodableError as error:
        raise NoctactError(f"{file}: {error}") from error


def read_row(file: Path, video_id: str | None) -> Reading:
    """The row of `video_id` in a shard.

    Raises NoctactError when it is not there, and as `shards.read_columns` does.
    """
    columns = read_columns(file, ["video_id", *FACTS])
    names = list(columns["video_id"])
    some = ", ".join(map(repr, names[:3])) or "nothing"
    some += ", ..." if len(names) > 3 else ""
    if video_id is None:
        raise NoctactError(f"{file}: a shard of {len(names)} clips; choose by --clip: {some}")
    video_id = unicodedata.normalize("NFC", video_id)
    if video_id not in names:
        close = ", ".join(map(repr, get_close_matches(video_id, names)))
        hint = f"do you mean {close}?" if close else f"it holds {some}."
        raise NoctactError(
            f"{file}: no clip {video_id!r}; {hint} The manifest.csv of the run tells each clip's "
            "shard"
        )
    row = names.index(video_id)
    facts = {name: columns[name][row] for name in FACTS}
    return Reading(frames=Shards([file]).read([video_id])[0], **facts)


def facts_text(reading: Reading) -> str:
    """What is to be known of the clip, in one sentence."""
    count, height, width = reading.frames.shape[:3]
    rate = "rate unknown" if math.isnan(reading.rate) else f"{round(reading.rate, 2):g} a second"
    lost = f", about {reading.n_lost} lost" if reading.n_lost else ""
    return (
        f"{count} of {reading.n_decoded} frames ({rate}{lost}), {reading.width} x {reading.height} "
        f"shown as {width} x {height}, decoding: {reading.decoding}"
    )


@style.context(STYLE, after_reset=True)
def film_strip(reading: Reading, name: str) -> Figure:
    """Draw the frames of `reading` in rows of COLUMNS, below the `name` and facts of the clip.

    Each has its index, from 0, and its time under it. Laid out by pixels: automatic layouts scale
    the pictures.
    """
    pictures = [thumbnail(frame, SIDE) for frame in reading.frames]
    high, wide = pictures[0].shape[0], max(pictures[0].shape[1], SIDE // 2)  # for the caption
    columns = min(COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width = max(columns * (wide + GAP), 2 * SIDE) + GAP
    letters = int((width - 2 * GAP) / LETTER)
    title = [*textwrap.wrap(name, letters), *textwrap.wrap(facts_text(reading), letters)]
    top = len(title) * LINE + 2 * GAP
    height = top + rows * (high + CAPTION + GAP)
    figure = Figure(figsize=(width / STYLE["figure.dpi"], height / STYLE["figure.dpi"]))
    figure.text(GAP / width, 1 - GAP / height, "\n".join(title), **TEXT)
    for place, picture in enumerate(pictures):
        x = GAP + place % columns * (wide + GAP)
        y = height - top - place // columns * (high + CAPTION + GAP)
        figure.figimage(picture, x, y - picture.shape[0], origin="upper")
        index, time = reading.frame_index[place], reading.frame_time[place]
        caption = f"frame {index}" if math.isnan(time) else f"frame {index}\n{time:.3f} s"
        figure.text(x / width, (y - picture.shape[0] - 6) / height, caption, **TEXT)
    return figure


def frames(file: Path, video_id: str | None, settings: FrameSettings, output: Path | None) -> None:
    """Write the film strip of a clip, or of row `video_id` of a shard, and print where to.

    Raises NoctactError as `read_file` and `read_row` do, for `video_id` without a shard, and for
    an `output` that is no .png.
    """
    if h5py.is_hdf5(file):
        reading, name = read_row(file, video_id), video_id or ""
    elif video_id is None:
        reading, name = read_file(file, settings), file.name
    else:
        raise NoctactError(f"{file}: --clip chooses a clip of a shard, and this is none")
    output = output or Path(f"{Path(name).stem}-frames.png")
    if output.suffix != ".png":
        raise NoctactError(f"{output}: a film strip is a .png; change the name")
    output.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font draws a box for those it lacks
        save(film_strip(reading, name), output)
    print(output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("file", type=Path, help="a clip, or a shard (.h5) of stage extract")
    parser.add_argument("--clip", help="<class>/<file name> of a clip of the shard")
    parser.add_argument("--output", type=Path, help="PNG to write; default: <clip>-frames.png here")
    add_frame_settings(parser)  # for a clip: a shard has its own


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    frames(args.file, args.clip, frame_settings(args), args.output)
