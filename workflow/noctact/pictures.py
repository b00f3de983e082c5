"""The pictures of a comparison, drawn by `noctact.figures` from what it found."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from noctact import figures
from noctact.metrics import calibration_error, count_confusion, reliability
from noctact.results import ALTERED, BASELINES, Model, Predictions, pooled, read_table
from noctact.shards import Shards
from noctact.tables import HISTORY
from noctact.verdict import Evidence

MOST_ERRORS = 4  # shown of a model
PUBLISHED_LOSS = "msle"
# Figures that not every comparison has.
SOMETIMES = ["significance", "confusion_without_cnn", "confusion_with_cnn", "confusion_difference"]


def worst_errors(predictions: Predictions) -> list[int]:
    """The rows of the wrong predictions that the model was most sure of, at most MOST_ERRORS."""
    confidence = predictions.probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    return [int(row) for row in order if not predictions.right[row]][:MOST_ERRORS]


class Pictures:
    """Draws the figures of one comparison into a folder."""

    def __init__(self, evidence: Evidence, output: Path) -> None:
        """`output` is the folder comparison/ of the run."""
        self.evidence = evidence
        self.output = output
        self.classes = next(iter(evidence.trainings.values()))[0].classes
        self.pooled = {
            name: pooled([model.predictions.of(evidence.split) for model in seeds])
            for name, seeds in evidence.trainings.items()
        }
        self.counts = {name: count_confusion(each) for name, each in self.pooled.items()}
        self.written: set[Path] = set()

    def write(self, figure: Figure, stem: str) -> None:
        """Write `figure` as <output>/<stem>.png and .svg."""
        self.written.update(figures.write(figure, self.output / stem))

    def remove_others(self) -> None:
        """Remove the figures of an earlier comparison: they would pass for results of this one."""
        folders = (self.output / name for name in ("confusion", "curves", "errors"))
        files = [file for folder in folders for file in folder.glob("*.[ps][nv]g")]
        files += [
            self.output / f"{stem}{suffix}" for stem in SOMETIMES for suffix in figures.SUFFIXES
        ]
        for file in files:
            if file not in self.written:
                file.unlink(missing_ok=True)

    def of_trainings(self, published: Mapping[str, pd.DataFrame]) -> None:
        """Loss and accuracy over the epochs, of all models and of each."""
        trainings = self.evidence.trainings
        histories = {name: [model.history for model in seeds] for name, seeds in trainings.items()}
        losses = {
            model.facts["settings"].get("loss", "")
            for seeds in trainings.values()
            for model in seeds
        }
        loss = losses.pop() if len(losses) == 1 else ""
        # Another loss is on another scale.
        references = published if loss == PUBLISHED_LOSS else {}
        self.write(figures.curves(histories, "loss", loss, references), "loss")
        self.write(figures.curves(histories, "accuracy", "", published), "accuracy")
        for name, seeds in histories.items():
            self.write(figures.model_curves(seeds, name, loss), f"curves/{name}")

    def of_accuracy(self) -> None:
        """The ranking, the pairs, and accuracy against cost."""
        evidence = self.evidence
        models = self._accuracies()
        for control in ALTERED:
            models[control] = [evidence.altered[name][control].value for name in models["model"]]
        baselines = pd.DataFrame(
            [
                [label, evidence.baselines[name].value, *evidence.baselines[name].interval]
                for name, label in BASELINES.items()
            ],
            columns=["control", "accuracy", "low", "high"],
        )
        self.write(figures.ranking(models, baselines, f"Accuracy, {self._clips()}"), "ranking")
        if len(evidence.pairs):
            self.write(figures.significance(evidence.pairs), "significance")
        for stem, xlabel, cost in COSTS:
            values = [
                float(np.mean([cost(model) for model in evidence.trainings[name]]))
                for name in models["model"]
            ]
            self.write(figures.cost(self._accuracies().assign(x=values), xlabel), stem)

    def of_classes(self) -> None:
        """Confusion matrices, one a model, on sheets, and the difference; recall; reliability."""
        kinds = {
            kind: [name for name in self.counts if figures.has_cnn(name) == (kind == "with")]
            for kind in ("without", "with")
        }
        for name, counts in self.counts.items():
            title = f"{name}\n{self._clips(name)}"
            self.write(figures.confusion(counts, self.classes, title), f"confusion/{name}")
        for kind, names in kinds.items():
            if len(names) > 1:
                sheet = {name: self.counts[name] for name in names}
                title = f"Models {kind} CNN, {self._clips()}"
                self.write(
                    figures.confusion_sheet(sheet, self.classes, title), f"confusion_{kind}_cnn"
                )
        if all(kinds.values()):
            ranked = self.evidence.ranked
            without, with_ = (min(names, key=ranked.index) for names in kinds.values())
            figure = figures.confusion_difference(
                self.counts[with_],
                self.counts[without],
                self.classes,
                f"{with_} less {without}\n{self._clips()}",
            )
            self.write(figure, "confusion_difference")
        with np.errstate(invalid="ignore"):  # a class without clips has no recall
            recall = {name: np.diag(each) / each.sum(axis=1) for name, each in self.counts.items()}
        table = pd.DataFrame(recall, index=self.classes)
        first = next(iter(self.evidence.trainings.values()))[0].predictions.of(self.evidence.split)
        clips = np.bincount(first.true, minlength=len(self.classes))
        self.write(figures.recall(table, clips.tolist()), "recall")
        bins = {name: reliability(each) for name, each in self.pooled.items()}
        errors = {name: calibration_error(each) for name, each in bins.items()}
        self.write(figures.reliability(bins, errors), "reliability")

    def of_clips(self, shards: Shards, clips: pd.DataFrame) -> None:
        """Film strips: one clip a class, and the errors that each model was most sure of."""
        train_first = clips.assign(other=clips["split"] != "train")
        first = train_first.sort_values(["label", "other", "video_id"]).groupby("label").first()
        strips = [
            figures.Strip(shards.read([clip])[0], f"{label}\n{clip}")
            for label, clip in first["video_id"].items()
        ]
        self.write(figures.examples(strips), "examples")
        for name, seeds in self.evidence.trainings.items():
            predictions = seeds[0].predictions.of(self.evidence.split)
            strips = []
            for row in worst_errors(predictions):
                clip, _, true, predicted = predictions.clips.iloc[row]
                sure = predictions.probabilities[row].max()
                frames = shards.read([clip])[0]
                strips.append(
                    figures.Strip(frames, f"{true}, taken for {predicted} ({sure:.0%})\n{clip}")
                )
            # Also where there is none: a file that is always there can be missed.
            title = f"{name}: {'the mistakes it was most sure of' if strips else 'no mistakes'}"
            self.write(figures.errors(strips, title), f"errors/{name}")

    def _accuracies(self) -> pd.DataFrame:
        rows = [
            [name, estimate.value, *estimate.interval]
            for name, estimate in self.evidence.accuracy.items()
        ]
        return pd.DataFrame(rows, columns=["model", "accuracy", "low", "high"])

    def _clips(self, name: str = "") -> str:
        """What a figure is of, for its title."""
        evidence = self.evidence
        split = "test" if evidence.split == "test" else "validation (there is no test split)"
        text = f"{split}: {len(evidence.recordings):,} clips"
        seeds = len(evidence.trainings[name]) if name else 1
        if seeds > 1:
            text = f"{split}, {seeds} seeds summed: {seeds} x {len(evidence.recordings):,} clips"
        return f"{text}, accuracy {evidence.accuracy[name].value:.1%}" if name else text


# Figures of accuracy against a cost: name, label, and the cost of one training.
COSTS: list[tuple[str, str, Callable[[Model], float]]] = [
    ("parameters", "parameters", lambda model: model.facts["parameters"]),
    ("seconds_per_step", "seconds a training step", lambda model: model.facts["seconds_per_step"]),
    (
        "inference",
        "milliseconds a clip at inference (one clip at a time)",
        lambda model: model.cost["inference_ms"]["1"],
    ),
]


def read_published(folder: Path, classes: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The published histories by model, if `classes` are those of the published matrices."""
    known = read_table(folder / "confusion.csv", ["true"])["true"].unique()
    if sorted(known) != sorted(classes):
        return {}
    histories = read_table(folder / "history.csv", ["model", *HISTORY])
    return {str(name): own[[*HISTORY]].astype(float) for name, own in histories.groupby("model")}
