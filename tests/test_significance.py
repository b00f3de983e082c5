"""Intervals and tests: worked examples, and the routines of scipy as a second opinion."""

from math import comb

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from test_metrics import predictions

from noctact.significance import (
    PAIRS,
    RESAMPLES,
    Estimate,
    accuracy,
    compare_pairs,
    draw,
    mcnemar_exact,
    mean,
    scores_with_intervals,
)


def right_ones(right: list[bool]):
    """Predictions of two classes for clips of class 0, right as told."""
    said = np.where(right, 0, 1)
    return predictions([0] * len(right), np.eye(2)[said])


def test_mcnemar_by_hand() -> None:
    """Nine clips that one model alone got right, two that the other did: a coin that falls nine
    times of eleven on one side, or more unevenly.
    """
    one = np.array([True] * 9 + [False] * 2 + [True] * 20 + [False] * 5)
    other = np.array([False] * 9 + [True] * 2 + [True] * 20 + [False] * 5)
    p = 2 * sum(comb(11, k) for k in range(3)) / 2**11
    assert mcnemar_exact(one, other) == (9, 2, pytest.approx(p))
    assert mcnemar_exact(other, one) == (2, 9, pytest.approx(p))


def test_models_that_agree_are_not_told_apart() -> None:
    same = np.array([True, False, True])
    assert mcnemar_exact(same, same) == (0, 0, 1)


def test_resamples_take_recordings_whole() -> None:
    groups = ["b", "a", "b", "c", "a", "b"]
    weights = draw(groups)
    assert weights.shape == (RESAMPLES, 6)
    assert (weights[:, [0, 2]] == weights[:, [5]]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    # Three recordings are drawn in each, whichever they are.
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, [0, 1, 3]].mean(axis=0) == pytest.approx([1, 1, 1], abs=0.05)
    assert (draw(groups) == weights).all()
    assert (draw(groups, seed=1) != weights).any()


def test_clips_are_drawn_where_all_are_of_one_recording() -> None:
    assert len(np.unique(draw(["a"] * 4), axis=0)) > 1


def test_interval_by_hand() -> None:
    """Two recordings, one all right and one all wrong: a resample has both (1/2), or one twice."""
    estimate = accuracy([right_ones([True] * 3 + [False])], draw(["a"] * 3 + ["b"]))
    assert estimate.value == 0.75
    assert set(np.round(estimate.spread, 6)) == {0, 0.75, 1}
    assert estimate.interval == (0, 1)
    shares = [(estimate.spread == value).mean() for value in (0, 0.75, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


def test_interval_is_that_of_scipy() -> None:
    """Of single clips scipy's own bootstrap can tell the interval of the mean."""
    random = np.random.default_rng(5)
    right = random.random(200) < 0.8
    ours = accuracy([right_ones(list(right))], draw([str(n) for n in range(200)])).interval
    theirs = scipy.stats.bootstrap(
        (right.astype(float),), np.mean, n_resamples=20_000, method="percentile", rng=random
    ).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.01)


def test_interval_of_recordings_is_wider_than_that_of_clips() -> None:
    """Twenty recordings of ten clips, each all right or all wrong, are twenty facts, not 200."""
    right = np.repeat(np.arange(20) % 4 > 0, 10)
    low, high = accuracy([right_ones(list(right))], draw(np.repeat(np.arange(20), 10))).interval
    # The standard error of a share of 3/4 from 20 facts is 0.097.
    assert high - low == pytest.approx(2 * 1.96 * 0.097, abs=0.04)
    assert low < 0.65
    assert high > 0.85


def test_several_seeds_widen_the_interval() -> None:
    """Two seeds on one clip a recording, one of them always right and one always wrong."""
    seeds = [right_ones([True] * 40), right_ones([False] * 40)]
    estimate = accuracy(seeds, draw([str(n) for n in range(40)]), "gru")
    assert estimate.value == 0.5
    assert set(estimate.spread) == {0, 0.5, 1}
    # The same model has the same draws, another one its own.
    again, other = (accuracy(seeds, draw([str(n) for n in range(40)]), m) for m in ("gru", "lstm"))
    assert (again.spread == estimate.spread).all()
    assert (other.spread != estimate.spread).any()


def test_differences_and_means_are_of_equal_resamples() -> None:
    one, other = Estimate(0.5, np.full(8, 0.5)), Estimate(0.2, np.linspace(0.1, 0.45, 8))
    gap = one - other
    assert gap.value == pytest.approx(0.3)
    assert gap.is_clear
    assert not Estimate(0.1, np.linspace(-0.1, 0.3, 8)).is_clear
    assert mean([one, other]).value == pytest.approx(0.35)
    assert mean([one, other]).spread == pytest.approx((one.spread + other.spread) / 2)


def pairs_of(right: dict[str, dict[int, list[bool]]], groups: list[str]) -> list[dict]:
    """The rows of `compare_pairs` for models of these seeds."""
    weights = draw(groups)
    trainings = {
        name: {seed: right_ones(values) for seed, values in seeds.items()}
        for name, seeds in right.items()
    }
    accuracies = {
        name: accuracy(list(seeds.values()), weights, name) for name, seeds in trainings.items()
    }
    return compare_pairs(trainings, accuracies).to_dict("records")


EACH = [str(n) for n in range(40)]


def test_pairs_by_hand() -> None:
    """Three models on 40 clips: b misses ten that a and c get right, c is right as a is."""
    right = {"a": [True] * 40, "b": [True] * 30 + [False] * 10, "c": [True] * 40}
    rows = pairs_of({name: {7: values} for name, values in right.items()}, EACH)
    assert [(row["model"], row["other"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [row["difference"] for row in rows] == [0.25, 0, -0.25]
    assert [(row["only_model"], row["only_other"]) for row in rows] == [(10, 0), (0, 0), (0, 10)]
    p = 2 / 2**10
    assert [row["p"] for row in rows] == pytest.approx([p, 1, p])
    # Holm: the smallest times 3, the next times 2 but no less than the one before, then 1.
    assert [row["p_holm"] for row in rows] == pytest.approx([3 * p, 1, 3 * p])
    assert [row["clear"] for row in rows] == [True, False, True]
    assert all(row["seed"] == 7 for row in rows)
    assert all(row["low"] <= row["difference"] <= row["high"] for row in rows)


def test_a_pair_is_clear_only_if_test_and_interval_say_so() -> None:
    """Ten clips of one recording: a test that takes them for independent sees a difference."""
    right = {"a": {1: [True] * 12}, "b": {1: [False] * 10 + [True] * 2}}
    (pair,) = pairs_of(right, ["same"] * 10 + ["other", "third"])
    assert pair["p_holm"] < 0.05
    assert pair["low"] == 0
    assert not pair["clear"]


def test_a_pair_is_not_clear_where_first_seed_and_mean_disagree() -> None:
    """a wins with seed 1, and loses on average over the seeds."""
    right = {
        "a": {1: [True] * 30 + [False] * 10, **{n: [False] * 40 for n in range(2, 9)}},
        "b": {n: [True] * 15 + [False] * 25 for n in range(1, 9)},
    }
    (pair,) = pairs_of(right, EACH)
    assert (pair["seed"], pair["only_model"], pair["only_other"]) == (1, 15, 0)
    assert pair["p_holm"] < 0.05
    assert pair["high"] < 0
    assert not pair["clear"]


def test_the_test_is_of_the_first_seed_that_both_have() -> None:
    right = {
        "a": {5: [True] * 40, 1: [True] * 40},
        "b": {1: [False] * 40},
        "c": {9: [True] * 40},
    }
    rows = pairs_of(right, EACH)
    assert (rows[0]["seed"], rows[0]["only_model"], rows[0]["clear"]) == (1, 40, True)
    for row in rows[1:]:
        assert pd.isna([row[name] for name in ("seed", "only_model", "p", "p_holm")]).all()
        assert not row["clear"]
    # Of one test nothing is corrected.
    assert rows[0]["p_holm"] == rows[0]["p"]


def test_rounding_is_no_difference() -> None:
    assert not Estimate(0.1, np.array([1e-17] * 5 + [0.2] * 9)).is_clear


def test_one_model_has_no_pairs() -> None:
    seeds = {1: right_ones([True, False])}
    accuracies = {"gru": accuracy([*seeds.values()], draw(["a", "b"]))}
    pairs = compare_pairs({"gru": seeds}, accuracies)
    assert len(pairs) == 0
    assert list(pairs) == PAIRS


def test_every_score_lies_in_its_interval() -> None:
    random = np.random.default_rng(3)
    probabilities = random.dirichlet([1, 1, 1, 1], 60)
    row = scores_with_intervals(
        predictions(random.integers(0, 4, 60).tolist(), probabilities), draw(range(60))
    )
    for name in ("accuracy", "macro_f1", "top3_accuracy", "log_loss"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
