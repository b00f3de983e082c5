"""Intervals of a comparison: all resamples by matrix products, beside scikit-learn once for each.

The clips are those of the published confusion matrix of cnn_gru, with made-up probabilities.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from noctact.metrics import resampled, scores
from noctact.results import Predictions
from noctact.significance import RESAMPLES, draw

PUBLISHED = Path(__file__).parents[1] / "resources" / "published" / "confusion.csv"
TRIED = 50  # resamples by scikit-learn, which takes too long for all


def published() -> Predictions:
    """The 1,323 clips of the published matrix; the predicted class has a probability of 0.7."""
    cells = pd.read_csv(PUBLISHED)
    own = cells[cells["model"] == "cnn_gru"]
    each = own.loc[own.index.repeat(own["count"])].reset_index(drop=True)
    classes = pd.Index(sorted(own["true"].unique()))
    true, predicted = (classes.get_indexer(pd.Index(each[name])) for name in ("true", "predicted"))
    probabilities = np.full((len(each), len(classes)), 0.3 / (len(classes) - 1))
    probabilities[np.arange(len(each)), predicted] = 0.7
    return Predictions(Path("confusion.csv"), each, true, predicted, probabilities)


def main() -> None:
    """Print seconds of both for all resamples, and how far the results lie apart."""
    predictions = published()
    weights = draw([str(clip) for clip in range(len(predictions.true))])
    began = time.perf_counter()
    ours = resampled(predictions, weights)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    apart = 0.0
    for number, row in enumerate(weights[:TRIED].astype(int)):
        chosen = np.repeat(np.arange(len(row)), row)
        parts = (part[chosen] for part in predictions[2:])
        again = Predictions(predictions.file, predictions.clips.iloc[chosen], *parts)
        for name, value in scores(again).items():
            apart = max(apart, abs(value - ours[name][number]))
    plain = (time.perf_counter() - began) * RESAMPLES / TRIED
    print(f"{RESAMPLES:,} resamples of {len(predictions.true):,} clips, five metrics")
    print(f"matrix products {seconds:.2f} s, scikit-learn {plain:.1f} s (from {TRIED} of them)")
    print(f"ratio {plain / seconds:.0f}, largest difference {apart:.1e}")


if __name__ == "__main__":
    main()
