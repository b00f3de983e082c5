"""The pictures of a survey: what is drawn of the data, and which clips are shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noctact import figures
from noctact.figures.canvas import records
from noctact.origins import OTHER, frame_rate, frame_size, most_frequent
from noctact.readable import shortened
from noctact.shards import Shards

LETTERS = 32  # of a name in a figure
LETTERS_OF_CLIP = 60
QUANTILES = {"low": 0.0, "quarter": 0.25, "middle": 0.5, "three_quarters": 0.75, "high": 1.0}
GROUPS_SHOWN = 4
CLIPS_SHOWN = 4  # of a group
PAIRS_SHOWN = 8
NOTE = (
    "Each clip as the models get it, but without noise of single pixels, and brightened to be seen."
)
GROUPS_TITLE = "The largest recordings"
PAIRS_TITLE = "The most doubtful pairs"


def draw_figures(
    clips: pd.DataFrame, classes: pd.DataFrame, sources: pd.DataFrame, output: Path
) -> None:
    """Draw what the data are like to the folder `output`.

    `clips` are those of `survey.Data`, `classes` the table of classes, `sources` the clips by
    class and source.
    """
    named = classes.set_index(classes["label"].map(cut))
    figures.write(figures.clips_by_split(named), output / "clips")
    figures.write(figures.recordings(named), output / "recordings")
    lengths = {"length in seconds": quantiles(clips, "length")}
    figures.write(figures.spreads(lengths, "Length of the clips"), output / "lengths")
    light = {
        "mean grey level of a clip (0 to 255)": quantiles(clips, "brightness"),
        "% of pixels that are salt noise": 100 * quantiles(clips, "salt"),
    }
    figures.write(figures.spreads(light, "Brightness and noise"), output / "light")
    formats = {"frame size": ranked(frame_size(clips)), "frame rate": ranked(frame_rate(clips))}
    figures.write(figures.formats(formats), output / "formats")
    figures.write(figures.sources(sources.rename(index=cut, columns=cut)), output / "sources")


def draw_sheets(
    clips: pd.DataFrame, pairs: pd.DataFrame, shards: Shards, output: Path
) -> dict[str, list[str]]:
    """Draw the contact sheets to the folder `output`: the titles of their rows, none for no sheet.

    `clips` and `pairs` are those of `survey.Data`. Without clips to show, the file says so: a file
    that is always there can be missed.
    """
    sheets = {
        "sheet_recordings": (GROUPS_TITLE, "No recording has more than one clip", largest(clips)),
        "sheet_doubtful": (PAIRS_TITLE, "No pair of clips is in doubt", doubtful(pairs)),
    }
    shown = {clip for _, _, rows in sheets.values() for _, members in rows for clip in members}
    facts = {row["video_id"]: row for row in records(clips[clips["video_id"].isin(shown)])}
    for stem, (title, nothing, rows) in sheets.items():
        drawn = [
            figures.Row(text, [strip(facts[clip], shards) for clip in members])
            for text, members in rows
        ]
        figures.write(
            figures.contact_sheet(drawn, title if drawn else nothing, NOTE), output / stem
        )
    return {stem: [text for text, _ in rows] for stem, (_, _, rows) in sheets.items()}


def largest(clips: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """The largest groups of two clips or more: what to write above each, and its first clips."""
    sizes = clips["group"].value_counts().rename("clips").rename_axis("group").reset_index()
    chosen = sizes[sizes["clips"] > 1].sort_values(["clips", "group"], ascending=[False, True])
    rows = []
    for group, number in chosen.head(GROUPS_SHOWN).itertuples(index=False, name=None):
        members = clips["video_id"][clips["group"] == group].tolist()
        text = f"recording {cut(group)}: {number:,} clips"
        more = f", of which {CLIPS_SHOWN} are shown" if number > CLIPS_SHOWN else ""
        rows.append((text + more, members[:CLIPS_SHOWN]))
    return rows


def doubtful(pairs: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """The pairs that were nearly joined, and those by sight that nearly were not, the most doubtful
    first: what to write above each, and its two clips.
    """
    order = ["similarity", "video_id", "other"]
    left = pairs[~pairs["joined"]].sort_values(order, ascending=[False, True, True])
    joined = pairs[pairs["joined"] & pairs["evidence"].str.contains("sight")].sort_values(order)
    half = PAIRS_SHOWN // 2
    # Half of each, and more of the one where there are fewer of the other.
    left = left.head(max(half, PAIRS_SHOWN - len(joined)))
    joined = joined.head(PAIRS_SHOWN - len(left))
    return [
        (
            f"{'joined' if pair['joined'] else 'not joined'}: similarity {pair['similarity']:.3f}",
            [pair["video_id"], pair["other"]],
        )
        for pair in records(pd.concat([left, joined]))
    ]


def strip(clip: Mapping[str, Any], shards: Shards) -> figures.Strip:
    """The frames of a clip, and what is known of it."""
    name = clip["video_id"]
    caption = f"{shortened(name, LETTERS_OF_CLIP)}\n{cut(clip['label'])}, {clip['split']}"
    caption += f"\nrecording {cut(clip['group'])} ({clip['evidence']})"
    return figures.Strip(shards.read([name])[0], caption)


def quantiles(clips: pd.DataFrame, measure: str) -> pd.DataFrame:
    """QUANTILES of a column of `clips` by class, NaN where nothing is known."""
    table = clips.groupby("label")[measure].quantile(np.array([*QUANTILES.values()])).unstack()
    return table.set_axis([*QUANTILES], axis=1).rename(index=cut)


def ranked(values: pd.Series) -> pd.Series:
    """How often each of `values` comes, the most frequent first; the rest in one line, last."""
    counts = most_frequent(values).value_counts()
    shown = sorted(counts.index, key=lambda name: (name == OTHER, -counts[name], name))
    rest = f"{values.nunique() - len(shown) + 1} others"
    return counts[shown].rename({OTHER: rest})


def cut(name: str) -> str:
    """A name of any length, short enough for a figure."""
    return shortened(str(name), LETTERS)
