"""What a comparison says, in sentences made from its numbers, with the warnings that apply."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from noctact.readable import listed, signed
from noctact.results import Model
from noctact.significance import Estimate, mean

FEW_RECORDINGS = 20  # fewer clusters make bootstrap intervals too narrow (Cameron et al. 2008)


class Evidence(NamedTuple):
    """The numbers that a verdict is made from, all of the clips in `split`.

    `trainings` maps each model to its trainings, one a seed; `accuracy` to the mean of these;
    `altered` to the accuracy on clips whose frames are shuffled, or the first one repeated, by the
    name of the control. `baselines` are accuracies by the name of the control. `pairs` is what
    `significance.compare_pairs` gives. `recordings` are the groups of the clips, in their order;
    `leaking` is how many recordings lie in more than one split.
    """

    split: str
    trainings: Mapping[str, Sequence[Model]]
    accuracy: Mapping[str, Estimate]
    altered: Mapping[str, Mapping[str, Estimate]]
    baselines: Mapping[str, Estimate]
    pairs: pd.DataFrame
    recordings: Sequence[str]
    leaking: int
    missing: Sequence[str]

    def parameters(self, name: str) -> int:
        """The weights of a model."""
        return int(self.trainings[name][0].facts["parameters"])

    @property
    def ranked(self) -> list[str]:
        """The models, the most accurate one first; of equal ones the one with fewer weights."""
        return sorted(
            self.accuracy, key=lambda name: (-self.accuracy[name].value, self.parameters(name))
        )


def sentences(evidence: Evidence) -> list[str]:
    """The verdict: which model is best, by how much, how sure that is, and what it rests on."""
    best = evidence.ranked[0]
    parts = [rank(evidence, best), *against_others(evidence, best), encoder(evidence)]
    parts += [use_of_frames(evidence, best), confusion(evidence, best)]
    return [part for part in parts if part]


def rank(evidence: Evidence, best: str) -> str:
    """How accurate the best model is."""
    clips, seeds = len(evidence.recordings), len(evidence.trainings[best])
    recordings = len(set(evidence.recordings))
    text = f"{best} gives {percent(evidence.accuracy[best])} of the {clips:,}"
    text += f" {SPLITS[evidence.split]} clips"
    text += f" ({count(recordings, 'recording')})" if recordings < clips else ""
    text += " their true class"
    if seeds > 1:
        text += f", on average over {seeds} seeds"
    if len(evidence.accuracy) > 1:
        text += f": the best of {len(evidence.accuracy)} models"
    return f"{text}."


def against_others(evidence: Evidence, best: str) -> list[str]:
    """Which models the best one is clearly better than, and which it can't be told apart from."""
    pairs = evidence.pairs[(evidence.pairs[["model", "other"]] == best).any(axis=1)]
    clear = {
        name for pair in pairs[pairs["clear"]].itertuples() for name in (pair.model, pair.other)
    }
    beaten = [name for name in evidence.ranked[1:] if name in clear]
    level = [name for name in evidence.ranked[1:] if name not in clear]
    texts = []
    if beaten:
        texts.append(f"It is clearly better than {listed(beaten)}.")
    if level:
        gap = points(evidence.accuracy[best] - evidence.accuracy[level[0]])
        texts.append(
            f"These clips don't tell it apart from {listed(level)}: against {level[0]} the "
            f"difference is {gap}."
        )
        smallest = min([best, *level], key=evidence.parameters)
        if smallest != best:
            texts.append(
                f"Of these {smallest} is the smallest: {evidence.parameters(smallest):,} "
                f"parameters, not {evidence.parameters(best):,}."
            )
    return texts


def encoder(evidence: Evidence) -> str:
    """What the per-frame CNN adds, on average over the recurrent layers that come both ways."""
    both = [name for name in evidence.accuracy if f"cnn_{name}" in evidence.accuracy]
    if not both:
        return ""
    gain = mean([evidence.accuracy[f"cnn_{name}"] - evidence.accuracy[name] for name in both])
    text = f"The per-frame CNN changes the accuracy by {points(gain)}"
    text += f", on average over {listed(both)}" if len(both) > 1 else f" for {both[0]}"
    return f"{text}." if gain.is_clear else f"{text}, so that its use stays open."


def use_of_frames(evidence: Evidence, best: str) -> str:
    """What is left to the best model without the order of the frames, and from one frame."""
    shuffled, first = (
        percent(evidence.altered[best][name]) for name in ("shuffled", "first_frame")
    )
    return (
        f"From frames in random order {best} gets {shuffled} of them right, from the first frame "
        f"alone {first}."
    )


def confusion(evidence: Evidence, best: str) -> str:
    """The most frequent mistake of the best model."""
    classes = evidence.trainings[best][0].classes
    counts = sum(
        confusion_matrix(each.true, each.predicted, labels=np.arange(len(classes)))
        for each in (model.predictions.of(evidence.split) for model in evidence.trainings[best])
    )
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.any():
        return "It makes no mistake on them."
    true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    return (
        f"Its most frequent mistake: {classes[true]!r} taken for {classes[predicted]!r}, "
        f"{wrong[true, predicted]:,} of {counts[true].sum():,} times."
    )


def warnings(evidence: Evidence) -> list[str]:
    """What a reader must know before the verdict is believed."""
    return [*about_clips(evidence), *about_controls(evidence), *about_trainings(evidence)]


def about_clips(evidence: Evidence) -> list[str]:
    """Warnings of the split and its recordings."""
    clips, recordings = len(evidence.recordings), len(set(evidence.recordings))
    found = []
    if evidence.split == "val":
        found.append(
            "There is no test split: these are the validation clips, by which trainings may have "
            "been chosen. Scores on new clips tend to be lower."
        )
    if evidence.leaking:
        found.append(
            f"{count(evidence.leaking, 'recording')} on both sides of the split: what is measured "
            "is in part how well a model remembers. split.strategy: group keeps recordings whole."
        )
    if recordings == clips:
        found.append(
            "No two of these clips are known to be of one recording. If some are, the intervals "
            "are too narrow, and clips like those in training may have been tested: "
            "groups.pattern tells recordings by file names."
        )
    elif recordings == 1:
        found.append(
            "All of these clips are of one recording: the intervals take them for independent and "
            "are too narrow, and nothing is known of other recordings."
        )
    if 1 < recordings < FEW_RECORDINGS:
        found.append(f"Only {recordings} recordings: the intervals are too narrow.")
    return found


def about_controls(evidence: Evidence) -> list[str]:
    """Warnings that something simpler explains the accuracy."""
    best, majority = evidence.ranked[0], evidence.baselines["majority"]
    found = []
    metadata = evidence.baselines["metadata"] - majority
    if metadata.is_clear and metadata.value > 0:
        found.append(
            "The metadata give the class away: width, height, length and frame rate alone give "
            f"{percent(evidence.baselines['metadata'])} of the clips their true class, against "
            f"{percent(majority)} for always naming the most frequent one. The classes may have "
            "been recorded in different ways, and the models may have learnt these."
        )
    lead = evidence.accuracy[best] - evidence.baselines["mean_frame"]
    if not (lead.is_clear and lead.value > 0):
        found.append(
            "A logistic regression on the mean frame of a clip is as good as the best model, as "
            f"far as these clips tell: {percent(evidence.baselines['mean_frame'])}."
        )
    no_better = []
    for name in evidence.ranked:
        gain = evidence.accuracy[name] - majority
        if not (gain.is_clear and gain.value > 0):
            no_better.append(name)
    if no_better:
        found.append(
            f"Not clearly better than naming the most frequent class: {listed(no_better)}."
        )
    for control, what in USES.items():
        useless = []
        for name in evidence.ranked:
            loss = evidence.accuracy[name] - evidence.altered[name][control]
            if name not in no_better and not (loss.is_clear and loss.value > 0):
                useless.append(name)
        if useless:
            found.append(f"On these clips {what.format(listed(useless))}.")
    return found


def about_trainings(evidence: Evidence) -> list[str]:
    """Warnings of how the models were trained."""
    found = []
    if min(map(len, evidence.trainings.values())) == 1:
        found.append(
            "One seed: this ranks these trained models, not the architectures. Another seed may "
            "change the order; seeds: [1, 2, 3] in the config trains each model three times."
        )
    unfinished = [
        name
        for name in evidence.ranked
        if any(is_unfinished(model.history["val_loss"]) for model in evidence.trainings[name])
    ]
    if unfinished:
        found.append(
            f"Still improving when the training ended: {listed(unfinished)}. More epochs may "
            "change the order."
        )
    return found


def is_unfinished(losses: pd.Series) -> bool:
    """Whether the lowest of the validation `losses`, one an epoch, is the last one."""
    return bool(losses.notna().any() and losses.idxmin() == losses.index[-1])


SPLITS = {"test": "test", "val": "validation"}
USES = {
    "shuffled": "the order of the frames adds nothing measurable to {}",
    "first_frame": "motion adds nothing measurable to {}: the first frame alone does as well",
}


def percent(estimate: Estimate) -> str:
    """An accuracy with its interval: "84.1% (95% interval 73 to 93%)"."""
    low, high = estimate.interval
    return f"{estimate.value:.1%} (95% interval {100 * low:.0f} to {100 * high:.0f}%)"


def points(estimate: Estimate) -> str:
    """A difference of accuracies with its interval, in percentage points."""
    low, high = (signed(end, 1) for end in estimate.interval)
    return f"{signed(estimate.value, 1)} points (interval {low} to {high})"


def count(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
