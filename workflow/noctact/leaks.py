"""What leaks across a split: held-out clips of which training has seen the recording, or a copy."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from noctact.division import SPLITS
from noctact.errors import NoctactError
from noctact.split import Settings, make_split

STRATEGIES = ("group", "random", "published")
LEAKS = (
    *("strategy", "in_use", "impossible", "held_out", "clips"),
    # Held-out clips with one of their recording in train; pairs of one recording across the split.
    *("recording_clips", "recording_share", "recording_train_test", "recording_train_val"),
    # The same of clips that look alike, whatever they are called: equal, or nearly.
    *("alike_clips", "alike_share", "alike_train_test", "alike_train_val"),
)


def divide(split: pd.DataFrame, settings: Settings) -> pd.Series:
    """The parts of the clips in `split` (columns SPLIT) as they would be afresh, by `settings`.

    Raises NoctactError where the clips can't be divided like that.
    """
    outcome = make_split(dict(zip(split["video_id"], split["group"], strict=True)), settings)
    return split["video_id"].map(outcome.splits)


def held_out(parts: pd.Series) -> str:
    """The part that models are compared on: test, or val where there is no test."""
    return "test" if (parts == "test").any() else "val"


def across(parts: pd.Series, units: pd.Series, part: str) -> dict[str, int | None]:
    """How clips of one unit, such as a recording, lie on both sides: clips, train_test, train_val.

    `parts` and `units` have a row a clip. `clips` are those in `part` with one of their unit in
    train; the others are numbers of pairs, None where `part` is val. They come from the sizes of
    the units: one of a thousand clips has half a million pairs.
    """
    sizes = pd.crosstab(units, parts).reindex(columns=SPLITS, fill_value=0)
    in_train = sizes["train"]
    return {
        "clips": int(sizes.loc[in_train > 0, part].sum()),
        "train_test": int((in_train * sizes["test"]).sum()) if part == "test" else None,
        "train_val": int((in_train * sizes["val"]).sum()),
    }


def look_alikes(clips: pd.Series, pairs: pd.DataFrame) -> pd.Series:
    """A number for each of `clips` (video_id), the same for those that are paired, directly or
    through others: of a hundred copies the table of pairs need not have each with each.
    """
    places = pd.Index(clips)
    ends = [places.get_indexer(pd.Index(pairs[column])) for column in ("video_id", "other")]
    links = coo_array((np.ones(len(pairs)), ends), shape=(len(clips), len(clips)))
    return pd.Series(connected_components(links, directed=False)[1], clips.index)


def leak(parts: pd.Series, units: dict[str, pd.Series]) -> dict[str, object]:
    """The columns of LEAKS from `held_out` on, of clips in `parts`; `units` by their kind."""
    part = held_out(parts)
    clips = int((parts == part).sum())
    row: dict[str, object] = {"held_out": part, "clips": clips}
    for kind, own in units.items():
        counts = across(parts, own, part)
        row |= {f"{kind}_{name}": number for name, number in counts.items()}
        row[f"{kind}_share"] = (counts["clips"] or 0) / clips if clips else None
    return row


def leak_table(split: pd.DataFrame, pairs: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """One row a strategy, with the columns LEAKS; `split` (columns SPLIT) is by `settings`.

    `pairs` (video_id, other) are of clips in it that look alike and were joined. A strategy that is
    impossible with these clips says why in `impossible`, and has no numbers.
    """
    in_use = settings.strategy
    units = {"recording": split["group"], "alike": look_alikes(split["video_id"], pairs)}
    strategies: Iterable[str] = dict.fromkeys([*STRATEGIES, in_use])
    rows = []
    for strategy in strategies:
        row: dict[str, object] = {"strategy": strategy, "impossible": ""}
        row["in_use"] = "yes" if strategy == in_use else "no"
        try:
            fresh = settings._replace(strategy=strategy)
            row |= leak(split["split"] if strategy == in_use else divide(split, fresh), units)
        except NoctactError as error:
            row["impossible"] = str(error)
        rows.append(row)
    table = pd.DataFrame(rows, columns=LEAKS)
    whole = [name for name in LEAKS[4:] if not name.endswith("_share")]
    return table.astype(dict.fromkeys(whole, "Int64"))
