"""Folders of finished runs, made by hand: what the stages before `compare` leave."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noctact.results import ALTERED, BASELINES
from noctact.shards import ClipFrames, write_shard
from noctact.tables import GROUPS, MANIFEST, PAIRS, SPLIT, write_csv

CLASSES = ["$5 & $6", "A_b", 'say "hi"', "Übung"]
Labels = Sequence[tuple[str, str, str]]  # (split, true, predicted) of each clip

RIGHT: Labels = [(split, name, name) for split in ("val", "test") for name in CLASSES]
HALF: Labels = [
    (split, name, CLASSES[n // 2 * 2])
    for split in ("val", "test")
    for n, name in enumerate(CLASSES)
]


def repeated(clips: int, right: int, split: str = "test") -> Labels:
    """Clips of the classes in turn; the first ones are predicted `right`, others as the next."""
    turns = [CLASSES[n % len(CLASSES)] for n in range(clips + 1)]
    return [(split, turns[n], turns[n if n < right else n + 1]) for n in range(clips)]


def prediction_table(labels: Labels, classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """Predictions: the predicted class has a probability of 0.7, the others share the rest."""
    table = pd.DataFrame(labels, columns=["split", "true", "predicted"])
    table.insert(0, "video_id", [f"{true}/{n:04}.mp4" for n, true in enumerate(table["true"])])
    rest = 0.3 / (len(classes) - 1)
    for name in classes:
        table[f"p_{name}"] = np.where(table["predicted"] == name, 0.7, rest)
    return table


def write_model(
    folder: Path,
    labels: Labels,
    classes: Sequence[str] = CLASSES,
    history: pd.DataFrame | None = None,
    model: str | None = None,
    seed: int = 31,
    parameters: int = 1234567,
    altered: Labels | None = None,
) -> Path:
    """Write what stages train and evaluate leave of a model that predicts `labels`.

    It is called as the folder, unless `model` says otherwise. Without the order of the frames and
    from one frame it predicts `altered`, by default the same.
    """
    folder.mkdir(parents=True)
    prediction_table(labels, classes).to_csv(folder / "predictions.csv", index=False)
    for name in ALTERED:
        table = prediction_table(altered or labels, classes)
        table.to_csv(folder / f"{name}.csv", index=False)
    if history is None:
        history = pd.DataFrame(
            {"epoch": [1, 2], "loss": 0.5, "accuracy": 0.5, "val_loss": 0.6, "val_accuracy": 0.4}
        )
    history.to_csv(folder / "history.csv", index=False)
    facts = {
        "model": model or folder.name,
        "parameters": parameters,
        "seconds_per_step": 0.25,
        "train_seconds": 3600.5,
        "peak_memory_mb": 2048.5,
        "seed": seed,
        "classes": list(classes),
        "settings": {"epochs": 2, "loss": "msle"},
    }
    (folder / "run.json").write_text(json.dumps(facts))
    cost = {"layers": [], "flops": 2468, "model_mb": 4.9, "inference_ms": {"1": 8.5, "32": 0.5}}
    (folder / "cost.json").write_text(json.dumps(cost))
    return folder


def write_run(
    run: Path,
    models: Mapping[str, Labels],
    groups: Sequence[str] | None = None,
    baselines: Mapping[str, Labels] | None = None,
    altered: Labels | None = None,
    classes: Sequence[str] = CLASSES,
) -> Path:
    """Write a run in which each of `models` predicts its labels, all for the same clips.

    `groups` are the recordings of the clips, by default one for each clip. The controls predict
    `baselines`, by default always the last class; `altered` as in `write_model`. Another clip a
    class is for training; the frames are noise.
    """
    for name, labels in models.items():
        write_model(run / "models" / name, labels, classes, altered=altered)
    labels = next(iter(models.values()))
    never = [(split, true, classes[-1]) for split, true, _ in labels]
    (run / "controls").mkdir()
    for name in BASELINES:
        table = prediction_table((baselines or {}).get(name, never), classes)
        table.to_csv(run / "controls" / f"{name}.csv", index=False)
    clips = prediction_table(labels, classes)[["video_id", "true", "split"]]
    clips.insert(2, "group", list(groups or clips["video_id"]))
    train = [(f"{name}/train.mp4", name, f"train {name}", "train") for name in classes]
    columns = ["video_id", "label", "group", "split"]
    split = pd.DataFrame([*clips.itertuples(index=False, name=None), *train], columns=columns)
    for folder in ("split", "dataset", "frames"):
        (run / folder).mkdir()
    split.to_csv(run / "split" / "split.csv", index=False)
    split[["video_id"]].assign(shard=0).to_csv(run / "dataset" / "manifest.csv", index=False)
    write_noise(run, [(clip.video_id, clip.label) for clip in split.itertuples()])
    return run


def write_noise(run: Path, clips: Sequence[tuple[str, str]]) -> None:
    """Write a shard of `clips`, (video_id, label) each, with frames of noise."""
    random = np.random.default_rng(0)
    rows = (
        ClipFrames(
            video_id=video_id,
            label=label,
            frames=random.integers(0, 60, (3, 12, 16, 3), np.uint8),
            frame_index=[0, 1, 2],
            frame_time=[0, 0.1, 0.2],
            n_decoded=3,
            n_lost=0,
            decoding="whole",
            width=16,
            height=12,
            rate=10,
        )
        for video_id, label in clips
    )
    write_shard(run / "frames" / "shard-000.h5", rows, (3, 12, 16), {})


# What stages before `survey` say of a clip, unless a test says otherwise.
USUAL = {
    **{"sha256": "", "n_decoded": "75", "width": "320", "height": "240", "rate": "25"},
    **{"brightness": "20.5", "salt": "0.015", "evidence": "name"},
}


def write_survey_inputs(
    run: Path,
    clips: Sequence[Mapping[str, str]],
    pairs: Sequence[Sequence[str]] = (),
    strategy: str = "group",
    **facts: Any,
) -> Path:
    """Write what stages extract, audit and split leave of `clips`: the frames are noise.

    Each has a video_id, group and split ("" for one that is left out of it), and what differs from
    USUAL; `pairs` have the columns PAIRS. `facts` go into split.json, beside the `strategy`.
    """
    rows = [USUAL | {"path": clip["video_id"], "shard": "0"} | clip for clip in clips]
    for row in rows:
        row["label"] = row["video_id"].split("/")[0]
        row["sha256"] = row["sha256"] or row["video_id"]
    divided = [row for row in rows if row["split"]]
    for file, columns, table in (
        ("dataset/manifest.csv", MANIFEST, rows),
        ("dataset/groups.csv", GROUPS, rows),
        ("split/split.csv", SPLIT, divided),
    ):
        cells = [[row.get(key, "") for key in columns] for row in table]
        write_csv(run / file, columns, cells)
    write_csv(run / "dataset/pairs.csv", PAIRS, pairs)
    (run / "split/split.json").write_text(json.dumps({"strategy": strategy, **facts}))
    (run / "frames").mkdir(exist_ok=True)
    write_noise(run, sorted((row["video_id"], row["label"]) for row in rows))
    return run
