"""Which frames are taken: lists worked out by hand, and what must hold for all clips."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctact.sampling import RULES, by_index, by_time

numbers = st.integers(1, 10**6)
counts = st.integers(1, 200)
rules = st.sampled_from(RULES)


# --- by index -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "n_frames", "count", "indices"),
    [
        ("left", 100, 10, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        ("left", 10, 10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("left", 15, 10, [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]),
        ("left", 19, 4, [0, 4, 9, 14]),
        ("left", 3, 10, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]),
        ("left", 7, 1, [0]),
        ("center", 100, 10, [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]),
        ("center", 10, 10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("center", 19, 4, [2, 7, 11, 16]),
        ("center", 3, 10, [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]),
        ("center", 7, 1, [3]),
        ("endpoints", 100, 10, [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]),
        ("endpoints", 10, 10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("endpoints", 19, 4, [0, 6, 12, 18]),
        ("endpoints", 3, 10, [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]),
        ("endpoints", 7, 1, [0]),
        *((rule, 1, 3, [0, 0, 0]) for rule in RULES),
    ],
)
def test_by_index_by_hand(rule, n_frames, count, indices):
    assert by_index(rule, count, n_frames) == indices


@given(rules, counts, numbers)
def test_indices_are_of_frames_that_exist_and_never_run_back(rule, count, n_frames):
    indices = by_index(rule, count, n_frames)
    assert len(indices) == count
    assert 0 <= indices[0] <= indices[-1] < n_frames
    assert indices == sorted(indices)


@given(counts, numbers)
def test_left_is_the_exact_rule_of_the_notebooks(count, n_frames):
    for i, index in enumerate(by_index("left", count, n_frames)):
        assert index <= Fraction(i * n_frames, count) < index + 1


def test_left_agrees_with_the_notebooks_floating_point():
    """A quotient of whole numbers, rounded to a double, never crosses a whole number."""
    for count in range(1, 31):
        for n_frames in range(1, 1001):
            expected = [int(i * n_frames / count) for i in range(count)]
            assert by_index("left", count, n_frames) == expected


@given(st.integers(2, 200), numbers)
def test_endpoints_takes_the_first_and_the_last_frame(count, n_frames):
    indices = by_index("endpoints", count, n_frames)
    assert (indices[0], indices[-1]) == (0, n_frames - 1)


@given(counts, numbers)
def test_center_is_the_same_from_both_ends(count, n_frames):
    """Mirrored, but for points that fall on the border of two frames."""
    indices = by_index("center", count, n_frames)
    mirrored = [n_frames - 1 - index for index in reversed(indices)]
    for i, (index, mirror) in enumerate(zip(indices, mirrored, strict=True)):
        on_border = (2 * i + 1) * n_frames % (2 * count) == 0
        assert index - mirror == (1 if on_border else 0)


# --- by time --------------------------------------------------------------------------------------

# On screen for 40, 40, 120, 300, 40 and 60.
VARIABLE = [0, 40, 80, 200, 500, 540]


@pytest.mark.parametrize(
    ("rule", "count", "indices"),
    [
        ("left", 5, [0, 2, 3, 3, 3]),  # at 0, 120, 240, 360, 480
        ("center", 5, [1, 2, 3, 3, 5]),  # at 60, 180, 300, 420, 540
        ("endpoints", 5, [0, 2, 3, 3, 5]),  # at 0, 135, 270, 405, 540
        ("left", 3, [0, 3, 3]),  # at 0, 200, 400: at its stamp a frame is on screen
        ("left", 1, [0]),
        ("center", 1, [3]),  # at 300
        ("endpoints", 1, [0]),
    ],
)
@pytest.mark.parametrize("start", [0, 1000, -7])
def test_by_time_by_hand_at_a_variable_rate(rule, count, indices, start):
    stamps = [start + stamp for stamp in VARIABLE]
    assert by_time(rule, count, stamps, start + 600) == indices


@given(rules, counts, st.integers(1, 2000), st.integers(1, 5000), st.integers(-1000, 1000))
def test_at_a_constant_rate_time_and_index_choose_alike(rule, count, n_frames, duration, start):
    stamps = range(start, start + n_frames * duration, duration)
    end = start + n_frames * duration
    assert by_time(rule, count, stamps, end) == by_index(rule, count, n_frames)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("end", [7, 40])  # a last frame of unknown duration: 0
def test_one_frame_is_taken_each_time(rule, end):
    assert by_time(rule, 3, [7], end) == [0, 0, 0]


@pytest.mark.parametrize("rule", RULES)
def test_of_frames_with_one_stamp_the_last_counts(rule):
    """The others are on screen for no time."""
    chosen = by_time(rule, 7, [0, 0, 10, 10, 20, 20], 30)
    assert set(chosen) == {1, 3, 5}


@given(rules, counts, st.lists(st.integers(0, 10**6), min_size=1), st.integers(0, 1000))
def test_chosen_by_time_are_frames_on_screen_then(rule, count, stamps, last):
    stamps = sorted(stamps)
    chosen = by_time(rule, count, stamps, stamps[-1] + last)
    assert len(chosen) == count
    assert 0 <= chosen[0] <= chosen[-1] < len(stamps)
    assert chosen == sorted(chosen)
