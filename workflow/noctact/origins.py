"""How the files of the clips were made, and how far that tells their class."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

MOST = 8  # sources that are shown one by one
OTHER = "other"
STRAY = 0.05  # a class and a source that share less of both, share strays
MOST_STRAYS = 0.02  # of all clips; where there are more, they are no exceptions
MEASURE = "Theil's U, corrected for chance"


class Origins(NamedTuple):
    """What the sources say of the classes.

    `counts` has a row a class and a column a source: the most frequent ones, and OTHER. `told` is
    the MEASURE: 0 where the source says nothing of the class, 1 where it says all. `blocks` are
    classes that share sources among each other and with no class of another block, except for
    `strays` clips; one block or none where there is nothing of that kind.
    """

    counts: pd.DataFrame
    told: float
    blocks: list[list[str]]
    strays: int


def frame_size(clips: pd.DataFrame) -> pd.Series:
    """Width and height, as in "320 x 240"."""
    width, height = (clips[side].astype(int).astype(str) for side in ("width", "height"))
    return width.str.cat(height, sep=" x ")


def frame_rate(clips: pd.DataFrame) -> pd.Series:
    """The rate, to a whole number of frames a second, as in "25 fps"."""
    # Up from the middle: 12.5 and 13.5 are no neighbours of one even number.
    whole = np.floor(clips["rate"] + 0.5).astype("Int64").astype("string")
    named: pd.Series = (whole + " fps").fillna("rate unknown").astype(str)
    return named


def container(clips: pd.DataFrame) -> pd.Series:
    """Frame rate and suffix, as in "25 fps, .mp4"."""
    suffix = clips["video_id"].str.extract(r"(\.[^./]+)$", expand=False).str.lower()
    return frame_rate(clips).str.cat(suffix.fillna("no suffix"), sep=", ")


def source(clips: pd.DataFrame) -> pd.Series:
    """How the file of each clip was made, as in "320 x 240, 25 fps, .mp4"."""
    return frame_size(clips).str.cat(container(clips), sep=", ")


def most_frequent(values: pd.Series, most: int = MOST) -> pd.Series:
    """`values`, of which all but the `most` frequent ones are OTHER; a single one is kept."""
    counts = values.value_counts().rename("count").rename_axis("value").reset_index()
    ranked = counts.sort_values(["count", "value"], ascending=[False, True])["value"]
    kept = ranked if len(ranked) <= most + 1 else ranked.head(most)
    return values.where(values.isin(kept), OTHER)


def count_sources(clips: pd.DataFrame) -> pd.DataFrame:
    """Clips by class (row) and source (column), the most frequent source first, OTHER last.

    Sources are told without the size of the frames where most clips would be OTHER with it.
    """
    pooled = most_frequent(source(clips))
    if (pooled == OTHER).mean() > 0.5:
        pooled = most_frequent(container(clips))
    counts = pd.crosstab(clips["label"], pooled)
    order = sorted(counts, key=lambda name: (name == OTHER, -counts[name].sum(), name))
    return counts[order]


def count_cells(clips: pd.DataFrame) -> csr_matrix:
    """The number of clips by class (row, sorted) and source (column): thousands, most of them 0."""
    return csr_matrix(contingency_matrix(clips["label"], clips["source"], sparse=True))


def told(cells: csr_matrix) -> float:
    """How far the source tells the class, by `cells` (classes, sources), numbers of recordings.

    The uncertainty coefficient of Theil, (I - E) / (H - E): of H, the entropy of the class, the
    part I that the source takes away, less E, what it would take away if dealt out at random (much,
    where sources are many and recordings few). In 0..1. By recordings, since their clips are made
    alike and prove nothing by their number. Cramer's V would not do: of twelve classes from two
    sources, six from each, it is 1, as if the source named the class.
    """
    own = float(entropy(np.asarray(cells.sum(axis=1)).ravel()))
    shared = float(mutual_info_score(None, None, contingency=cells))
    chance = float(expected_mutual_information(cells, int(cells.sum())))
    return max(0.0, (shared - chance) / (own - chance)) if own - chance > 1e-9 else 0.0


def find_blocks(cells: csr_matrix) -> tuple[NDArray[np.int64], int]:
    """The block of each class, -1 for none, by `cells` (classes, sources), and the stray clips.

    Two classes are of one block if they share a source, or each does with a third one. Strays are
    passed over: cells of less than STRAY of their class and of their source, unless they are more
    than MOST_STRAYS. A source of one clip can't be shared, so it says nothing; a class of such
    sources only is in no block.
    """
    classes, sources = cells.shape
    grid = coo_array(cells)
    row, column, clips = grid.row, grid.col, grid.data
    of_class, of_source = (np.asarray(cells.sum(axis=axis)).ravel() for axis in (1, 0))
    known = of_source[column] > 1
    most = np.zeros(classes)
    np.maximum.at(most, row[known], clips[known])
    stray = (clips < STRAY * of_class[row]) & (clips < STRAY * of_source[column])
    for bond in (known & (~stray | (clips == most[row])), known):
        links = np.ones(bond.sum()), (row[bond], classes + column[bond])
        graph = coo_array(links, shape=(classes + sources,) * 2)
        part = connected_components(graph, directed=False)[1]
        strays = int(clips[known & (part[row] != part[classes + column])].sum())
        if strays <= MOST_STRAYS * clips.sum():
            break
    return np.where(np.isin(np.arange(classes), row[bond]), part[:classes], -1), strays


def find_origins(clips: pd.DataFrame) -> Origins:
    """What the sources of `clips` say of the class.

    `clips` has the columns video_id, label, group, width, height and rate (NaN if unknown).
    """
    clips = clips.assign(source=source(clips))
    once = clips.drop_duplicates(["group", "label", "source"])
    block, strays = find_blocks(count_cells(clips))
    classes = np.array(sorted(clips["label"].unique()), object)
    blocks = [classes[block == number].tolist() for number in np.unique(block[block >= 0])]
    return Origins(count_sources(clips), told(count_cells(once)), sorted(blocks), strays)
