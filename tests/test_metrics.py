"""Scores: worked out by hand, as scikit-learn gives them, and the same for every resample."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctact.metrics import METRICS, calibration_error, reliability, resampled, scores
from noctact.results import PREDICTIONS, Predictions


def predictions(
    true: Sequence[int], probabilities: np.ndarray, predicted: Sequence[int] | None = None
) -> Predictions:
    """Predictions of test clips a, b, ...; the most probable class, unless `predicted` says."""
    said = probabilities.argmax(axis=1) if predicted is None else np.array(predicted)
    rows = [
        (f"{n:03}", "test", str(t), str(p)) for n, (t, p) in enumerate(zip(true, said, strict=True))
    ]
    clips = pd.DataFrame(rows, columns=PREDICTIONS)
    return Predictions(Path("predictions.csv"), clips, np.array(true), said, probabilities)


def test_scores_by_hand() -> None:
    probabilities = np.array(
        [
            [0.6, 0.2, 0.1, 0.1],
            [0.3, 0.4, 0.2, 0.1],
            [0.1, 0.8, 0.05, 0.05],
            [0.3, 0.5, 0.1, 0.1],
            [0.4, 0.3, 0.1, 0.2],  # the true class 2 is the least likely
        ]
    )
    result = scores(predictions([0, 0, 1, 1, 2], probabilities))
    # F1 = 2 tp / (2 tp + fp + fn): 2/4, 4/5 and 0; class 3 has no clips and does not count.
    assert result == pytest.approx(
        {
            "accuracy": 3 / 5,
            "macro_f1": (2 / 4 + 4 / 5 + 0) / 3,
            "top3_accuracy": 4 / 5,
            "log_loss": -np.log([0.6, 0.3, 0.8, 0.5, 0.1]).mean(),
            # Bins from 0.4 (two clips, none right), 0.5, 0.6 and 0.8 (one right clip each).
            "ece": (2 * 0.4 + (1 - 0.5) + (1 - 0.6) + (1 - 0.8)) / 5,
        }
    )


def test_class_without_clips_takes_nothing_from_a_perfect_model() -> None:
    result = scores(predictions([0, 2], np.eye(4)[[0, 2]]))
    assert (result["macro_f1"], result["log_loss"]) == (1, pytest.approx(0))
    assert result["ece"] == 0


def test_class_without_clips_that_is_predicted_costs_the_class_that_was_missed() -> None:
    result = scores(predictions([0, 0, 1], np.eye(4)[[0, 3, 1]]))
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps) / 3)


def test_scores_of_two_classes() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    assert scores(predictions([0, 1, 1], probabilities)) == pytest.approx(
        {
            "accuracy": 2 / 3,
            "macro_f1": 2 / 3,
            "top3_accuracy": 1,
            "log_loss": -np.log([0.9, 0.6, 0.2]).mean(),
            "ece": (0.1 + 0.4 + 0.8) / 3,
        }
    )


def test_reliability_by_hand() -> None:
    """Confidences 0.9 and 1 share the last bin, 0.5 has one of its own."""
    probabilities = np.array([[0.9, 0.1], [1.0, 0.0], [0.5, 0.5]])
    bins = reliability(predictions([0, 1, 0], probabilities))
    assert bins.to_dict("records") == [
        {"confidence": 0.5, "accuracy": 1.0, "clips": 1},
        {"confidence": 0.95, "accuracy": 0.5, "clips": 2},
    ]
    assert calibration_error(bins) == pytest.approx((0.5 + 2 * 0.45) / 3)


@st.composite
def weighted(draw: st.DrawFn) -> tuple[Predictions, list[int]]:
    """Predictions with ties and zeros among the probabilities, and how often each clip counts."""
    classes, clips = draw(st.integers(2, 6)), draw(st.integers(1, 12))

    def rows(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=clips, max_size=clips))

    raw = np.array(
        [
            draw(st.lists(st.integers(0, 3), min_size=classes, max_size=classes))
            for _ in range(clips)
        ],
        float,
    )
    raw[raw.sum(axis=1) == 0] = 1
    numbers = st.integers(0, classes - 1)
    made = predictions(rows(numbers), raw / raw.sum(axis=1, keepdims=True), rows(numbers))
    return made, rows(st.integers(0, 3))


@given(weighted())
def test_a_weight_counts_a_clip_so_often(case: tuple[Predictions, list[int]]) -> None:
    """The scores of scikit-learn for clips that are repeated are those for their weights."""
    once, weights = case
    weights[0] = max(weights[0], 1)
    chosen = np.repeat(np.arange(len(weights)), weights)
    repeated = Predictions(
        once.file, *(part[chosen] if n else part.iloc[chosen] for n, part in enumerate(once[1:]))
    )
    both = resampled(once, np.array([weights, weights], np.float32))
    assert list(both) == METRICS
    for name, value in scores(repeated).items():
        assert both[name] == pytest.approx([value, value], abs=1e-6), name
