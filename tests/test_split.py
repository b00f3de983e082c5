"""The split: every clip once, no recording twice, no clip moved when clips are added."""

import csv
import hashlib
import json
import shutil
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from test_incremental import RUN, start, with_config
from whole_runs import snakemake

from noctact.__main__ import main
from noctact.division import Division, IndivisibleError, place
from noctact.errors import NoctactError
from noctact.split import Settings, make_split, split_clips
from noctact.split_column import split_by_column
from noctact.split_memory import NOTHING, Memory
from noctact.tables import GROUPS, QUARANTINE, write_csv

SPLITS = ("train", "val", "test")
FRACTIONS = st.tuples(st.integers(1, 40), st.integers(0, 40)).map(
    lambda pair: (pair[0] / 100, pair[1] / 100)
)
OPTIONS = ("--strategy=group", "--val=0.2", "--test=0.2", "--seed=4")
SEEDS = st.integers(0, 2**32)
LASTING = st.sampled_from(["group", "random"])


def groups_of(clips):
    """groups.csv, from the group of each clip."""
    return pd.DataFrame({"video_id": list(clips), "group": list(clips.values())})


def with_sizes(sizes, label="A"):
    """The group of each clip of recordings with these numbers of clips."""
    return {
        f"{label}/r{number}_{take}.mp4": f"{label}{number}"
        for number, clips in enumerate(sizes)
        for take in range(clips)
    }


@st.composite
def datasets(draw, shared=False, labels=("AB", "ABC", "ABCD")):
    """The group of each clip: 2 to 4 classes of 3 to 12 recordings with 1 to 3 clips each.

    With `shared`, recordings of one number hold clips of several classes.
    """
    clips = {}
    for label in draw(st.sampled_from(labels)):
        for number in range(draw(st.integers(3, 12))):
            group = f"r{number}" if shared else f"{label}{number}"
            for take in range(draw(st.integers(1, 3))):
                clips[f"{label}/r{number}_{take}.mp4"] = group
    return clips


def divide(labels, val, test, seed, old=None):
    """Recordings of one clip of each class in `labels`."""
    recordings = {name: dict.fromkeys(own, 1) for name, own in labels.items()}
    return Division(recordings, val, test, seed, old or {})


def split_by_clip(rows):
    return {clip: split for clip, _, _, split in rows}


def splits_of_groups(clips, splits):
    found = defaultdict(set)
    for clip, group in clips.items():
        found[group].add(splits[clip])
    return found


def splits_of_classes(splits):
    found = defaultdict(set)
    for clip, split in splits.items():
        found[clip.split("/")[0]].add(split)
    return found


# --- what holds for every split -------------------------------------------------------------------


@given(datasets(), st.sampled_from(["group", "random", "published"]), FRACTIONS, SEEDS)
def test_each_clip_is_in_one_split_with_its_label_and_group(clips, strategy, fractions, seed):
    rows = split_clips(groups_of(clips), strategy, *fractions, seed)
    assert [row[:3] for row in rows] == [
        (clip, clip.split("/")[0], group) for clip, group in sorted(clips.items())
    ]
    assert {split for *_, split in rows} <= set(SPLITS)


@given(datasets(shared=True), FRACTIONS, SEEDS)
def test_no_recording_is_in_two_splits(clips, fractions, seed):
    try:
        rows = split_clips(groups_of(clips), "group", *fractions, seed)
    except NoctactError:  # recordings of many classes can't always be divided
        assume(False)
    found = splits_of_groups(clips, split_by_clip(rows))
    assert set(map(len, found.values())) == {1}


@given(datasets(), LASTING, FRACTIONS, SEEDS)
def test_every_class_has_a_recording_in_each_split(clips, strategy, fractions, seed):
    rows = split_clips(groups_of(clips), strategy, *fractions, seed)
    wanted = {"train", "val", "test"} if fractions[1] else {"train", "val"}
    assert all(own == wanted for own in splits_of_classes(split_by_clip(rows)).values())


@given(datasets(shared=True), st.sampled_from(["group", "random", "published"]), st.randoms())
def test_the_order_of_the_rows_does_not_matter(clips, strategy, random):
    table = groups_of(clips)
    order = random.sample(range(len(table)), len(table))
    results = []
    for rows in (table, table.iloc[order]):
        try:
            results.append(split_clips(rows, strategy, 0.2, 0.2, 5))
        except NoctactError as error:
            results.append(str(error))
    assert results[0] == results[1]


def test_the_seed_changes_the_split():
    clips = groups_of({f"{label}/r{n}.mp4": f"{label}{n}" for label in "AB" for n in range(50)})
    splits = {tuple(split_clips(clips, "group", 0.15, 0.15, seed)) for seed in range(20)}
    assert len(splits) == 20


@pytest.mark.parametrize("strategy", ["group", "random", "published"])
def test_the_same_seed_gives_the_same_split(strategy):
    clips = groups_of({f"{label}/r{n}.mp4": f"{label}{n}" for label in "AB" for n in range(50)})
    once, again = (split_clips(clips, strategy, 0.15, 0.15, 3) for _ in range(2))
    assert once == again


def test_among_many_recordings_none_is_lent_and_the_names_decide():
    small, large = (
        {f"{label}/r{n}.mp4": f"{label}{n}" for label in "ABC" for n in range(size)}
        for size in (40, 200)
    )
    before, after = (make_split(clips, Settings("group", 0.15, 0.2, 1)) for clips in (small, large))
    assert not before.loans
    assert not after.loans
    assert before.splits.items() <= after.splits.items()
    for clip, split in after.splits.items():
        at = place(large[clip], 1)
        assert split == ("test" if at < 0.2 else "val" if at < 0.35 else "train")


# --- clips that are added -------------------------------------------------------------------------


def grow(clips, added, step):
    """`clips` and `added`; the groups have other names than before, as when the first is new."""
    return {clip: f"{group} {step}" for clip, group in (clips | added).items()}


@given(
    st.lists(datasets(labels=("A", "BC", "ABCD", "DE")), min_size=2, max_size=4),
    LASTING,
    FRACTIONS,
    SEEDS,
)
@settings(max_examples=200)
def test_no_clip_moves_when_clips_are_added(steps, strategy, fractions, seed):
    """To old recordings, as new recordings, in new classes, several times."""
    clips, memory = {}, NOTHING
    for step, added in enumerate(steps):
        clips = clips | added
        outcome = make_split(grow(clips, {}, step), Settings(strategy, *fractions, seed), memory)
        assert memory.splits.items() <= outcome.splits.items()
        assert not outcome.moved
        wanted = {"train", "val", "test"} if fractions[1] else {"train", "val"}
        assert all(own == wanted for own in splits_of_classes(outcome.splits).values())
        if strategy == "group":
            found = splits_of_groups(clips, outcome.splits)
            assert set(map(len, found.values())) == {1}
        memory = Memory(outcome.splits, outcome.scarce)


@given(datasets(shared=True), datasets(shared=True), FRACTIONS, SEEDS)
@settings(max_examples=200)
def test_clips_of_shared_recordings_move_as_a_last_resort_and_are_told(old, new, fractions, seed):
    wish = Settings("group", *fractions, seed)
    try:
        before = make_split(old, wish)
        after = make_split(old | new, wish, Memory(before.splits, ()))
    except NoctactError:
        assume(False)
    moved = sorted(clip for clip in old if before.splits[clip] != after.splits[clip])
    assert after.moved == moved
    # For a class without clips in a split, by its loan, and no other.
    assert {old[clip] for clip in moved} <= {loan.recording for loan in after.loans}
    classes = {clip.split("/")[0] for clip in old}
    assert not moved or classes < {clip.split("/")[0] for clip in new}


@given(datasets(), st.data(), SEEDS)
def test_recordings_that_turn_out_to_be_one_go_where_most_of_their_clips_were(clips, data, seed):
    wish = Settings("group", 0.2, 0.2, seed)
    before = make_split(clips, wish)
    own = sorted({group for clip, group in clips.items() if clip.startswith("A/")})
    one, other = data.draw(st.permutations(own))[:2]
    joined = {clip: one if group == other else group for clip, group in clips.items()}
    assume(len({group for group in joined.values() if group.startswith("A")}) >= 3)
    after = make_split(joined | {"A/new.mp4": one}, wish, Memory(before.splits, ()))
    where = [before.splits[clip] for clip, group in joined.items() if group == one]
    moved = {clip for clip in clips if before.splits[clip] != after.splits[clip]}
    assert after.moved == sorted(moved)
    lent = {clip for clip in clips if joined[clip] in {loan.recording for loan in after.loans}}
    assert {clip for clip in moved if joined[clip] != one} <= lent
    if not moved & lent:
        count = Counter(where)
        to = after.splits["A/new.mp4"]
        assert count[to] == max(count.values())
        assert to == min((s for s in SPLITS if count[s] == count[to]), key=SPLITS.index)
        assert moved == {
            clip for clip in clips if joined[clip] == one and before.splits[clip] != to
        }


def test_clips_that_vanish_are_gone_and_the_rest_stays():
    clips = with_sizes([2] * 12) | with_sizes([1] * 9, "B")
    wish = Settings("group", 0.2, 0.2, 3)
    before = make_split(clips, wish)
    kept = {clip: group for clip, group in clips.items() if "_1" not in clip}
    after = make_split(kept, wish, Memory(before.splits, ()))
    assert after.splits == {clip: before.splits[clip] for clip in kept}


def test_an_old_recording_is_lent_only_where_no_new_one_can_be():
    clips = with_sizes([1] * 8)
    memory = Memory(dict.fromkeys(clips, "train") | {"A/r0_0.mp4": "test"}, ())
    wish = Settings("group", 0.2, 0.2, 1)
    forced = make_split(clips, wish, memory)
    assert len(forced.moved) == 1
    assert forced.splits[forced.moved[0]] == "val"
    added = clips | {f"A/new{n}.mp4": f"new{n}" for n in range(2)}
    free = make_split(added, wish, memory)
    assert free.moved == []
    assert "val" in {free.splits["A/new0.mp4"], free.splits["A/new1.mp4"]}


def test_fractions_are_mended_by_new_recordings_alone():
    """Far too many old clips are in val: they stay, what is new goes elsewhere, and it is told."""
    clips = with_sizes([1] * 20)
    old = dict.fromkeys(clips, "val") | {"A/r0_0.mp4": "test", "A/r1_0.mp4": "train"}
    added = with_sizes([1] * 40)
    outcome = make_split(added, Settings("group", 0.15, 0.15, 1), Memory(old, ()))
    assert old.items() <= outcome.splits.items()
    assert {outcome.splits[clip] for clip in set(added) - set(old)} == {"train", "test"}
    assert outcome.beyond == {"val": ["A"], "test": []}


def test_what_a_fresh_split_would_move_is_counted():
    clips = with_sizes([1] * 30)
    wish = Settings("group", 0.2, 0.2, 1)
    fresh = make_split(clips, wish).splits
    other = make_split(clips, wish._replace(seed=2)).splits
    differing = sum(fresh[clip] != other[clip] for clip in clips)
    assert differing
    outcome = make_split(clips, wish, Memory(other | {"A/gone.mp4": "val"}, ()))
    assert (outcome.splits, outcome.kept) == (other, differing)
    assert make_split(clips, wish, Memory(fresh, ())).kept == 0


# --- fractions ------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(1, 60), min_size=3, max_size=15), min_size=1, max_size=3),
    st.tuples(st.integers(1, 50), st.integers(0, 49)),
    SEEDS,
)
@settings(max_examples=300)
def test_fractions_are_met_within_the_clips_that_are_stated(classes, fractions, seed):
    clips = {}
    for label, sizes in zip("ABC", classes, strict=False):
        clips |= with_sizes(sizes, label)
    val, test = fractions[0] / 100, fractions[1] / 100
    outcome = make_split(clips, Settings("group", val, test, seed))
    count = Counter((clip.split("/")[0], split) for clip, split in outcome.splits.items())
    for split, fraction in (("val", val), ("test", test)):
        slacks = []
        for label, sizes in zip("ABC", classes, strict=False):
            wanted = fraction * sum(sizes)
            slacks.append(max(wanted / 2, *sizes))
            assert abs(count[label, split] - wanted) <= slacks[-1] + 1e-9
        if fraction:
            assert outcome.bound[split] == int(max(slacks))
            assert outcome.beyond[split] == []


@given(datasets(), datasets(), FRACTIONS, SEEDS)
def test_the_classes_that_are_off_by_more_are_named(old, new, fractions, seed):
    """Old clips, all of which were divided otherwise, stay."""
    before = make_split(old, Settings("group", 0.4, 0.4, seed)).splits
    if not fractions[1]:
        before = {clip: "val" if split == "test" else split for clip, split in before.items()}
    clips = old | new
    outcome = make_split(clips, Settings("group", *fractions, seed), Memory(before, ()))
    for split, fraction in zip(("val", "test"), fractions, strict=True):
        if not fraction:
            continue
        off = []
        for label in sorted({clip.split("/")[0] for clip in clips}):
            own = [clip for clip in clips if clip.startswith(f"{label}/")]
            largest = max(Counter(clips[clip] for clip in own).values())
            found = sum(outcome.splits[clip] == split for clip in own)
            wanted = fraction * len(own)
            if abs(found - wanted) > max(wanted / 2, largest):
                off.append(label)
        assert outcome.beyond[split] == off


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
    division = divide({name: {"A"} for name in names}, val, test, seed)
    assume(not division.loans)
    count = Counter(division.splits.values())
    for split, fraction in (("val", val), ("test", test), ("train", 1 - val - test)):
        assert abs(count[split] - n * fraction) <= (3 if n <= 200 else 4)


def test_recordings_without_numbers_meet_the_fractions_as_draws_do():
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [a + b + c for a in letters for b in letters for c in letters][:10_000]
    count = Counter(divide({name: {"A"} for name in names}, 0.2, 0.1, 1).splits.values())
    # Standard deviations: 40 and 30.
    assert abs(count["val"] - 2000) < 160
    assert abs(count["test"] - 1000) < 120


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
    splits = divide(names, 0.15, 0.2, seed).splits
    for label in range(classes):
        for split, fraction in (("val", 0.15), ("test", 0.2)):
            found = sum(
                splits[name] == split and own == {f"class{label}"} for name, own in names.items()
            )
            slack = max(1, recordings * fraction / 2)
            assert recordings * fraction - slack <= found
            assert found <= max(1, recordings * fraction + slack)
            assert found


@pytest.mark.parametrize("seed", range(10))
def test_a_recording_with_most_clips_of_a_class_is_trained_on(seed):
    clips = with_sizes([30, 1, 2, 1, 3]) | with_sizes([1] * 9, "B")
    outcome = make_split(clips, Settings("group", 0.3, 0.3, seed))
    assert outcome.splits["A/r0_0.mp4"] == "train"
    stays = Memory(dict.fromkeys((f"A/r0_{take}.mp4" for take in range(30)), "val"), ())
    assert make_split(clips, Settings("group", 0.3, 0.3, seed), stays).moved == []


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
    with pytest.raises(IndivisibleError) as caught:
        divide(labels, val, test, seed)
    assert caught.value.label == "sit down"


def scarce_clips():
    """Class B has two recordings with two clips each, C one with five."""
    return with_sizes([1] * 12) | with_sizes([2, 2], "B") | with_sizes([5], "C")


# Ten triples of five recordings: however these are divided, a class lacks a split.
TRIPLES = {
    f"{label}/{n}.mp4": f"r{n}"
    for label, numbers in zip("ABCDEFGHIJ", combinations(range(5), 3), strict=True)
    for n in numbers
}


@pytest.mark.parametrize(
    ("clips", "strategy", "fractions", "line"),
    [
        (
            with_sizes([1] * 9) | with_sizes([20], "B"),
            "group",
            (0.2, 0.2),
            "class 'B': 1 recording can't be divided into train, val, test: 'B0' ('B/r0_0.mp4', "
            "'B/r0_1.mp4' and 18 more); add recordings, or set split.test to 0, or set "
            "split.scarce to clips, which divides recordings",
        ),
        (
            with_sizes([1] * 9) | with_sizes([1, 1], "B"),
            "group",
            (0.2, 0.2),
            "class 'B': 2 recordings can't be divided into train, val, test: 'B0' ('B/r0_0.mp4'), "
            "'B1' ('B/r1_0.mp4'); add recordings, or set split.test to 0",
        ),
        (
            with_sizes([1] * 9) | with_sizes([2], "B"),
            "random",
            (0.2, 0.2),
            "class 'B': 2 clips can't be divided into train, val, test: 'B/r0_0.mp4', "
            "'B/r0_1.mp4'; add clips, or set split.test to 0",
        ),
        (
            with_sizes([1] * 9) | with_sizes([1], "B"),
            "group",
            (0.2, 0),
            "class 'B': 1 recording can't be divided into train, val: 'B0' ('B/r0_0.mp4'); add "
            "recordings",
        ),
    ],
)
def test_what_can_not_be_divided_is_named(clips, strategy, fractions, line):
    with pytest.raises(NoctactError) as caught:
        make_split(clips, Settings(strategy, *fractions, 1))
    assert str(caught.value) == line


def test_recordings_of_many_classes_that_can_not_be_divided_are_named():
    wish = Settings("group", 0.2, 0.2, 1)
    with pytest.raises(NoctactError, match=r": 3 recordings can't.*; they hold clips of other"):
        make_split(TRIPLES, wish)
    outcome = make_split(TRIPLES, wish._replace(scarce="clips"))
    assert outcome.scarce
    assert all(own == set(SPLITS) for own in splits_of_classes(outcome.splits).values())


def test_scarce_classes_are_divided_by_clips_where_that_is_wanted():
    clips = scarce_clips()
    outcome = make_split(clips, Settings("group", 0.2, 0.2, 1, "clips"))
    assert outcome.scarce == ["B", "C"]
    assert all(own == set(SPLITS) for own in splits_of_classes(outcome.splits).values())
    plain = {clip: group for clip, group in clips.items() if clip.startswith("A/")}
    rows = split_clips(groups_of(plain), "group", 0.2, 0.2, 1)
    assert split_by_clip(rows).items() <= outcome.splits.items()
    with pytest.raises(NoctactError, match="class 'B': 2 recordings"):
        make_split(clips, Settings("group", 0.2, 0.2, 1))


def test_a_class_with_fewer_clips_than_splits_is_an_error_all_the_same():
    clips = with_sizes([1] * 12) | with_sizes([2], "B")
    with pytest.raises(NoctactError, match="class 'B': 2 clips can't be divided") as caught:
        make_split(clips, Settings("group", 0.2, 0.2, 1, "clips"))
    assert "split.scarce" not in str(caught.value)


def test_a_scarce_class_stays_as_it_was_when_it_is_scarce_no_more():
    clips = scarce_clips()
    wish = Settings("group", 0.2, 0.2, 1, "clips")
    before = make_split(clips, wish)
    memory = Memory(before.splits, before.scarce)
    more = clips | with_sizes([2] * 6, "B") | with_sizes([5, 1, 1, 1], "C")
    after = make_split(more, wish, memory)
    assert before.splits.items() <= after.splits.items()
    assert after.scarce == ["B", "C"]
    # Without leave to leak, each recording goes where most of its clips were.
    strict = make_split(more, wish._replace(scarce="stop"), memory)
    assert set(map(len, splits_of_groups(more, strict.splits).values())) == {1}
    assert strict.scarce == []
    assert strict.moved
    assert {clip.split("/")[0] for clip in strict.moved} <= {"B", "C"}


def test_a_way_out_for_a_new_class_moves_no_others():
    """`scarce` is no setting that starts anew."""
    wish = Settings("group", 0.2, 0.2, 1)
    before = make_split(with_sizes([1] * 12), wish._replace(seed=7))
    after = make_split(
        scarce_clips(), wish._replace(scarce="clips"), Memory(before.splits, before.scarce)
    )
    assert before.splits.items() <= after.splits.items()


def test_the_nearest_recording_is_lent():
    places = {f"r{n}": place(f"r{n}", 1) for n in range(3)}
    lowest, middle, highest = sorted(places, key=places.__getitem__)
    # Bounds around all three: test lies below them, train above, so that all belong to val.
    test = places[lowest] / 2
    val = (1 + places[highest]) / 2 - test
    division = divide({name: {"Walk"} for name in places}, val, test, 1)
    assert division.splits == {lowest: "test", middle: "val", highest: "train"}
    assert division.loans == [
        (lowest, "val", "test", "Walk"),
        (highest, "val", "train", "Walk"),
    ]


@given(
    st.dictionaries(
        st.integers(0, 40).map(lambda number: f"r{number}"),
        st.dictionaries(st.sampled_from("ABC"), st.integers(1, 9), min_size=1),
        min_size=6,
        max_size=40,
    ),
    FRACTIONS,
    SEEDS,
)
def test_no_class_falls_below_its_share_for_the_share_of_another(recordings, fractions, seed):
    old = {name: SPLITS[int(name[1:]) % 3] for name in recordings if len(name) == 2}
    if not fractions[1]:
        old = {name: "val" if split == "test" else split for name, split in old.items()}
    try:
        division = Division(recordings, *fractions, seed, old)
    except IndivisibleError:
        assume(False)
    clips = defaultdict(Counter)
    for name, split in division.splits.items():
        clips[split].update(recordings[name])
    for name, lender, borrower, label in reversed(division.loans):
        clips[borrower].subtract(recordings[name])
        if name in division.giants or not clips[borrower][label]:
            assert borrower == "train" or not clips[borrower][label]
        else:
            assert name not in old
            assert all(
                clips[lender][one] >= division.bounds(one, lender)[0] for one in recordings[name]
            )
        assert name in division.giants or all(clips[lender][one] for one in recordings[name])
        clips[lender].update(recordings[name])


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
    splits = divide(labels, 0.2, 0.2, 1).splits
    moved = {name: split for name, split in splits.items() if name not in at[split]}
    assert moved == {at["train"][1]: "test"}


# --- the notebooks' protocol ----------------------------------------------------------------------


@given(datasets(), SEEDS)
def test_published_is_the_notebooks_split(clips, seed):
    rows = split_clips(groups_of(clips), "published", 0.3, 0.3, seed)
    train, val = train_test_split(sorted(clips), test_size=0.2, random_state=31)
    assert split_by_clip(rows) == dict.fromkeys(train, "train") | dict.fromkeys(val, "val")


# --- the user's own split -------------------------------------------------------------------------

OWN = {f"{label}/{n}.mp4": SPLITS[n % 3] for label in "AB" for n in range(6)}


def write_own(file, rows, header=("video_id", "split"), encoding="utf-8"):
    with file.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


@given(st.dictionaries(st.sampled_from(sorted(OWN)), st.sampled_from(SPLITS)), st.randoms())
def test_a_column_is_taken_as_it_is(tmp_path_factory, changes, random):
    splits = OWN | changes
    rows = random.sample(sorted(splits.items()), len(splits))
    file = write_own(tmp_path_factory.mktemp("own") / "lists.csv", rows)
    found = {(clip[0], split) for clip, split in splits.items()}
    if {("A", "train"), ("B", "train")} <= found and "val" in splits.values():
        assert split_by_column(file, "split", splits, ()) == splits
    else:
        with pytest.raises(NoctactError, match=r"lists\.csv"):
            split_by_column(file, "split", splits, ())


def test_a_file_of_several_columns_quarantined_clips_and_repeated_rows(tmp_path):
    rows = [(clip, "x", split, "train") for clip, split in OWN.items()]
    rows += [rows[0], ("A/broken.mp4", "x", "val", ""), ()]
    rows += [("A/cafe\u0301.mp4", "x", "train")]  # in other code points, and a cell short
    header = ("video_id", "more", "split2", "split1")
    file = write_own(tmp_path / "lists.csv", rows, header, "utf-8-sig")
    clips = [*OWN, "A/caf\xe9.mp4"]
    assert split_by_column(file, "split2", clips, {"A/broken.mp4"}) == OWN | {
        "A/caf\xe9.mp4": "train"
    }


def without(*clips):
    return [row for row in OWN.items() if row[0] not in clips]


@pytest.mark.parametrize(
    ("rows", "header", "parts"),
    [
        ([*OWN.items()], ("video_id", "part"), ["no column 'split' among 'video_id', 'part';"]),
        ([*OWN.items()], ("clip", "split"), ["no column 'video_id' among 'clip', 'split';"]),
        ([*OWN.items()], ("video_id;split",), ["no column 'video_id' among 'video_id;split';"]),
        (
            [(*row, "val") for row in OWN.items()],
            ("video_id", "split", "split"),
            ["2 columns 'split' among 'video_id', 'split', 'split';"],
        ),
        (without("A/0.mp4"), None, ["missing: 1 clip, 'A/0.mp4'"]),
        (
            without(*sorted(OWN)[:7]),
            None,
            ["missing: 7 clips, 'A/0.mp4', 'A/1.mp4'", "'A/4.mp4' and 2 more"],
        ),
        ([*OWN.items(), ("A/9.mp4", "val")], None, ["no such clip: 1 clip, 'A/9.mp4'"]),
        ([*OWN.items(), ("A/0.mp4", "val")], None, ["several splits: 1 clip, 'A/0.mp4'"]),
        (
            [*without("A/0.mp4"), ("A/0.mp4", "Train")],
            None,
            ["words other than train, val, test in column 'split': 1 clip, 'A/0.mp4: Train'"],
        ),
        ([*without("A/0.mp4"), ("A/0.mp4",)], None, ["words other than", "'A/0.mp4: '"]),
        (
            [(clip, "val" if clip < "B" else split) for clip, split in OWN.items()],
            None,
            ["no clip to train on in 1 of 2 classes, 'A'"],
        ),
        ([(clip, "val") for clip in OWN], None, ["no clip to train on in 2 of 2 classes"]),
        ([(clip, "train") for clip in OWN], None, ["column 'split': no clip in val"]),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, rows, header, parts):
    file = write_own(tmp_path / "lists.csv", rows, header or ("video_id", "split"))
    with pytest.raises(NoctactError) as caught:
        split_by_column(file, "split", OWN, {"A/broken.mp4"})
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "No such file or directory"),
        (b"", "no column 'video_id'"),
        (b"\x1aE\xdf\xa3\x93", "not a CSV table in UTF-8"),
        (b'video_id,split\n"A/0.mp4"x,train\n', "not a CSV table in UTF-8"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, content, part):
    file = tmp_path / "lists.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NoctactError) as caught:
        split_by_column(file, "split", OWN, ())
    assert str(caught.value).startswith(f"{file}: {part}")
    assert "split.file" in str(caught.value) or "split.column" in str(caught.value)
    with pytest.raises(NoctactError, match="Is a directory"):
        split_by_column(tmp_path, "split", OWN, ())


@pytest.mark.parametrize(
    ("gone", "line"),
    [
        ({("A", "val")}, "no clip in val in 1 of 2 classes, 'A'"),
        ({("B", "test")}, "no clip in test in 1 of 2 classes, 'B'"),
        ({("A", "test"), ("B", "test")}, "no clip in test; the models are compared on val"),
        (set(), None),
    ],
)
def test_a_class_that_is_not_in_each_split_is_told(tmp_path, capsys, gone, line):
    splits = {clip: "train" if (clip[0], split) in gone else split for clip, split in OWN.items()}
    file = write_own(tmp_path / "lists.csv", splits.items())
    assert split_by_column(file, "split", OWN, ()) == splits
    printed = capsys.readouterr().out
    assert printed.endswith(f"{file}, column 'split': {line}\n") if line else not printed
    assert printed.startswith("warning: ") == (len(gone) == 1)


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, capsys):
    def call(clips, *options):
        write_csv(tmp_path / "groups.csv", GROUPS, [(*pair, "single") for pair in clips.items()])
        files = ["--groups", str(tmp_path / "groups.csv"), "--output", str(tmp_path / "split.csv")]
        files += ["--facts", str(tmp_path / "split.json")]
        code = main(["split", *files, *options])
        return code, tmp_path / "split.csv", capsys.readouterr()

    return call


def read_splits(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return {row["video_id"]: row["split"] for row in csv.DictReader(stream)}


def read_facts(file):
    return json.loads(file.with_name("split.json").read_text(encoding="utf-8"))


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
    first, facts = file.read_bytes(), file.with_name("split.json").read_bytes()
    run(dict(reversed(clips.items())), *OPTIONS)
    assert file.read_bytes() == first
    assert file.with_name("split.json").read_bytes() == facts


def test_the_facts_are_those_of_the_table(run):
    clips = with_sizes([3, 1, 2, 5, 1, 1, 4]) | with_sizes([2] * 8, "B")
    code, file, captured = run(clips, *OPTIONS)
    assert code == 0
    splits, facts = read_splits(file), read_facts(file)
    assert list(facts) == sorted(facts)
    parts = facts.pop("splits")
    asked = {"train": (0.6, None), "val": (0.2, 5), "test": (0.2, 5)}
    for split, (fraction, bound) in asked.items():
        own = [clip for clip in clips if splits[clip] == split]
        assert parts.pop(split) == {
            "clips": len(own),
            "recordings": len({clips[clip] for clip in own}),
            "asked": fraction,
            "got": pytest.approx(len(own) / 33, abs=1e-6),
            "bound": bound,
            "beyond": [],
        }
        off = f"; at most {bound} clips off in a class" if bound else ""
        assert (
            f"{split}: {len(own)} clips of {len({clips[clip] for clip in own})} recordings, "
            f"{100 * len(own) / 33:.3g} % (asked {100 * fraction:.3g} %{off})\n"
        ) in captured.out
    assert not parts
    at = {group: place(group, 4) for group in clips.values()}
    home = {
        group: "test" if at[group] < 0.2 else "val" if at[group] < 0.4 else "train" for group in at
    }
    assert facts == {
        "strategy": "group",
        "val": 0.2,
        "test": 0.2,
        "seed": 4,
        "scarce": "stop",
        "file": None,
        "column": None,
        "across": 0,
        "lent": sorted({group for clip, group in clips.items() if splits[clip] != home[group]}),
        "moved": [],
        "kept": 0,
        "scarce_classes": [],
    }
    assert facts["lent"]
    for name in facts["lent"]:
        assert f"recording {name!r} is lent to " in captured.out


def test_what_is_out_of_the_ordinary_is_told(run, tmp_path):
    clips = scarce_clips() | {f"{label}/both{n}.mp4": f"both{n}" for label in "AB" for n in "12"}
    memory = tmp_path / "memory.json"
    code, file, captured = run(clips, *OPTIONS, "--scarce=clips", f"--memory={memory}")
    assert code == 0
    assert read_facts(file)["scarce_classes"] == ["C"]
    assert json.loads(memory.read_text())["scarce"] == ["C"]
    across = read_facts(file)["across"]
    assert across == sum(
        len(own) > 1 for own in splits_of_groups(clips, read_splits(file)).values()
    )
    assert "warning: too few recordings in 1 class, 'C': divided by clips\n" in captured.out
    assert f"{across} recording of 17 in several splits, 'C0'" in captured.out
    assert (
        "2 recordings with clips of several classes, 'both1' for example: 'A/both1.mp4', "
        "'B/both1.mp4'\n"
    ) in captured.out


def test_the_command_line_remembers(run, tmp_path):
    memory = tmp_path / "memory.json"
    options = (*OPTIONS, f"--memory={memory}")
    old = with_sizes([1] * 12)
    _, file, first = run(old, *options)
    before = read_splits(file)
    assert run(old, *OPTIONS)[2].out == first.out  # a first run does not differ
    tree = json.loads(memory.read_text())
    swapped = {"train": "val", "val": "train", "test": "test"}
    tree["splits"] = {clip: swapped[split] for clip, split in before.items()}
    memory.write_text(json.dumps(tree))
    clips = with_sizes([1] * 20)
    _, file, captured = run(clips, *options)
    after = read_splits(file)
    assert tree["splits"].items() <= after.items()
    moved_by_fresh = sum(
        split_by_clip(split_clips(groups_of(clips), "group", 0.2, 0.2, 4))[clip] != after[clip]
        for clip in old
    )
    assert read_facts(file)["kept"] == moved_by_fresh > 0
    assert (
        f"{moved_by_fresh} clips kept where a fresh split would not put them; delete the folder "
        f"{tmp_path} for one\n"
    ) in captured.out
    assert f"val: {sum(s == 'val' for s in after.values())} clips" in captured.out
    assert "off in a class, but for 'A')" in captured.out
    one = min(clip for clip in after if after[clip] == "train")
    other = min(clip for clip in after if after[clip] == "test")
    clips[one] = clips[other]
    _, file, captured = run(clips, *options)
    assert read_facts(file)["moved"] == [other]
    assert f"1 clip moved to another split, {other!r}: added clips show" in captured.out
    # Told once; what was decided lasts.
    assert run(clips, *options)[1].read_bytes() == file.read_bytes()
    assert read_facts(file)["moved"] == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "damaged (Expecting"),
        ("[]", "damaged ("),
        ("null", "damaged ("),
        ("\x00\xff", "damaged ("),
        ('{"settings": {}, "splits": {}}', "damaged ('scarce')"),
        ('{"settings": 1, "splits": {}, "scarce": []}', "damaged ("),
        ('{"settings": {}, "splits": {}, "scarce": []}', "made with strategy None, not group, "),
        (("splits", {"A/r0_0.mp4": "valid"}), "damaged (splits other than train, val, test)"),
        (("splits", {"A/r0_0.mp4": []}), "damaged ("),
        (("splits", [1]), "damaged ("),
        (("settings", {"strategy": "group", "val": 0.2, "test": 0.2, "seed": 5}), "made with seed"),
    ],
)
def test_a_memory_that_is_of_no_use_is_told_and_not_used(run, tmp_path, content, line):
    memory = tmp_path / "memory.json"
    options = (*OPTIONS, f"--memory={memory}")
    clips = with_sizes([1] * 12)
    _, file, first = run(clips, *options)
    fresh, good = file.read_bytes(), memory.read_bytes()
    if isinstance(content, tuple):
        content = json.dumps(json.loads(good) | dict([content]))
    memory.write_bytes(content.encode("latin-1"))
    code, file, captured = run(clips, *options)
    assert code == 0
    told, _, rest = captured.out.partition("\n")
    assert told.startswith(f"{memory}: {line}")
    assert told.endswith("; all clips are split anew")
    assert rest == first.out
    assert (file.read_bytes(), memory.read_bytes()) == (fresh, good)


@pytest.mark.parametrize("change", ["--seed=5", "--val=0.3", "--test=0.1", "--strategy=random"])
def test_other_settings_split_anew(run, tmp_path, change):
    clips = with_sizes([2] * 12)
    options = (*OPTIONS, change)
    run(clips, *OPTIONS, f"--memory={tmp_path / 'memory.json'}")
    _, file, captured = run(clips, *options, f"--memory={tmp_path / 'memory.json'}")
    anew = file.read_bytes()
    assert "; all clips are split anew\n" in captured.out
    run(clips, *options)
    assert file.read_bytes() == anew


def test_another_way_with_scarce_classes_splits_nothing_anew(run, tmp_path):
    memory = tmp_path / "memory.json"
    options = (*OPTIONS, f"--memory={memory}")
    _, file, _ = run(with_sizes([1] * 12), *options)
    tree = json.loads(memory.read_text())
    tree["splits"] |= {clip: "val" for clip, split in read_splits(file).items() if split == "test"}
    memory.write_text(json.dumps(tree))
    del tree["splits"]["A/r0_0.mp4"]
    code, file, captured = run(scarce_clips(), *options, "--scarce=clips")
    assert code == 0
    assert "anew" not in captured.out
    changed = {clip for clip, split in tree["splits"].items() if read_splits(file)[clip] != split}
    # All are in train or val: a recording is lent to test.
    assert sorted(changed) == read_facts(file)["moved"]
    assert len(changed) == 1


def test_published_has_no_memory(run, tmp_path):
    options = ("--strategy=published", f"--memory={tmp_path / 'memory.json'}")
    clips = with_sizes([1] * 12)
    run(clips, *options)
    more = with_sizes([1] * 13)
    _, file, captured = run(more, *options)
    train, _ = train_test_split(sorted(more), test_size=0.2, random_state=31)
    assert {clip for clip, split in read_splits(file).items() if split == "train"} == set(train)
    facts = read_facts(file)
    assert [facts[key] for key in ("val", "test", "seed", "scarce")] == [None] * 4
    assert facts["splits"]["val"]["asked"] == 0.2
    assert "val: 3 clips of 3 recordings, 23.1 % (asked 20 %)\n" in captured.out
    assert "anew" not in captured.out


def test_the_command_line_takes_a_column(run, tmp_path):
    file = write_own(tmp_path / "lists.csv", [*OWN.items(), ("A/broken.mp4", "val")])
    write_csv(tmp_path / "quarantine.csv", QUARANTINE, [("A/broken.mp4", "x", "broken")])
    options = ["--strategy=column", f"--file={file}"]
    clips = {clip: f"g{clip[2]}" if clip < "A/4" else clip for clip in OWN}
    clips["A/1.mp4"] = "g0"
    code, _, captured = run(clips, *options)
    assert code == 1
    assert captured.err.startswith(f"noctact split: {file}: no such clip: 1 clip, 'A/broken.mp4'")
    assert captured.err.count("\n") == 1
    code, output, captured = run(
        clips, *options, f"--quarantine={tmp_path / 'quarantine.csv'}", "--column=split"
    )
    assert code == 0
    assert read_splits(output) == OWN
    facts = read_facts(output)
    assert (facts["strategy"], facts["file"], facts["column"]) == ("column", str(file), "split")
    assert facts["across"] == 1
    assert facts["splits"]["val"]["asked"] is None
    assert "1 recording of 11 in several splits, 'g0': a model may remember" in captured.out
    assert "val: 4 clips of 4 recordings, 33.3 %\n" in captured.out
    code, _, captured = run(clips, "--strategy=column")
    assert (code, captured.err) == (
        1,
        "noctact split: --file: needed with --strategy column\n",
    )


def test_the_command_line_fails_with_one_line(run, tmp_path):
    clips = {f"{label}/{n}.mp4": f"{label}{n}" for label in "AB" for n in range(2)}
    code, file, captured = run(clips, *OPTIONS, f"--memory={tmp_path / 'memory.json'}")
    assert code == 1
    assert captured.err.startswith("noctact split: class 'A': 2 recordings can't be divided")
    assert captured.err.count("\n") == 1
    assert not file.exists()
    assert not (tmp_path / "memory.json").exists()


# --- the rule -------------------------------------------------------------------------------------


def call(checkout: Path) -> str:
    """Make split.csv; what Snakemake says."""
    return snakemake(checkout, str(RUN / "split/split.csv")).stdout


def test_a_run_keeps_old_clips_where_they_are_whatever_fails(tmp_path):
    checkout = start(tmp_path)
    folder = checkout / RUN / "split"
    call(checkout)
    splits = read_splits(folder / "split.csv")
    # As if split when there were other clips.
    memory = json.loads((folder / "memory.json").read_text())
    swapped = {"train": "val", "val": "train", "test": "test"}
    memory["splits"] = {clip: swapped[split] for clip, split in splits.items()}
    (folder / "memory.json").write_text(json.dumps(memory))

    (checkout / "clips/few").mkdir()
    for number in range(2):
        shutil.copy(checkout / "clips/kick/r0_a.mkv", checkout / f"clips/few/{number}.mkv")
    shutil.copy(checkout / "clips/kick/r1_a.mkv", checkout / "clips/few/2.mkv")
    assert "noctact split: class 'few': 2 recordings can't be divided" in call(checkout)
    assert not (folder / "split.csv").exists()
    # A call later it is still owed.
    assert "noctact split: class 'few': 2 recordings can't be divided" in call(checkout)

    with_config(split={"scarce": "clips"})(checkout)
    call(checkout)
    after = read_splits(folder / "split.csv")
    assert memory["splits"].items() <= after.items()
    assert "Nothing to be done" in call(checkout)
    (folder / "split.csv").unlink()
    call(checkout)
    assert read_splits(folder / "split.csv") == after
    shutil.rmtree(folder)
    call(checkout)
    assert read_splits(folder / "split.csv") != after


def test_the_rule_takes_a_column(tmp_path):
    checkout = start(tmp_path)
    own = {f"{label}/r{n}_a.mkv": SPLITS[n % 3] for label in ("jump", "kick") for n in range(6)}
    write_own(checkout / "my lists.csv", [*own.items(), ("kick/broken.mkv", "val")])
    (checkout / "clips/kick/broken.mkv").touch()
    with_config(split={"strategy": "column", "file": "my lists.csv"})(checkout)
    call(checkout)
    assert read_splits(checkout / RUN / "split/split.csv") == own
    assert "Nothing to be done" in call(checkout)
    own["kick/r0_a.mkv"] = "val"
    write_own(checkout / "my lists.csv", own.items())
    call(checkout)
    assert read_splits(checkout / RUN / "split/split.csv") == own
    (checkout / "my lists.csv").unlink()
    assert "my lists.csv" in call(checkout)
