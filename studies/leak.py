"""What a leaky split is worth: test accuracy by a random split less that by a group split.

The workflow trains the models on each set of clips (studies/leak.yaml) under both strategies, with
the same seeds. Accuracies lie in results/leak-study/<set>.csv, a row a training; a study that was
cut off goes on there. Prints a table as Markdown, and draws the figure.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from scipy import stats
from snakemake.utils import update_config

from noctact.atomic import replacing
from noctact.batches import Batches
from noctact.figures import canvas
from noctact.readable import signed
from noctact.shards import Shards
from noctact.split import split_clips
from noctact.tables import SPLIT

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import siblings

ROOT = Path(__file__).resolve().parents[1]
PLAN = Path(__file__).with_suffix(".yaml")
CLIPS = ROOT.parent / "shared" / "data" / "ut_person_crops_set1"
STUDY = ROOT / "results" / "leak-study"
FIGURE = STUDY / "leak-study.png"

STRATEGIES = ("random", "group")
# Of a training: a hash of its settings; how many clips it is tested on, of how many recordings, and
# how many of them have one of their recording among the training clips; the share of the most
# frequent class of all clips, which is chance.
COLUMNS = (
    *("plan", "seed", "strategy", "model"),
    *("clips", "recordings", "leaked", "chance", "accuracy"),
)
NEAREST = "nearest clip"  # no network: what remembering alone is worth
THUMBNAIL = (12, 16)
VARIANTS = 3
GAMMA, CROP = (1.5, 3.0), (0.85, 1.0)  # of a variant; salt as in benchmarks/siblings.py

RANDOM_LOOKS: dict[str, Any] = {"color": "#D55E00", "marker": "o"}
GROUP_LOOKS: dict[str, Any] = {"color": "#0072B2", "marker": "s"}
LOOKS = {"random": RANDOM_LOOKS, "group": GROUP_LOOKS}


def make_variants(folder: Path, output: Path) -> None:
    """Write VARIANTS darkened, salted clips of each in `folder` to `output`, in its class."""
    with replacing(output) as target:
        for clip in sorted(folder.glob("*/*.avi")):
            frames, rate, rng = siblings.read(clip)
            (target / clip.parent.name).mkdir(parents=True, exist_ok=True)
            for number in range(VARIANTS):
                altered = siblings.alter(
                    frames,
                    rng,
                    gamma=rng.uniform(*GAMMA),
                    salt=rng.uniform(*siblings.SALT),
                    mirror=bool(rng.integers(2)),
                    crop=rng.uniform(*CROP),
                )
                file = target / clip.parent.name / f"{clip.stem}_v{number}.mp4"
                siblings.write(file, altered, rate, 24)


def settings_of(plan: Mapping[str, Any], name: str, clips: Path | None) -> dict[str, Any]:
    """The config of the runs on set `name`, but for seed and strategy."""
    settings: dict[str, Any] = json.loads(json.dumps(plan["common"]))
    update_config(settings, plan["sets"][name])
    path = {"path": str(clips)} if clips else {}
    return settings | {"run": f"leak-{name}"} | path


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A hash of the settings: accuracies by other ones do not count."""
    return f"{zlib.crc32(json.dumps(settings, sort_keys=True).encode()):08x}"


def train(settings: Mapping[str, Any], log: Path) -> None:
    """Let the workflow train and test the models, as far as that is still to do."""
    results = Path("results", settings["run"], "models")
    targets = [str(results / model / "predictions.csv") for model in settings["models"]]
    with tempfile.TemporaryDirectory() as folder, log.open("w") as stream:
        config = Path(folder, "config.json")
        config.write_text(json.dumps(settings))
        call = [sys.executable, "-m", "snakemake", "--configfile", str(config), "--", *targets]
        done = subprocess.run(call, cwd=ROOT, stdout=stream, stderr=stream, check=False)
    if done.returncode:
        sys.exit(f"{log.read_text()}\nsnakemake failed; the same is in {log}")


def counts(split: pd.DataFrame) -> dict[str, Any]:
    """The columns of COLUMNS from `clips` to `chance`, by the table split.csv."""
    held_out = split[split["split"] == "test"]
    trained = split.loc[split["split"] == "train", "group"]
    return {
        "clips": len(held_out),
        "recordings": held_out["group"].nunique(),
        "leaked": int(held_out["group"].isin(trained).sum()),
        "chance": split["label"].value_counts(normalize=True).max(),
    }


def test_rows(run: Path, models: Iterable[str]) -> list[dict[str, Any]]:
    """The columns of COLUMNS from `model` on, for each model of a run."""
    split = pd.read_csv(run / "split" / "split.csv", dtype=str)
    held_out = set(split.loc[split["split"] == "test", "video_id"])
    rows = []
    for model in models:
        predictions = pd.read_csv(run / "models" / model / "predictions.csv", dtype=str)
        tested = predictions[predictions["split"] == "test"]
        if set(tested["video_id"]) != held_out:
            raise ValueError(f"{run}: {model} was tested on other clips than split.csv says")
        accuracy = (tested["true"] == tested["predicted"]).mean()
        rows.append({"model": model, **counts(split), "accuracy": accuracy})
    return rows


def read_pictures(run: Path, clips: list[str]) -> NDArray[np.float32]:
    """A row a clip: its frames without salt, THUMBNAIL pixels each, of mean 0 and length 1."""
    shards = Shards(sorted((run / "frames").glob("shard-???.h5")))
    batches = Batches(shards, clips, [0] * len(clips), 1, 16)
    rows = []
    for frames in (clip for batch, _, _ in batches.epoch() for clip in batch):
        small = [
            cv2.resize(cv2.medianBlur(frame, 3), THUMBNAIL, interpolation=cv2.INTER_AREA)
            for frame in frames
        ]
        row = np.ravel(small).astype(np.float32)
        rows.append((row - row.mean()) / (np.linalg.norm(row - row.mean()) + 1e-6))
    return np.array(rows)


def nearest_rows(
    groups: pd.DataFrame, pictures: NDArray[np.float32], fractions: Mapping[str, float], seed: int
) -> list[dict[str, Any]]:
    """Rows of what only remembers: a clip's class is that of the training clip most like it.

    `groups` is the table groups.csv, with a row of `pictures` each, in the order of video_id.
    """
    rows = []
    for strategy in STRATEGIES:
        made = split_clips(groups, strategy, fractions["val"], fractions["test"], seed)
        split = pd.DataFrame(made, columns=SPLIT)
        train, test = (np.flatnonzero(split["split"] == part) for part in ("train", "test"))
        closest = train[(pictures[test] @ pictures[train].T).argmax(axis=1)]
        label = split["label"].to_numpy()
        row = {"seed": seed, "strategy": strategy, "model": NEAREST, **counts(split)}
        rows.append(row | {"accuracy": (label[closest] == label[test]).mean()})
    return rows


def remember(settings: Mapping[str, Any], seeds: Iterable[int]) -> pd.DataFrame:
    """The rows of `nearest_rows` for the clips of a run."""
    run = ROOT / "results" / settings["run"]
    groups = pd.read_csv(run / "dataset" / "groups.csv", dtype=str).sort_values("video_id")
    pictures = read_pictures(run, list(groups["video_id"]))
    each = [nearest_rows(groups, pictures, settings["split"], seed) for seed in seeds]
    return pd.DataFrame([row for rows in each for row in rows])


def read_rows(file: Path, plan: str) -> list[dict[str, Any]]:
    """The rows of an earlier call that were made by the same settings."""
    if not file.exists():
        return []
    rows = pd.read_csv(file, dtype={"plan": str})
    return canvas.records(rows[rows["plan"] == plan])


def measure(settings: Mapping[str, Any], seeds: Iterable[int], file: Path) -> pd.DataFrame:
    """Train under both strategies with each seed; the rows are kept in `file` as they come."""
    plan = fingerprint(settings)
    rows = read_rows(file, plan)
    done = {(row["seed"], row["strategy"]) for row in rows}
    for seed, strategy in product(seeds, STRATEGIES):
        if (seed, strategy) in done:
            continue
        began = time.perf_counter()
        split = settings["split"] | {"strategy": strategy, "seed": seed}
        train({**settings, "split": split, "seeds": [seed]}, file.with_suffix(".log"))
        new = test_rows(ROOT / "results" / settings["run"], settings["models"])
        rows += [{"plan": plan, "seed": seed, "strategy": strategy, **row} for row in new]
        with replacing(file) as partial:
            pd.DataFrame(rows, columns=COLUMNS).to_csv(partial, index=False)
        found = ", ".join(f"{row['model']} {row['accuracy']:.1%}" for row in new)
        seconds = time.perf_counter() - began
        print(f"{settings['run']} seed {seed} {strategy}: {found} ({seconds:.0f} s)", flush=True)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table[table["seed"].isin(list(seeds))]


def interval(values: pd.Series, overlap: float = 0) -> tuple[float, float]:
    """The 95% t interval of the mean of `values`, one a seed.

    Splits of the same clips are not independent. With `overlap`, clips tested a clip trained on,
    the interval is wider for that (Nadeau and Bengio 2003).
    """
    spread = values.std() * np.sqrt(1 / len(values) + overlap)
    half = stats.t.ppf(0.975, len(values) - 1) * spread
    return values.mean() - half, values.mean() + half


def gaps(rows: pd.DataFrame, overlap: float) -> pd.DataFrame:
    """A row a model: mean accuracies, and random less group of the same seed with its intervals."""
    table = []
    for model, own in rows.groupby("model", sort=False):
        accuracy = own.pivot(index="seed", columns="strategy", values="accuracy").dropna()
        gap = accuracy["random"] - accuracy["group"]
        low, high = interval(gap)
        wide_low, wide_high = interval(gap, overlap)
        row: dict[str, Any] = {"model": model, "seeds": len(gap), "gap": gap.mean()}
        row |= {"low": low, "high": high, "wide_low": wide_low, "wide_high": wide_high}
        for strategy in STRATEGIES:
            by = own[own["strategy"] == strategy]
            row[strategy] = accuracy[strategy].mean()
            row[f"{strategy}_clips"] = by["clips"].mean()
            row[f"{strategy}_recordings"] = by["recordings"].mean()
            row[f"{strategy}_leaked"] = by["leaked"].sum() / by["clips"].sum()
        table.append(row)
    return pd.DataFrame(table)


def between(row: Mapping[str, Any], low: str, high: str) -> str:
    """An interval in percentage points."""
    return f"{signed(row[low], 1)} to {signed(row[high], 1)}"


def markdown(tables: Mapping[str, pd.DataFrame]) -> str:
    """The table of all sets."""
    lines = [
        "| set | model | random | group | gap | 95% interval | corrected |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, table in tables.items():
        for row in canvas.records(table):
            cells = [name, row["model"], f"{row['random']:.1%}", f"{row['group']:.1%}"]
            cells += [f"**{signed(row['gap'], 1)}**", between(row, "low", "high")]
            cells += [between(row, "wide_low", "wide_high")]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| set | seeds | strategy | clips tested | of recordings | seen in training |"]
    lines += ["|---|---|---|---|---|---|"]
    for (name, table), strategy in product(tables.items(), STRATEGIES):
        row = canvas.records(table)[0]
        cells = [name, row["seeds"], strategy, f"{row[f'{strategy}_clips']:.0f}"]
        cells += [f"{row[f'{strategy}_recordings']:.0f}", f"{row[f'{strategy}_leaked']:.0%}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def draw_panel(axes: Axes, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """Accuracies of one set: a faint point and line a seed, the mean with its interval."""
    for place, row in enumerate(canvas.records(table)):
        own = rows[rows["model"] == row["model"]]
        accuracy = own.pivot(index="seed", columns="strategy", values="accuracy").dropna()
        left, right = place - 0.2, place + 0.2
        for _, pair in accuracy.iterrows():
            axes.plot([left, right], pair[list(STRATEGIES)], color="0.8", linewidth=0.7, zorder=1)
        for x, strategy in ((left, "random"), (right, "group")):
            looks = LOOKS[strategy]
            values = accuracy[strategy]
            faint: dict[str, Any] = {"s": 14, "alpha": 0.35, "linewidth": 0, "zorder": 2}
            axes.scatter([x] * len(values), values, **looks, **faint)
            away = x + (x - place) * 0.55
            axes.vlines(away, *interval(values), looks["color"], linewidth=2)
            axes.plot(away, values.mean(), markersize=6, **looks)
        centred = {"ha": "center", "va": "bottom"}
        axes.text(place, 1.16, signed(row["gap"], 1), weight="bold", **centred)
        ends = between(row, "low", "high").replace(" to ", "\nto ")
        axes.text(place, 1.03, ends, size=8, **centred)
    axes.axhline(rows["chance"].iloc[0], color=canvas.GREY, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(table)), table["model"])
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.55, len(table) - 0.45), ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


@canvas.styled
def draw(rows: Mapping[str, pd.DataFrame], tables: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel a set: test accuracy by strategy and model, and the gap above."""
    figure, panels = canvas.canvas(2.5, 2.6, panels=len(tables))
    for n, (axes, (name, table)) in enumerate(zip(panels, tables.items(), strict=True)):
        draw_panel(axes, rows[name], table)
        axes.set_title(f"\n{name}", pad=48)  # a blank line below the legend
        axes.tick_params(labelleft=n == 0)
    panels[0].set_ylabel("test accuracy")
    canvas.arrange(figure, len(panels))
    legend = [
        Line2D([], [], label="random: recordings on both sides", linewidth=2, **RANDOM_LOOKS),
        Line2D([], [], label="group: recordings kept whole", linewidth=2, **GROUP_LOOKS),
        Line2D([], [], label="chance", color=canvas.GREY, linewidth=0.8, linestyle=":"),
    ]
    text = (
        "Faint: the seeds, each under both strategies. Solid: their mean with its 95% interval.\n"
        "Above: what the random split adds, percentage points, with 95% interval."
    )
    canvas.heading(panels[0], "What a leaky split is worth", text, legend, columns=3)
    canvas.fit(figure)
    return figure


def clips_of(name: str, folder: Path) -> Path | None:
    """Where the clips of a set lie, made if need be; None where the workflow generates them."""
    variants = STUDY / "variants"
    if name == "variants" and not variants.exists():
        make_variants(folder, variants)
    return {"crops": folder, "variants": variants}.get(name)


def main() -> None:
    """Run the study, or what is left of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help=f"real clips; default {CLIPS}")
    parser.add_argument("--figure", type=Path, default=FIGURE, help=f"default {FIGURE}")
    parser.add_argument("--sets", nargs="+", help="default all of studies/leak.yaml")
    args = parser.parse_args()
    plan = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    rows, tables = {}, {}
    for name in args.sets or plan["sets"]:
        source = plan["sets"][name]["source"]
        if source == "folder" and not args.clips.is_dir():
            print(f"Set {name} is left out: there are no clips at {args.clips} (--clips FOLDER)")
            continue
        STUDY.mkdir(parents=True, exist_ok=True)
        settings = settings_of(plan, name, clips_of(name, args.clips.resolve()))
        trained = measure(settings, plan["seeds"], STUDY / f"{name}.csv")
        rows[name] = pd.concat([trained, remember(settings, plan["seeds"])], ignore_index=True)
        val, test = (settings["split"][part] for part in ("val", "test"))
        tables[name] = gaps(rows[name], overlap=test / (1 - val - test))
    if not tables:
        return
    print(f"\n{markdown(tables)}\n")
    canvas.save(draw(rows, tables), args.figure)
    print(f"Figure: {args.figure}")


if __name__ == "__main__":
    main()
