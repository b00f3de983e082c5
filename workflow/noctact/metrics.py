"""How good predictions are: the scores of a comparison, and where they come from."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from noctact.results import Predictions

METRICS = ["accuracy", "macro_f1", "top3_accuracy", "log_loss", "ece"]
EPSILON = np.finfo(float).eps  # a probability of 0 counts as this much, as in log_loss
BINS = 10  # of confidence, as in Naeini et al. (2015), who named the calibration error


def scores(predictions: Predictions) -> dict[str, float]:
    """The METRICS of one clip or more.

    accuracy: share of clips given their true class. macro_f1: mean F1 of the classes that have
    clips. top3_accuracy: share of clips whose true class is among the three most probable ones (1
    with three classes or fewer). log_loss: natural logarithm, lower is better. ece: expected
    calibration error, see `calibration_error`, lower is better.
    """
    true, predicted, probabilities = predictions[2:]
    labels = np.arange(probabilities.shape[1])
    return {
        "accuracy": accuracy_score(true, predicted),
        "macro_f1": f1_score(true, predicted, labels=np.unique(true), average="macro"),
        "top3_accuracy": top_k_accuracy_score(true, probabilities, k=3, labels=labels)
        if len(labels) > 3
        else 1.0,
        "log_loss": log_loss(true, probabilities, labels=labels),
        "ece": calibration_error(reliability(predictions)),
    }


def resampled(
    predictions: Predictions, weights: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """The METRICS as `scores` gives them, for each row of `weights` (n, clips): each is (n,).

    A weight is how often a clip counts, 0 or more. For all resamples of a bootstrap at once, by
    matrix products: a call of scikit-learn for each takes 200 times as long (`make bench`).
    """
    true, predicted, probabilities = predictions[2:]
    right, total = predictions.right, weights.sum(axis=1)
    own = np.take_along_axis(probabilities, true[:, None], axis=1)
    # Of equal probabilities the last one ranks highest, as in top_k_accuracy_score.
    later = np.arange(probabilities.shape[1]) > true[:, None]
    ahead = (probabilities > own) | ((probabilities == own) & later)
    confidence, bins = in_bins(probabilities)
    gaps = np.eye(BINS)[bins] * (right - confidence)[:, None]
    classes = np.eye(probabilities.shape[1])
    hits = weights @ (classes[true] * right[:, None])
    n_true, n_predicted = weights @ classes[true], weights @ classes[predicted]
    there = n_true > 0
    f1 = np.divide(2 * hits, n_true + n_predicted, out=np.zeros(hits.shape), where=there)
    return {
        "accuracy": weights @ right / total,
        "macro_f1": f1.sum(axis=1) / there.sum(axis=1),
        "top3_accuracy": weights @ (ahead.sum(axis=1) < 3) / total,
        "log_loss": weights @ -np.log(np.clip(own[:, 0], EPSILON, 1 - EPSILON)) / total,
        "ece": abs(weights @ gaps).sum(axis=1) / total,
    }


def count_confusion(predictions: Predictions) -> NDArray[np.int64]:
    """Clips of true class i (row) predicted as class j (column), (classes, classes)."""
    classes = np.arange(predictions.probabilities.shape[1])
    counts: NDArray[np.int64] = confusion_matrix(
        predictions.true, predictions.predicted, labels=classes
    )
    return counts


def in_bins(probabilities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The confidence of each clip, its highest probability, and the bin (0 to BINS - 1) of it.

    The bins are equally wide; a bin has its lower end, the last one also 1.
    """
    confidence = probabilities.max(axis=1)
    return confidence, np.minimum((confidence * BINS).astype(np.intp), BINS - 1)


def reliability(predictions: Predictions) -> pd.DataFrame:
    """Mean `confidence`, `accuracy` and number of `clips` in each bin that has clips.

    A model is calibrated where both are the same: of the clips that it is 80 % sure of, 80 % are
    right.
    """
    confidence, bins = in_bins(predictions.probabilities)
    clips = pd.DataFrame({"confidence": confidence, "accuracy": predictions.right})
    return clips.groupby(bins).mean().assign(clips=np.bincount(bins)[np.unique(bins)])


def calibration_error(bins: pd.DataFrame) -> float:
    """The mean over all clips of |accuracy - confidence| of their bin; `reliability` gives `bins`.

    In 0..1.
    """
    gaps = abs(bins["accuracy"] - bins["confidence"])
    return float(np.average(gaps, weights=bins["clips"]))
