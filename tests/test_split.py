"""The split: every clip once, no recording twice, stable when clips are added."""

import csv
import hashlib
import io
from collections import Counter, defaultdict
from contextlib import redirect_stdout

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from noctact.__main__ import main
from noctact.errors import NoctactError
from noctact.split import assign, place, split_clips
from noctact.tables import GROUPS, write_csv

SPLITS = ("train", "val", "test")
FRACTIONS = st.tuples(st.integers(1, 40), st.integers(0, 40)).map(
    lambda pair: (pair[0] / 100, pair[1] / 100)
)
OPTIONS = ("--strategy=group", "--val=0.2", "--test=0.2", "--seed=4")
SEEDS = st.integers(0, 2**32)


def groups_of(clips):
    """groups.csv, from the group of each clip."""
    return pd.DataFrame({"video_id": list(clips), "group": list(clips.values())})


@st.composite
def datasets(draw, shared=False):
    """The group of each clip: 2 to 4 classes of 3 to 12 recordings with 1 to 3 clips each.

    With `shared`, recordings of one number hold clips of several classes.
    """
    clips = {}
    for label in draw(st.sampled_from(("AB", "ABC", "ABCD"))):
        for number in range(draw(st.integers(3, 12))):
            group = f"r{number}" if shared else f"{label}{number}"
            for take in range(draw(st.integers(1, 3))):
                clips[f"{label}/r{number}_{take}.mp4"] = group
    return clips


def quietly(function, *arguments):
    """The result of `function`, and whether it reports that a recording is lent."""
    output = io.StringIO()
    with redirect_stdout(output):
        result = function(*arguments)
    return result, "is lent to" in output.getvalue()


def split_by_clip(rows):
    return {clip: split for clip, _, _, split in rows}


# --- what holds for every split -------------------------------------------------------------------


@given(datasets(), st.sampled_from(["group", "random", "published"]), FRACTIONS, SEEDS)
def test_each_clip_is_in_one_split_with_its_label_and_group(clips, strategy, fractions, seed):
    rows, _ = quietly(split_clips, groups_of(clips), strategy, *fractions, seed)
    assert [row[:3] for row in rows] == [
        (clip, clip.split("/")[0], group) for clip, group in sorted(clips.items())
    ]
    assert {split for *_, split in rows} <= set(SPLITS)


@given(datasets(shared=True), FRACTIONS, SEEDS)
def test_no_recording_is_in_two_splits(clips, fractions, seed):
    try:
        rows, _ = quietly(split_clips, groups_of(clips), "group", *fractions, seed)
    except NoctactError:  # recordings of many classes can't always be divided
        assume(False)
    splits = defaultdict(set)
    for _, _, group, split in rows:
        splits[group].add(split)
    assert set(map(len, splits.values())) == {1}


@given(datasets(), st.sampled_from(["group", "random"]), FRACTIONS, SEEDS)
def test_every_class_has_a_recording_in_each_split(clips, strategy, fractions, seed):
    rows, _ = quietly(split_clips, groups_of(clips), strategy, *fractions, seed)
    wanted = {"train", "val", "test"} if fractions[1] else {"train", "val"}
    found = defaultdict(set)
    for _, label, _, split in rows:
        found[label].add(split)
    assert all(splits == wanted for splits in found.values())


@given(datasets(shared=True), datasets(shared=True), FRACTIONS, SEEDS)
@settings(max_examples=200)
def test_old_clips_stay_when_clips_are_added(old, new, fractions, seed):
    try:
        before, lent = quietly(split_clips, groups_of(old), "group", *fractions, seed)
        after, lent_later = quietly(split_clips, groups_of(old | new), "group", *fractions, seed)
    except NoctactError:
        assume(False)
    assume(not lent and not lent_later)
    assert split_by_clip(before).items() <= split_by_clip(after).items()


def test_among_many_recordings_none_is_lent_and_none_moves(capsys):
    small, large = (
        groups_of({f"{label}/r{n}.mp4": f"{label}{n}" for label in "ABC" for n in range(size)})
        for size in (40, 200)
    )
    before, after = (split_clips(groups, "group", 0.15, 0.2, 1) for groups in (small, large))
    assert capsys.readouterr().out == ""
    assert split_by_clip(before).items() <= split_by_clip(after).items()
    for _, _, group, split in after:
        at = place(group, 1)
        assert split == ("test" if at < 0.2 else "val" if at < 0.35 else "train")


@given(datasets(shared=True), st.sampled_from(["group", "random", "published"]), st.randoms())
def test_the_order_of_the_rows_does_not_matter(clips, strategy, random):
    table = groups_of(clips)
    order = random.sample(range(len(table)), len(table))
    results = []
    for rows in (table, table.iloc[order]):
        try:
            results.append(quietly(split_clips, rows, strategy, 0.2, 0.2, 5))
        except NoctactError as error:
            results.append(str(error))
    assert results[0] == results[1]


def test_the_seed_changes_the_split(capsys):
    clips = groups_of({f"{label}/r{n}.mp4": f"{label}{n}" for label in "AB" for n in range(50)})
    splits = {tuple(split_clips(clips, "group", 0.15, 0.15, seed)) for seed in range(20)}
    assert len(splits) == 20


@pytest.mark.parametrize("strategy", ["group", "random", "published"])
def test_the_same_seed_gives_the_same_split(strategy):
    clips = groups_of({f"{label}/r{n}.mp4": f"{label}{n}" for label in "AB" for n in range(50)})
    once, again = (split_clips(clips, strategy, 0.15, 0.15, 3) for _ in range(2))
    assert once == again


# --- fractions ------------------------------------------------------------------------------------


def count_splits(names, val, test, seed):
    splits, lent = quietly(assign, {name: {"A"} for name in names}, val, test, seed)
    return Counter(splits.values()), lent


@given(
    st.text(st.characters(exclude_characters="/"), max_size=8),
    st.integers(0, 10**6),
    st.integers(10, 2000),
    FRACTIONS,
    SEEDS,
)
def test_numbered_recordings_meet_the_fractions(text, first, n, fractions, seed):
    """Within 3 recordings, and within 4 where a class has hundreds."""
    val, test = fractions
    names = [f"{text}_{number}" for number in range(first, first + n)]
    count, lent = count_splits(names, val, test, seed)
    assume(not lent)
    for split, fraction in (("val", val), ("test", test), ("train", 1 - val - test)):
        assert abs(count[split] - n * fraction) <= (3 if n <= 200 else 4)


def test_recordings_without_numbers_meet_the_fractions_as_draws_do():
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [a + b + c for a in letters for b in letters for c in letters][:10_000]
    count, _ = count_splits(names, 0.2, 0.1, 1)
    # Standard deviations: 40 and 30.
    assert abs(count["val"] - 2000) < 160
    assert abs(count["test"] - 1000) < 120


def test_a_place_is_what_the_formula_says():
    golden = (5**0.5 - 1) / 2
    start = place("Run_g0_c", 1)
    for number in (1, 2, 7, 100):
        assert place(f"Run_g{number}_c", 1) == pytest.approx((start + number * golden) % 1)
        assert place(f"Run_g{number:05d}_c", 1) == pytest.approx((start + number * golden) % 1)
    assert place("Run_g0_c", 2) != start
    assert place("Run_g0_d", 1) != start


def test_the_suffix_of_a_clip_is_no_number():
    """The 4 of .mp4 is not the last number of a clip's name; a group's name has no suffix."""
    golden = (5**0.5 - 1) / 2
    for name in ("Run/take{}.mp4", "Run/v1.5_take{}.mp4", "Run/take{}", "v1.{}"):
        first, second = (place(name.format(number), 1) for number in (1, 2))
        assert (second - first) % 1 == pytest.approx(golden)


@given(st.text(), SEEDS)
def test_a_place_is_a_share(name, seed):
    assert 0 <= place(name, seed) < 1


# --- classes with few recordings ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recordings", "val", "test"), [(1, 0.2, 0.0), (2, 0.2, 0.2), (1, 0.2, 0.2)]
)
@pytest.mark.parametrize("seed", range(5))
def test_a_class_with_too_few_recordings_is_an_error_that_names_it(recordings, val, test, seed):
    labels = {f"a{n}": {"Walk"} for n in range(20)}
    labels |= {f"b{n}": {"sit down"} for n in range(recordings)}
    with pytest.raises(NoctactError, match=rf"class 'sit down': {recordings} recordings"):
        quietly(assign, labels, val, test, seed)


def test_the_nearest_recording_is_lent_and_reported(capsys):
    places = {f"r{n}": place(f"r{n}", 1) for n in range(3)}
    lowest, middle, highest = sorted(places, key=places.__getitem__)
    # Bounds around all three: test lies below them, train above, so that all belong to val.
    test = places[lowest] / 2
    val = (1 + places[highest]) / 2 - test
    splits = assign({name: {"Walk"} for name in places}, val, test, 1)
    assert splits == {lowest: "test", middle: "val", highest: "train"}
    assert capsys.readouterr().out == (
        f"recording '{lowest}' is lent to test by val, for class 'Walk'\n"
        f"recording '{highest}' is lent to train by val, for class 'Walk'\n"
    )


def test_a_class_is_not_left_empty_to_fill_another():
    """The nearest recording holds the only clips of class B in its split: the next is lent."""
    bounds = {"test": (0, 0.2), "val": (0.2, 0.4), "train": (0.4, 1)}
    names = sorted((f"r{n}" for n in range(60)), key=lambda name: place(name, 1))
    at = {
        split: [name for name in names if low <= place(name, 1) < high]
        for split, (low, high) in bounds.items()
    }
    labels = {at["test"][0]: {"B"}, at["val"][0]: {"A", "B"}, at["train"][0]: {"A", "B"}}
    labels |= {name: {"A"} for name in at["train"][1:3]}
    splits = assign(labels, 0.2, 0.2, 1)
    moved = {name: split for name, split in splits.items() if name not in at[split]}
    assert moved == {at["train"][1]: "test"}


# --- the notebooks' protocol ----------------------------------------------------------------------


@given(datasets(), SEEDS)
def test_published_is_the_notebooks_split(clips, seed):
    rows = split_clips(groups_of(clips), "published", 0.3, 0.3, seed)
    train, val = train_test_split(sorted(clips), test_size=0.2, random_state=31)
    assert split_by_clip(rows) == dict.fromkeys(train, "train") | dict.fromkeys(val, "val")


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, capsys):
    def call(clips, *options):
        write_csv(tmp_path / "groups.csv", GROUPS, [(*pair, "single") for pair in clips.items()])
        files = ["--groups", str(tmp_path / "groups.csv"), "--output", str(tmp_path / "split.csv")]
        code = main(["split", *files, *options])
        return code, tmp_path / "split.csv", capsys.readouterr()

    return call


def test_the_command_line_writes_and_prints_the_split(run):
    labels = ("NA", "1", "with, comma", "line\nline")
    clips = {f"{label}/{n}.mp4": f"{i}{n:02}" for i, label in enumerate(labels) for n in range(20)}
    code, file, captured = run(clips, *OPTIONS)
    assert code == 0
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["video_id"]: (row["label"], row["group"]) for row in rows} == {
        clip: (clip.split("/")[0], group) for clip, group in clips.items()
    }
    table = Counter((row["label"], row["split"]) for row in rows)
    line = next(line for line in captured.out.splitlines() if line.startswith("NA "))
    assert line.split() == ["NA", *(str(table["NA", split]) for split in SPLITS), "20"]
    first = file.read_bytes()
    run(dict(reversed(clips.items())), *OPTIONS)
    assert file.read_bytes() == first


def test_the_command_line_fails_with_one_line(run):
    clips = {f"{label}/{n}.mp4": f"{label}{n}" for label in "AB" for n in range(2)}
    code, file, captured = run(clips, *OPTIONS)
    assert code == 1
    assert captured.err.startswith("noctact split: class 'A': 2 recordings can't be divided")
    assert captured.err.count("\n") == 1
    assert not file.exists()


@given(st.integers(4, 60), st.integers(2, 8), SEEDS, st.booleans())
def test_each_class_has_its_share_whatever_the_names(recordings, classes, seed, numbered):
    """Round robin numbers in steps of 8, where multiples of the golden ratio lie close, too."""
    names = {
        f"{n * 8 + label}" if numbered else hashlib.sha256(f"{label} {n}".encode()).hexdigest(): {
            f"class{label}"
        }
        for label in range(classes)
        for n in range(recordings)
    }
    with redirect_stdout(io.StringIO()):
        splits = assign(names, 0.15, 0.2, seed)
    for label in range(classes):
        for split, fraction in (("val", 0.15), ("test", 0.2)):
            found = sum(
                splits[name] == split and own == {f"class{label}"} for name, own in names.items()
            )
            slack = max(1, recordings * fraction / 2)
            assert recordings * fraction - slack <= found
            assert found <= max(1, recordings * fraction + slack)
            assert found
