"""What a comparison says, in sentences made from its numbers, with the warnings that apply."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from noctact.metrics import count_confusion
from noctact.readable import listed, signed
from noctact.results import Model, pooled
from noctact.significance import Estimate, mean

FEW_RECORDINGS = 20  # fewer clusters make bootstrap intervals too narrow (Cameron et al. 2008)
FEW_SEEDS = 10  # likewise: three draws never leave the range of the three


class Evidence(NamedTuple):
    """The numbers that a verdict is made from, all of the clips in `split`.

    `trainings` maps each model to its trainings, one a seed; `accuracy` to the mean of these;
    `altered` to the accuracy on clips whose frames are shuffled, or the first one repeated, by the
    name of the control. `baselines` are accuracies by the name of the control, `chance` is that of
    always naming one class. `pairs` is what `significance.compare_pairs` gives. `recordings` are
    the groups of the clips, in their order; `alone` is how many of these clips share theirs with
    no other, `leaking` how many recordings lie in more than one split.
    """

    split: str
    trainings: Mapping[str, Sequence[Model]]
    accuracy: Mapping[str, Estimate]
    altered: Mapping[str, Mapping[str, Estimate]]
    baselines: Mapping[str, Estimate]
    chance: Estimate
    pairs: pd.DataFrame
    recordings: Sequence[str]
    alone: int
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
    others = [each for name, each in evidence.accuracy.items() if name != best]
    if others:
        even = max(each.value for each in others) == evidence.accuracy[best].value
        models = f"{len(others) + 1} models"
        text += f": others of {models} are as accurate" if even else f": the best of {models}"
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
    seeds = [model.predictions.of(evidence.split) for model in evidence.trainings[best]]
    counts = count_confusion(pooled(seeds))
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
    if evidence.alone > clips / 2:
        found.append(
            f"{evidence.alone:,} of these {clips:,} clips are not known to share their recording "
            "with another clip. If they do, the intervals are too narrow, and clips like those in "
            "training may have been tested: groups.pattern tells recordings by file names."
        )
    if recordings < FEW_RECORDINGS:
        found.append(
            f"Only {count(recordings, 'recording')} to test on: the intervals are too narrow."
        )
    extreme = [name for name in evidence.ranked if evidence.accuracy[name].value in (0, 1)]
    if extreme:
        found.append(
            f"All or none right: no interval can be drawn for {listed(extreme)}. On other "
            f"recordings up to {min(1, 3 / recordings):.0%} may go the other way (rule of three)."
        )
    return found


def about_controls(evidence: Evidence) -> list[str]:
    """Warnings that something simpler explains the accuracy."""
    best, chance = evidence.ranked[0], evidence.chance
    found = []
    if is_better(evidence.baselines["metadata"], chance):
        found.append(
            "The metadata give the class away: width, height, length and frame rate alone give "
            f"{percent(evidence.baselines['metadata'])} of the clips their true class, against "
            f"{percent(chance)} for always naming one class. The classes may have been recorded in "
            "different ways, and the models may have learnt these."
        )
    simple = evidence.baselines["mean_frame"]
    if is_better(simple, evidence.accuracy[best]):
        found.append(
            f"A logistic regression on the mean frame is clearly better than {best}, the best "
            f"model: {percent(simple)}."
        )
    elif not is_better(evidence.accuracy[best], simple):
        found.append(
            f"These clips don't tell {best} apart from a logistic regression on the mean frame: "
            f"the difference is {points(evidence.accuracy[best] - simple)}."
        )
    level = [name for name in evidence.ranked if not is_better(evidence.accuracy[name], chance)]
    if level:
        found.append(
            f"Not clearly better than always naming one class, {percent(chance)}: {listed(level)}."
        )
    learnt = [name for name in evidence.ranked if name not in level]
    for control, what in USES.items():
        useless = [
            name
            for name in learnt
            if not is_better(evidence.accuracy[name], evidence.altered[name][control])
        ]
        if useless:
            found.append(f"On these clips {what} to {listed(useless)}.")
    return found


def is_better(one: Estimate, other: Estimate) -> bool:
    """Whether `one` is clearly more than `other`."""
    gain = one - other
    return gain.value > 0 and gain.is_clear


def about_trainings(evidence: Evidence) -> list[str]:
    """Warnings of how the models were trained."""
    found = []
    seeds = {name: len(models) for name, models in evidence.trainings.items()}
    single = [name for name in evidence.ranked if seeds[name] == 1]
    if single:
        whose = "" if len(single) == len(seeds) else f" of {listed(single)}"
        found.append(
            f"One seed{whose}: this ranks these trained models, not the architectures. Another "
            "seed may change the order; seeds: [1, 2, 3] in the config trains each model three "
            "times."
        )
    elif min(seeds.values()) < FEW_SEEDS:
        found.append(
            f"Only {min(seeds.values())} seeds: where another seed changes much, the intervals are "
            "too narrow."
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
    "shuffled": "the order of the frames adds nothing measurable",
    "first_frame": "all that comes after the first frame adds nothing measurable",
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
