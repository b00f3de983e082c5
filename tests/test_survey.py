"""What the data are like, and what leaks: numbers worked out by hand, and the sentences."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import write_survey_inputs
from PIL import Image
from scipy.sparse import csr_matrix

from noctact import findings
from noctact.__main__ import main
from noctact.leaks import LEAKS, across, leak_table, look_alikes
from noctact.origins import MOST, OTHER, find_blocks, find_origins, told
from noctact.split import Settings
from noctact.survey import CLASSES, CONFLICTS, Inputs, read_data, survey
from noctact.survey_pictures import doubtful, largest
from noctact.tables import PAIRS, SPLIT

ASKED = Settings("", 0.25, 0.25, 1)
TABLES = ("classes", "leaks", "sources", "conflicts")
FIGURES = ("clips", "recordings", "lengths", "light", "formats", "sources")
SHEETS = ("sheet_recordings", "sheet_doubtful")

# Two classes; `a/1`, `a/2` and `b/1` are one recording, `b/2` and `b/3` another.
CLIPS: list[dict[str, Any]] = [
    {"video_id": "a/1.mp4", "group": "r1", "split": "train"},
    {"video_id": "a/2.mp4", "group": "r1", "split": "test"},
    {"video_id": "a/3.mp4", "group": "a3", "split": "val", "evidence": "single"},
    {"video_id": "b/1.mp4", "group": "r1", "split": "train"},
    {"video_id": "b/2.mp4", "group": "r2", "split": "val"},
    {"video_id": "b/3.mp4", "group": "r2", "split": "train"},
    {"video_id": "b/4.mp4", "group": "b4", "split": "test", "evidence": "single"},
]


def clips_with(changes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """CLIPS with other cells for some, by video_id."""
    return [clip | changes.get(clip["video_id"], {}) for clip in CLIPS]


def inputs_of(run: Path) -> Inputs:
    """The files of a run that stage survey reads."""
    tables = (run / "dataset" / f"{name}.csv" for name in ("manifest", "groups", "pairs"))
    split = run / "split"
    return Inputs(
        *tables, split / "split.csv", split / "split.json", sorted(run.glob("frames/*.h5"))
    )


def rows_of(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV, as text."""
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Survey a made run: the content of survey.json."""

    def surveyed(
        clips: Sequence[dict[str, Any]] = CLIPS,
        pairs: Sequence[Sequence[str]] = (),
        strategy: str = "column",
        **facts: Any,
    ) -> dict[str, Any]:
        run = write_survey_inputs(tmp_path, clips, pairs, strategy, **facts)
        survey(inputs_of(run), ASKED, run / "dataset")
        content: dict[str, Any] = json.loads((run / "dataset" / "survey.json").read_text())
        return content

    return surveyed


def split_of(clips: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table of stage split."""
    rows = [(c["video_id"], c["video_id"].split("/")[0], c["group"], c["split"]) for c in clips]
    return pd.DataFrame(rows, columns=SPLIT)


# --- what leaks


def test_leaks_by_hand():
    """r1 has two clips in train and one in test; r2 one each in train and val.

    By their looks `a/1`, `a/2` and `b/4` belong together, and `a/3` and `b/3`.
    """
    pairs = pd.DataFrame(
        [
            ("a/1.mp4", "a/2.mp4"),  # train, test
            ("b/4.mp4", "a/2.mp4"),  # test, test: but the latter is like one in train
            ("a/3.mp4", "b/3.mp4"),  # val, train
        ],
        columns=["video_id", "other"],
    )
    table = leak_table(split_of(CLIPS), pairs, Settings("column", 0.25, 0.25, 1))
    assert list(table.columns) == list(LEAKS)
    assert list(table["strategy"]) == ["group", "random", "published", "column"]
    assert list(table["in_use"]) == ["no", "no", "no", "yes"]
    own = table.iloc[3].to_dict()
    assert own == {
        **{"strategy": "column", "in_use": "yes", "impossible": "", "held_out": "test", "clips": 2},
        **{"recording_clips": 1, "recording_share": 0.5},
        **{"recording_train_test": 2, "recording_train_val": 1},
        **{"alike_clips": 2, "alike_share": 1.0, "alike_train_test": 2, "alike_train_val": 1},
    }


def test_a_split_without_test_is_measured_by_val():
    split = split_of([clip | {"split": clip["split"].replace("test", "val")} for clip in CLIPS])
    table = leak_table(split, pd.DataFrame(columns=["video_id", "other"]), ASKED)
    row = table.iloc[-1]
    assert (row["held_out"], row["clips"], row["recording_clips"]) == ("val", 4, 2)
    assert row["recording_train_val"] == 3
    assert pd.isna(row["recording_train_test"]) and pd.isna(row["alike_train_test"])


def test_an_impossible_strategy_says_so():
    """Class a has two recordings, too few for three parts; clip by clip they suffice."""
    table = leak_table(
        split_of(CLIPS),
        pd.DataFrame(columns=["video_id", "other"]),
        Settings("random", 0.3, 0.3, 1),
    )
    row = table.set_index("strategy").loc["group"]
    assert "class 'a'" in row["impossible"]
    assert row.drop(["in_use", "impossible"]).isna().all()
    assert table.set_index("strategy")["impossible"][["random", "published"]].tolist() == ["", ""]


PLACES = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["train", "val", "test"])), min_size=1
)


@given(PLACES, st.sampled_from(["val", "test"]))
def test_pairs_are_counted_as_if_listed(clips, part):
    """Counts from the sizes of groups equal brute force."""
    units, parts = (pd.Series(cells) for cells in zip(*clips, strict=True))
    together = [(n, m) for n in range(len(clips)) for m in range(n) if clips[n][0] == clips[m][0]]

    def pairs(other: str) -> list[tuple[int, int]]:
        return [pair for pair in together if {parts[k] for k in pair} == {"train", other}]

    assert across(parts, units, part) == {
        "clips": len({k for pair in pairs(part) for k in pair if parts[k] == part}),
        "train_test": len(pairs("test")) if part == "test" else None,
        "train_val": len(pairs("val")),
    }


@given(st.integers(1, 12), st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11))))
def test_look_alikes_are_paired_directly_or_through_others(count, numbers):
    names = [f"a/{n}" for n in range(count)][::-1]
    pairs = [(names[n % count], names[m % count]) for n, m in numbers]
    graph = nx.Graph(pairs)
    graph.add_nodes_from(names)
    table = pd.DataFrame(pairs, columns=["video_id", "other"], dtype=str)
    found = look_alikes(pd.Series(names), table)
    parts = {frozenset(names[n] for n in places) for places in found.groupby(found).groups.values()}
    assert parts == {frozenset(part) for part in nx.connected_components(graph)}


def test_a_giant_group_is_counted_at_once():
    """Of 100,000 clips, half in train: 2.5 billion pairs, which no list could hold."""
    parts = pd.Series(["test", "train"] * 50_000)
    units = pd.Series("g", index=parts.index)
    assert across(parts, units, "test")["train_test"] == 2_500_000_000


# --- classes


def test_classes_by_hand(look, tmp_path):
    look(
        clips_with(
            {
                "b/1.mp4": {"n_decoded": "30", "rate": "10", "brightness": "1", "salt": "0"},
                "b/2.mp4": {"n_decoded": "40", "rate": "20", "brightness": "2", "salt": "0.1"},
                "b/3.mp4": {"n_decoded": "50", "rate": "", "brightness": "6", "salt": "0.2"},
                "b/4.mp4": {"n_decoded": "9", "rate": "12.5", "brightness": "9", "salt": "0.9"},
                "a/1.mp4": {"width": "640", "height": "480"},
            }
        )
    )
    assert list(rows_of(tmp_path / "dataset" / "classes.csv")[0]) == list(CLASSES)
    table = pd.read_csv(tmp_path / "dataset" / "classes.csv").set_index("label")
    b = table.loc["b"].to_dict()
    assert b.pop("share") == pytest.approx(4 / 7)
    assert b == {
        **{"clips": 4, "train": 2, "val": 1, "test": 1, "groups": 3, "largest_group": 2},
        **{"length_min": 0.72, "length_median": 2.0, "length_max": 3.0, "lengths_unknown": 1},
        **{"size": "320 x 240", "sizes": 1, "rate": "10 fps", "rates": 4},
        **{"brightness": 4.0, "salt": pytest.approx(0.15)},
    }
    a = table.loc["a"]
    # A recording of several classes counts in each, with its clips of that class.
    assert (a["clips"], a["groups"], a["largest_group"]) == (3, 2, 2)
    assert (a["size"], a["sizes"], a["rate"], a["rates"]) == ("320 x 240", 2, "25 fps", 1)


def test_a_class_of_unknown_length_has_none(look, tmp_path):
    content = look(clips_with({f"a/{n}.mp4": {"rate": ""} for n in (1, 2, 3)}))
    row = content["classes"][0]
    assert (row["label"], row["length_median"], row["lengths_unknown"]) == ("a", None, 3)
    assert row["rate"] == "rate unknown"
    assert "The length of 3 clips is not known." in content["notes"]


# --- sources


def made_by(*counts: tuple[str, str, int]) -> pd.DataFrame:
    """Clips of a class and a suffix, so many each, all of recordings of their own."""
    rows = [
        (f"{label}/{k}_{n}{suffix}", label)
        for k, (label, suffix, number) in enumerate(counts)
        for n in range(number)
    ]
    clips = pd.DataFrame(rows, columns=["video_id", "label"])
    return clips.assign(group=clips["video_id"], width=320.0, height=240.0, rate=25.0)


def test_sources_are_size_rate_and_suffix():
    clips = made_by(("a", ".mp4", 2), ("a", ".AVI", 1), ("b", "", 1), ("b", ".mp4", 1))
    clips["rate"] = [29.97, 12.5, np.nan, 25, 25]
    origins = find_origins(clips)
    assert origins.counts.to_dict("index") == {
        "a": {
            "320 x 240, 13 fps, .mp4": 1,
            "320 x 240, 25 fps, .mp4": 0,
            "320 x 240, 25 fps, no suffix": 0,
            "320 x 240, 30 fps, .mp4": 1,
            "320 x 240, rate unknown, .avi": 1,
        },
        "b": {
            "320 x 240, 13 fps, .mp4": 0,
            "320 x 240, 25 fps, .mp4": 1,
            "320 x 240, 25 fps, no suffix": 1,
            "320 x 240, 30 fps, .mp4": 0,
            "320 x 240, rate unknown, .avi": 0,
        },
    }


def test_rare_sources_are_pooled_and_the_last():
    counts = [("a", f".{n:02}", 20 - n) for n in range(MOST + 2)]
    table = find_origins(made_by(*counts, ("b", ".00", 3))).counts
    first = [f"320 x 240, 25 fps, .{n:02}" for n in range(MOST)]
    assert list(table) == [*first, OTHER]
    assert table.loc["a", OTHER] == 12 + 11
    assert table.loc["b", first[0]] == 3
    one_more = find_origins(made_by(*counts[: MOST + 1])).counts
    assert list(one_more)[MOST] == "320 x 240, 25 fps, .08"


def test_sizes_are_left_out_where_nearly_all_differ():
    clips = made_by(("a", ".mp4", 30), ("b", ".mp4", 30))
    clips["width"] = np.arange(60) + 100.0
    assert list(find_origins(clips).counts) == ["25 fps, .mp4"]


def test_told_by_hand():
    """Without the correction: 12 classes from two sources take away 1 of log2(12) bits."""
    many = csr_matrix(np.repeat([[1000, 0], [0, 1000]], 6, axis=0))
    assert told(many) == pytest.approx(1 / np.log2(12), abs=0.001)
    assert told(csr_matrix(np.diag([50, 50, 50]))) == pytest.approx(1)
    assert told(csr_matrix([[30, 60], [10, 20]])) == 0
    assert told(csr_matrix([[3], [4]])) == 0  # one source
    assert told(csr_matrix([[3, 4]])) == 0  # one class


def test_what_chance_tells_is_taken_off():
    """A source of its own for each clip seems to tell all, and tells nothing."""
    assert told(csr_matrix(np.eye(40, dtype=int)[:, np.random.default_rng(1).permutation(40)])) == 0
    random = np.random.default_rng(2).multinomial(60, np.full(48, 1 / 48)).reshape(12, 4)
    assert told(csr_matrix(random)) < 0.08


def test_clips_of_one_recording_prove_nothing_by_their_number():
    """Six recordings, each with its own source by chance: hundreds of clips make it no surer."""
    clips = made_by(("a", ".0", 2), ("a", ".1", 1), ("b", ".1", 2), ("b", ".0", 1))
    many = pd.concat([clips.assign(video_id=f"{n}" + clips["video_id"]) for n in range(50)])
    assert find_origins(many).told == find_origins(clips).told == 0


def test_blocks_are_found():
    clips = made_by(
        *(("c", ".mp4", 50), ("a", ".mp4", 5), ("a", ".avi", 5), ("e", ".avi", 50)),
        *(("b", ".mkv", 50), ("d", ".mkv", 50), ("f", ".webm", 50)),
    )
    origins = find_origins(clips)
    assert (origins.blocks, origins.strays) == ([["a", "c", "e"], ["b", "d"], ["f"]], 0)


def test_a_few_strays_do_not_hide_the_blocks_and_many_are_none():
    def blocks(strays: int) -> tuple[list[list[str]], int]:
        clips = made_by(("a", ".mp4", 300), ("b", ".avi", 300), ("a", ".avi", strays))
        origins = find_origins(clips)
        return origins.blocks, origins.strays

    assert blocks(3) == ([["a"], ["b"]], 3)
    assert blocks(11) == ([["a"], ["b"]], 11)
    assert blocks(14) == ([["a", "b"]], 0)  # too many in all
    assert blocks(40) == ([["a", "b"]], 0)  # and too many to be strays of `a`


def test_thin_sources_make_no_blocks():
    """Every clip may have a size of its own, or nearly: that is no block for each class."""
    block, _ = find_blocks(csr_matrix(np.eye(4, dtype=int)))
    assert (block == -1).all()
    thin = csr_matrix(np.ones((30, 100), int))
    block, strays = find_blocks(thin)
    assert (len(set(block)), strays) == (1, 0)


# --- conflicts


def test_conflicts_by_hand(look, tmp_path):
    """By sha256; by equal frames, through a third clip; not by looks, and not within a class."""
    content = look(
        clips_with(
            {
                "a/1.mp4": {"sha256": "x"},
                "a/2.mp4": {"sha256": "x"},
                "b/1.mp4": {"sha256": "x"},
                "b/3.mp4": {"sha256": "y"},
                "b/4.mp4": {"sha256": "y"},
            }
        ),
        [
            ("a/3.mp4", "b/3.mp4", "frames", "1", "yes"),
            ("a/3.mp4", "b/2.mp4", "sight", "0.99", "yes"),
        ],
    )
    rows = [tuple(row.values()) for row in rows_of(tmp_path / "dataset" / "conflicts.csv")]
    assert rows == [
        ("a/1.mp4", "a", "content", "b/1.mp4", "b"),
        ("a/2.mp4", "a", "content", "b/1.mp4", "b"),
        ("b/1.mp4", "b", "content", "a/1.mp4", "a"),
        ("a/3.mp4", "a", "frames", "b/3.mp4", "b"),
        ("b/3.mp4", "b", "frames", "a/3.mp4", "a"),
        ("b/4.mp4", "b", "frames", "a/3.mp4", "a"),
    ]
    assert content["conflicts"]["number"] == 6
    assert list(content["conflicts"]["shown"][0]) == list(CONFLICTS)
    assert "6 clips are the same as a clip of another class: see Errors." in content["warnings"]


def test_no_conflict_is_an_empty_table(look, tmp_path):
    assert look()["conflicts"] == {"number": 0, "shown": []}
    assert (tmp_path / "dataset" / "conflicts.csv").read_text() == ",".join(CONFLICTS) + "\n"


# --- the sheets


def test_the_largest_recordings_are_shown():
    groups = ["z"] * 6 + ["b", "b", "a", "a"] + ["c"] * 3 + ["d", "d", "single"]
    clips = pd.DataFrame({"video_id": [f"a/{n:02}" for n in range(16)], "group": groups})
    assert largest(clips) == [
        ("recording z: 6 clips, of which 4 are shown", ["a/00", "a/01", "a/02", "a/03"]),
        ("recording c: 3 clips", ["a/10", "a/11", "a/12"]),
        ("recording a: 2 clips", ["a/08", "a/09"]),
        ("recording b: 2 clips", ["a/06", "a/07"]),
    ]
    assert largest(clips.assign(group=clips["video_id"])) == []


def pairs_of(*rows: tuple[str, float, bool]) -> pd.DataFrame:
    """Pairs of evidence, similarity and whether they are joined."""
    cells = [(f"a/{n}", f"b/{n}", *row) for n, row in enumerate(rows)]
    return pd.DataFrame(cells, columns=PAIRS)


def test_the_most_doubtful_pairs_are_shown():
    left = [("sight", 0.5 + n / 100, False) for n in range(10)]
    joined = [("sight", 0.9 + n / 100, True) for n in range(6)]
    shown = doubtful(pairs_of(*left, *joined, ("content", 0.1, True)))
    assert [text for text, _ in shown] == [
        *(f"not joined: similarity {number}" for number in ("0.590", "0.580", "0.570", "0.560")),
        *(f"joined: similarity {number}" for number in ("0.900", "0.910", "0.920", "0.930")),
    ]
    assert shown[0][1] == ["a/9", "b/9"]
    # Where there are few of the one, there is room for more of the other.
    assert len(doubtful(pairs_of(*left, *joined[:1]))) == 8
    assert len(doubtful(pairs_of(*left[:1], *joined))) == 7
    assert doubtful(pairs_of(("content", 1.0, True))) == []


def test_absent_evidence_gives_no_sheet(look, tmp_path):
    """The file is there all the same, and says so."""
    alone = [clip | {"group": clip["video_id"], "evidence": "single"} for clip in CLIPS]
    assert look(alone)["sheets"] == {"sheet_recordings": [], "sheet_doubtful": []}
    empty = {name: size_of(tmp_path, name) for name in SHEETS}
    with_pair = look(CLIPS, [("a/3.mp4", "b/4.mp4", "sight", "0.5", "no")])
    assert with_pair["sheets"] == {
        "sheet_recordings": ["recording r1: 3 clips", "recording r2: 2 clips"],
        "sheet_doubtful": ["not joined: similarity 0.500"],
    }
    assert all(size_of(tmp_path, name)[1] > empty[name][1] for name in SHEETS)


def size_of(run: Path, name: str) -> tuple[int, int]:
    """Width and height of a figure."""
    return Image.open(run / "dataset" / "figures" / f"{name}.png").size


# --- sentences


def test_verdict_of_a_clean_split(look):
    clips = [
        {
            "video_id": f"{label}/{n}_{take}.mp4",
            "group": f"{label}{n}",
            "split": part,
            "evidence": "name+sight" if (label, n) == ("a", 0) else "name",
        }
        for label in "ab"
        for n, part in enumerate(["train", "train", "val", "test"])
        for take in range(2)
    ]
    pair = ("a/0_0.mp4", "a/0_1.mp4", "sight", "0.9", "yes")
    content = look(clips, [pair], "group")
    (random,) = [row for row in content["leaks"] if row["strategy"] == "random"]
    assert content["verdict"] == [
        "16 clips of 8 recordings (largest: 2 clips); 1 pair was found by sight.",
        "With the split in use no test clip has a clip of its recording in train; in a random "
        f"split of clips {random['recording_clips']} of {random['clips']} would have one.",
    ]
    assert random["recording_clips"] > 0
    assert content["warnings"] == []


def test_verdict_of_a_split_that_leaks(look):
    content = look()
    assert content["verdict"] == [
        "7 clips of 4 recordings (largest: 3 clips), by the names of their files.",
        "With the split in use (column) 1 of 2 test clips (50.0%) have a clip of their recording "
        "in train.",
    ]
    assert content["warnings"][0] == (
        "The split leaks: 1 of 2 test clips (50.0%) have a clip of their recording in train. A "
        "model that knows the recording again need not know the action; mend the file that divides "
        "the clips, or set split.strategy to group."
    )


@pytest.mark.parametrize(
    ("strategy", "facts", "advice"),
    [
        ("random", {}, "; set split.strategy to group."),
        ("published", {}, "; set split.strategy to group."),
        (
            "group",
            {"scarce_classes": ["a"]},
            "; add recordings of class \u201ca\u201d, which had too few to be divided.",
        ),
    ],
)
def test_advice_against_a_leak_fits_the_strategy(look, strategy, facts, advice):
    assert look(strategy=strategy, **facts)["warnings"][0].endswith(advice)


def facts_of(**changes: Any) -> dict[str, Any]:
    """The facts of a run without any fault."""
    zero = {"recording_clips": 0, "recording_share": 0.0, "recording_train_test": 0}
    zero |= {"recording_train_val": 0, "alike_clips": 0, "clips": 20, "held_out": "test"}
    row = {"clips": 50, "groups": 10, "lengths_unknown": 0}
    return {
        "strategy": "group",
        "scarce_classes": [],
        "clips": 100,
        "groups": 20,
        "largest": {"group": "r1", "clips": 9},
        "evidence": {"name": 100},
        "mixed": {"number": 0, "by_name": True, "example": []},
        "pairs": {},
        "classes": [row | {"label": "a"}, row | {"label": "b"}],
        "leaks": [
            {"strategy": name, "impossible": ""} | zero for name in ("group", "random", "published")
        ],
        "sources": {"told": 0.0, "measure": "U", "blocks": [["a", "b"]], "strays": 0},
        "conflicts": {"number": 0, "shown": []},
        **changes,
    }


def class_row(label: str, clips: int, groups: int = 5) -> dict[str, Any]:
    return {"label": label, "clips": clips, "groups": groups, "lengths_unknown": 0}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"evidence": {"single": 100}}, "No two clips were found to be of one recording, by name"),
        (
            {"largest": {"group": "r1", "clips": 51}},
            "One recording, \u201cr1\u201d, holds 51 of 100",
        ),
        (
            {"classes": [class_row("a", 50, 1), class_row("b", 50)]},
            "All clips of class \u201ca\u201d are of one recording: they",
        ),
        (
            {"classes": [class_row("a", 50, 1), class_row("b", 40), class_row("c", 10, 1)]},
            "All clips of classes \u201ca\u201d and \u201cc\u201d are of one recording each: they",
        ),
        (
            {"mixed": {"number": 2, "by_name": False, "example": ["a/1", "b/1"]}},
            "2 recordings have clips of several classes, for example \u201ca/1\u201d and ",
        ),
        (
            {"sources": {"told": 0.2, "measure": "U", "blocks": [["a", "b"]], "strays": 0}},
            "(frame size, frame rate, suffix) tells of the class: it takes away 20.0%",
        ),
        (
            {"sources": {"told": 0.2, "measure": "U", "blocks": [["a"], ["b"]], "strays": 2}},
            "The classes fall into 2 blocks with no kind of file in common, but for 2 clips: "
            "\u201ca\u201d; \u201cb\u201d.",
        ),
        (
            {"classes": [class_row("a", 91), class_row("b", 9)]},
            "Class \u201ca\u201d has 91 clips, class \u201cb\u201d 9: naming frequent classes",
        ),
        ({"conflicts": {"number": 4, "shown": []}}, "4 clips are the same as a clip of another"),
    ],
)
def test_each_fault_has_one_warning_of_its_own(changes, text):
    assert findings.warnings(facts_of()) == []
    facts = facts_of(**changes)
    (found,) = findings.warnings(facts)
    assert text in found
    assert findings.notes(facts) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"largest": {"group": "r1", "clips": 50}},
        {"sources": {"told": 0.099, "measure": "U", "blocks": [["a", "b"]], "strays": 0}},
        {"classes": [class_row("a", 89), class_row("b", 9)]},
        {"classes": [class_row("a", 5), class_row("b", 1, groups=1)]},
    ],
)
def test_what_is_nearly_wrong_has_none(changes):
    assert findings.warnings(facts_of(**changes)) == []


def test_recordings_of_several_classes_by_their_names_are_only_noted():
    """UT-Interaction is like that: one recording shows several actions, one after the other."""
    facts = facts_of(mixed={"number": 1, "by_name": True, "example": ["a/1", "b/1"]})
    assert findings.warnings(facts) == []
    (note,) = findings.notes(facts)
    assert note.startswith("1 recording has clips of several classes, for example")


@pytest.mark.parametrize(("evidence", "by_name"), [("name", True), ("name+sight", False)])
def test_recordings_by_hand(evidence, by_name):
    """r1 holds three clips of two classes; its first clip of each is the example."""
    clips = split_of(CLIPS).assign(evidence=["name"] * 6 + ["single"])
    clips.loc[3, "evidence"] = evidence
    assert findings.recordings(clips) == {
        **{"clips": 7, "groups": 4, "largest": {"group": "r1", "clips": 3}},
        "evidence": {"name": 6, "single": 1} if by_name else {"name": 5, evidence: 1, "single": 1},
        "mixed": {"number": 1, "by_name": by_name, "example": ["a/1.mp4", "b/1.mp4"]},
    }


def test_verdict_beside_a_random_split_that_is_impossible_or_no_worse():
    facts = facts_of()
    clean = "With the split in use no test clip has a clip of its recording in train"
    assert findings.what_leaks(facts) == f"{clean}, nor would one in a random split of clips."
    nothing = dict.fromkeys(("clips", "recording_clips", "held_out"))
    facts["leaks"][1] |= nothing | {"impossible": "too few clips"}
    assert findings.what_leaks(facts) == f"{clean}."


def test_doubtful_pairs_are_noted():
    pairs = {"sight": {"joined": 3, "doubtful": 1}, "content": {"joined": 2, "doubtful": 0}}
    facts = facts_of(pairs=pairs)
    assert findings.notes(facts) == [
        "1 pair of clips looks alike but was not taken for one recording: not alike enough, or "
        "told apart by name (logs/audit.log says it)."
    ]
    # Clips that are together by name look alike, too: sight has found nothing.
    assert findings.what_there_is(facts).endswith(
        "(largest: 9 clips), by the names of their files."
    )
    facts = facts_of(pairs=pairs, evidence={"name+sight": 60, "content": 2, "single": 38})
    assert findings.what_there_is(facts) == (
        "100 clips of 20 recordings (largest: 9 clips); 5 pairs were found: 3 by sight and 2 by "
        "equal files."
    )


def test_a_leak_into_validation_alone_is_told():
    facts = facts_of(strategy="column")
    facts["leaks"].append(facts["leaks"][0] | {"strategy": "column", "recording_train_val": 1})
    (text,) = findings.warnings(facts)
    assert text.startswith("Train and validation share 1 pair of clips of one recording: ")


def test_verdict_where_nothing_tells_recordings():
    facts = facts_of(evidence={"single": 100}, groups=100)
    assert findings.verdict(facts) == [
        "100 clips; nothing tells that any two are of one recording, so each counts as a recording "
        "of its own.",
        "Whether a test clip has a clip of its recording in train is not known.",
    ]


def test_many_and_long_names_are_cut(look):
    block = [f"{'W' * 90}{n}" for n in range(9)]
    sources = {"told": 0.2, "measure": "U", "blocks": [block, ["b"]], "strays": 0}
    (text,) = findings.warnings(facts_of(sources=sources))
    assert "\u201d and 3 more; \u201cb\u201d" in text
    assert all(len(word) < 70 for word in text.split())


# --- the stage


def command(run: Path) -> list[str]:
    """The command line for a run."""
    named = zip(Inputs._fields, inputs_of(run), strict=True)
    words = [
        word
        for name, files in named
        for word in (
            f"--{name.replace('_', '-')}",
            *map(str, files if isinstance(files, list) else [files]),
        )
    ]
    asked = ["--val", "0.25", "--test", "0.25", "--seed", "1"]
    return ["survey", *words, *asked, "--output", str(run / "dataset")]


def test_the_stage_writes_the_same_bytes_again(tmp_path, capsys):
    """All that the rule declares, and nothing else."""
    names = ["<b>a</b>/\u0301x.mp4", "\u00dcbung " + "W" * 90 + "/1.mp4"]
    clips = [
        *CLIPS,
        *({"video_id": name, "group": name, "split": "train"} for name in names),
    ]
    pairs = [("a/3.mp4", "b/4.mp4", "sight", "0.5", "no")]
    written = []
    for order in (1, -1):
        run = write_survey_inputs(tmp_path / str(order), clips[::order], pairs, "column")
        assert main(command(run)) == 0
        files = [f"dataset/{name}.csv" for name in TABLES] + ["dataset/survey.json"]
        files += [
            f"dataset/figures/{name}{suffix}"
            for name in (*FIGURES, *SHEETS)
            for suffix in (".png", ".svg")
        ]
        assert {file.name for file in (run / "dataset").rglob("*.*")} == {
            *(Path(file).name for file in files),
            *("manifest.csv", "groups.csv", "pairs.csv"),
        }
        written.append([(run / file).read_bytes() for file in files])
    assert written[0] == written[1]
    assert "9 clips of 6 recordings" in capsys.readouterr().out


def test_clips_left_out_of_the_split_do_not_count(look):
    """Nor do pairs with them; they are in groups and manifest all the same."""
    clips = [*CLIPS, {"video_id": "a/9.mp4", "group": "r1", "split": ""}]
    pairs = [("a/1.mp4", "a/9.mp4", "sight", "0.9", "yes")]
    content = look(clips, pairs)
    assert content["clips"] == 7
    assert content["pairs"] == {}


def test_a_pair_counts_once_whichever_way_it_is_written(tmp_path):
    pairs = [
        ("a/1.mp4", "a/2.mp4", "sight", "0.9", "no"),
        ("a/2.mp4", "a/1.mp4", "content", "1", "yes"),
    ]
    run = write_survey_inputs(tmp_path, CLIPS, pairs, "column")
    (pair,) = read_data(inputs_of(run)).pairs.itertuples(index=False, name=None)
    assert pair == ("a/1.mp4", "a/2.mp4", "content", 1.0, True)


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("split/split.csv", "a/1.mp4,a,r1,train", "a/1.mp4,a,r1,trian", "'a/1.mp4' is in 'trian'"),
        ("split/split.csv", "a/1.mp4", "a/2.mp4", "split.csv: clip 'a/2.mp4' comes twice"),
        ("split/split.csv", "a/1.mp4", "a/0.mp4", "groups.csv: no clip 'a/0.mp4', which"),
        (
            "split/split.json",
            '"strategy"',
            '"way"',
            "split.json: no key 'strategy'; run stage split",
        ),
        ("dataset/groups.csv", "evidence", "why", "groups.csv: column 'evidence' is missing"),
        ("dataset/manifest.csv", "salt", "pepper", "manifest.csv: column 'salt' is missing"),
        ("dataset/manifest.csv", "20.5", "256", "'a/1.mp4' has 256 as its brightness"),
        ("dataset/manifest.csv", "0.015", "1.5", "'a/1.mp4' has 1.5 as its salt; run stage audit"),
        ("dataset/manifest.csv", "320", "wide", "manifest.csv: Unable to parse"),
        ("dataset/manifest.csv", ",75,", ",,", "has nan as its n_decoded; run stage audit"),
        ("dataset/pairs.csv", "joined", "same", "pairs.csv: no column joined"),
        ("dataset/pairs.csv", "yes", "maybe", "pairs.csv: 'maybe' as joined, which is yes or no"),
        ("dataset/pairs.csv", "0.9", "90", "pairs.csv: a similarity is not in 0 to 1"),
        ("dataset/pairs.csv", "a/2.mp4", "a/0.mp4", "pairs.csv: no clip 'a/0.mp4' is left to use"),
    ],
)
def test_faults_are_one_line(tmp_path, capsys, file, old, new, text):
    pairs = [("a/1.mp4", "a/2.mp4", "sight", "0.9", "yes")]
    run = write_survey_inputs(tmp_path, CLIPS, pairs, "column")
    words = command(run)
    content = (run / file).read_text()
    assert old in content
    (run / file).write_text(content.replace(old, new, 1))
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line
    assert not (run / "dataset" / "survey.json").exists()


@pytest.mark.parametrize("file", ["dataset/pairs.csv", "split/split.json", "split/split.csv"])
def test_a_file_that_is_missing_is_named(tmp_path, capsys, file):
    run = write_survey_inputs(tmp_path, CLIPS, [], "column")
    words = command(run)
    (run / file).unlink()
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert file in line
