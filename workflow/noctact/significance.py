"""How sure a comparison is: intervals over recordings, and a test of every pair of models."""

import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from noctact.metrics import resampled, scores
from noctact.results import Predictions

RESAMPLES = 2000
QUANTILES = (0.025, 0.975)  # of an interval that holds 95 %
ALPHA = 0.05
ROUNDING = 1e-9  # what sums of weights leave where a difference is 0
PAIRS = [
    *("model", "other", "seed", "only_model", "only_other", "p", "p_holm"),
    *("difference", "low", "high", "clear"),
]


@dataclass(frozen=True)
class Estimate:
    """A number, and what it was in each resample of a bootstrap, float64 (RESAMPLES,)."""

    value: float
    spread: NDArray[np.float64]

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference of two estimates from the same resamples."""
        return Estimate(self.value - other.value, self.spread - other.spread)

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the resamples (the percentile interval)."""
        low, high = np.quantile(self.spread, QUANTILES)
        return float(low), float(high)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0: for differences."""
        low, high = self.interval
        return low > ROUNDING or high < -ROUNDING


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of estimates from the same resamples."""
    return Estimate(
        float(np.mean([each.value for each in estimates])),
        np.mean([each.spread for each in estimates], axis=0),
    )


def draw(groups: Sequence[str], seed: int = 0) -> NDArray[np.float32]:
    """How often each clip counts in each resample of a bootstrap over the `groups` of the clips.

    A resample draws as many groups as there are, with replacement, and takes all clips of each:
    clips of one recording are no independent evidence (the cluster bootstrap; Davison and Hinkley
    1997, section 3.8). Of one group nothing can be drawn; then the clips are. float32
    (RESAMPLES, clips), whole numbers. The same `groups` and `seed` give the same resamples, so that
    models are compared on equal ones.
    """
    names, places = np.unique(np.array(groups), return_inverse=True)
    if len(names) == 1:
        places = np.arange(len(groups))
    n = places.max() + 1
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return drawn.astype(np.float32)[:, places]


def scores_with_intervals(
    predictions: Predictions, weights: NDArray[np.float32]
) -> dict[str, float]:
    """The metrics of `metrics.scores`, each with its interval as `<metric>_low`, `<metric>_high`.

    `weights` come from `draw`.
    """
    spread = resampled(predictions, weights)
    row = {}
    for name, value in scores(predictions).items():
        row[name] = value
        row[f"{name}_low"], row[f"{name}_high"] = Estimate(value, spread[name]).interval
    return row


def accuracy(
    seeds: Sequence[Predictions], weights: NDArray[np.float32], model: str = ""
) -> Estimate:
    """The accuracy of a model: the mean over its `seeds`, all of the same clips.

    With several seeds a resample draws among these too, since another seed might have come out
    otherwise; the draws are those of `model`, so that what is of one model is compared on the same
    seeds.
    """
    right = np.stack([each.right for each in seeds]).astype(np.float32)
    spread = weights @ right.T / weights.sum(axis=1, keepdims=True, dtype=np.float64)
    n = len(seeds)
    random = np.random.default_rng(zlib.crc32(model.encode()))
    drawn = random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    return Estimate(float(right.mean(dtype=np.float64)), (spread * drawn).sum(axis=1))


def mcnemar_exact(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[int, int, float]:
    """McNemar's exact test of two models: which of the same clips each of them got right.

    Returns how many clips only `one` and only `other` got right, and the two-sided p-value: how
    probable a split of these as uneven as this, or more, is if both models are as good.
    """
    table = [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), 0]]
    return int(table[0][1]), int(table[1][0]), float(mcnemar(table, exact=True).pvalue)


def compare_pairs(
    trainings: Mapping[str, Mapping[int, Predictions]], accuracies: Mapping[str, Estimate]
) -> pd.DataFrame:
    """Every pair of models, a row each, with the columns PAIRS.

    `trainings` has the predictions of each model by seed, all of the same clips; `accuracies` is
    from `accuracy`. `only_model`, `only_other` and `p` are those of `mcnemar_exact`, which is of
    two trained models: those with the first `seed` that both have (None if there is none). `p_holm`
    is corrected for the number of pairs (Holm 1979). `difference` is the accuracy of `model` less
    that of `other`, over all seeds, with its interval from `low` to `high`. `clear` where p_holm is
    below 0.05, the interval leaves out 0 and both favour the same model: the test takes clips for
    independent, the interval does not.
    """
    rows = []
    for model, other in itertools.combinations(trainings, 2):
        difference = accuracies[model] - accuracies[other]
        row = {"model": model, "other": other, "difference": difference.value}
        row |= dict(zip(("low", "high"), difference.interval, strict=True))
        seed = next((seed for seed in trainings[model] if seed in trainings[other]), None)
        if seed is not None:
            one, two = (trainings[name][seed].right for name in (model, other))
            only_model, only_other, p = mcnemar_exact(one, two)
            row |= {"seed": seed, "only_model": only_model, "only_other": only_other, "p": p}
            agree = (only_model - only_other) * difference.value > 0
            row["clear"] = difference.is_clear and agree
        rows.append(row)
    pairs = pd.DataFrame(rows, columns=PAIRS)
    # Whole numbers, also where one is missing.
    pairs = pairs.astype(dict.fromkeys(("seed", "only_model", "only_other"), "Int64"))
    tested = pairs["p"].notna()
    if tested.any():
        p_holm = multipletests(pairs.loc[tested, "p"].astype(float), method="holm")[1]
        pairs.loc[tested, "p_holm"] = p_holm
    pairs["clear"] = pairs["clear"].eq(True) & (pairs["p_holm"] < ALPHA)
    return pairs
