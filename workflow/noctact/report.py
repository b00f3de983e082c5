"""Stage report: a run on one self-contained page, and how it was made, for machines."""

import argparse
import base64
import functools
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml
from matplotlib.figure import Figure

from noctact import figures
from noctact.atomic import replacing
from noctact.crate import write_crate
from noctact.errors import NoctactError
from noctact.provenance import PARTS, Edges, Tree, how_made, in_order
from noctact.readable import FILTERS, points
from noctact.replicates import folder_of
from noctact.results import ALTERED, BASELINES, read_cost, read_facts, read_object
from noctact.tables import QUARANTINE, read_csv

TEMPLATE = Path(__file__).with_suffix(".html")
SUMMARY = (
    *("split", "clips", "groups", "classes", "missing", "best", "models"),
    *("significance", "controls", "verdict", "warnings"),
)
SURVEY = (
    *("verdict", "warnings", "notes", "scarce_classes", "classes", "leaks"),
    *("sources", "conflicts", "sheets"),
)
SHOWN_IN_QUARANTINE = 10  # rows in full; the others are folded


class Picture(NamedTuple):
    """A PNG as a data: URI, and its size in CSS pixels."""

    uri: str
    width: int
    height: int


def read_option(text: str, option: str, kind: type) -> Any:
    """The value of `option`, JSON text of a `kind`; raises NoctactError for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise NoctactError(
            f"{option}: not JSON ({error}); see python -m noctact report --help"
        ) from error
    if not isinstance(value, kind):
        raise NoctactError(
            f"{option}: not a JSON {kind.__name__}; see python -m noctact report --help"
        )
    return value


def digest(text: str) -> str:
    """The hash by which the page's own Content-Security-Policy knows a style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def as_picture(png: bytes, file: Path) -> Picture:
    """The content of a PNG; raises NoctactError, which names `file`, where it is none."""
    if not png.startswith(b"\x89PNG\r\n\x1a\n") or len(png) < 24:
        raise NoctactError(f"{file}: not a PNG picture; delete it and run again")
    width, height = (int.from_bytes(png[place : place + 4], "big") for place in (16, 20))
    scale = 96 / figures.STYLE["figure.dpi"]  # a figure is as large on the page as on paper
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    return Picture(uri, round(width * scale), round(height * scale))


def read_picture(run: Path, stem: str) -> Picture | None:
    """The picture `stem`.png below the folder `run`, if there is one."""
    file = run / f"{stem}.png"
    return as_picture(file.read_bytes(), file) if file.exists() else None


def draw(figure: Figure) -> Picture:
    """`figure` as a picture."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "figure.png")
        figures.save(figure, file)
        return as_picture(file.read_bytes(), file)


def by_stage(jobs: Sequence[Tree]) -> list[Tree]:
    """The jobs of each stage together: stage, jobs, seconds in all, longest, max_rss_mb."""
    stages: dict[str, list[Tree]] = {}
    for job in jobs:
        stages.setdefault(job["rule"].split("_")[0], []).append(job)
    rows = []
    for stage, members in stages.items():
        seconds = [job["seconds"] for job in members if job["seconds"] is not None]
        memory = [job["max_rss_mb"] for job in members if job["max_rss_mb"] is not None]
        rows.append(
            {
                "stage": stage,
                "jobs": len(members),
                "seconds": sum(seconds) if seconds else None,
                "longest": max(seconds, default=None),
                "max_rss_mb": max(memory, default=None),
            }
        )
    return rows


def clear_pairs(pairs: Sequence[Tree]) -> str:
    """The pairs that differ clearly, in a sentence."""
    clear = [
        f"{points(pair, 'difference', 'low', 'high')} points for {pair['model']} over "
        f"{pair['other']}"
        for pair in pairs
        if pair["clear"]
    ]
    return f"Clear are: {', '.join(clear)}." if clear else "None is clear."


def read_keys(file: Path, keys: Sequence[str], stage: str) -> Tree:
    """Read a JSON object of a `stage`; raises NoctactError unless it has all `keys`."""
    content = read_object(file, f"run stage {stage}")
    for key in keys:
        if key not in content:
            raise NoctactError(f"{file}: no key {key!r}; run stage {stage} again")
    return content


def render(run: Path, models: Sequence[Tree], summary: Tree, survey: Tree, facts: Tree) -> str:
    """The page as HTML; raises NoctactError when `summary` or `survey` lacks something."""
    accuracy = f"{summary['split']}_accuracy"
    order = in_order(facts["rules"])
    jobs = Counter(job["rule"] for job in facts["jobs"])
    several = {rule: number for rule, number in jobs.items() if number > 1}
    environment = jinja2.Environment(
        autoescape=True,  # classes and files may be called anything
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS | {"digest": digest}
    try:
        return (
            environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
            .render(
                run=facts["run"],
                summary=summary,
                survey=survey,
                # The best first; a model without a value last.
                rows=sorted(summary["models"], key=lambda row: -(row[accuracy] or 0)),
                accuracy=accuracy,
                controls=BASELINES | ALTERED,
                clear_pairs=clear_pairs(summary["significance"]),
                models=[model for model in models if model["first"]],
                facts=facts,
                config=yaml.safe_dump(facts["config"], allow_unicode=True),
                parts=PARTS,
                stages=by_stage(facts["jobs"]),
                quarantine=read_csv(run / "dataset" / "quarantine.csv", QUARANTINE),
                shown=SHOWN_IN_QUARANTINE,
                picture=functools.partial(read_picture, run),
                order=order,
                graph=draw(figures.rule_graph(facts["rules"], several)) if order else None,
            )
            .lstrip()
        )
    except (jinja2.UndefinedError, KeyError, TypeError) as error:  # the last by a filter
        raise NoctactError(
            f"{run / 'comparison' / 'summary.json'}: {error}, here or in dataset/survey.json; run "
            "stages survey and compare again"
        ) from error


def read_models(run: Path, config: Tree, summary: Tree) -> list[Tree]:
    """The run.json of each training in `summary`, with its folder in models/, its layers, and
    whether it is the `first` of its model.

    Raises NoctactError where one is missing, or is of another training.
    """
    models: list[Tree] = []
    for row in summary["models"]:
        folder = folder_of(row["model"], row["seed"], config["seeds"])
        file = run / "models" / folder / "run.json"
        facts = read_facts(file)
        if (facts["model"], facts["seed"]) != (row["model"], row["seed"]):
            raise NoctactError(f"{file}: not what summary.json compares; run stage compare again")
        layers = read_cost(file.with_name("cost.json")).get("layers", [])
        first = row["model"] not in [model["model"] for model in models]
        models.append(facts | {"folder": folder, "layers": layers, "first": first})
    return models


def report(run: Path, config: Tree, rules: Edges = ()) -> None:
    """Write report.html, the page of the results in the folder `run`; beside it, for machines,
    run.json (how they were made) and ro-crate-metadata.json (which file is what).

    `config` is the whole config; `rules` are pairs of rules of which the second needs the first.
    Raises NoctactError when a file is missing or holds what it should not.
    """
    summary = read_keys(run / "comparison" / "summary.json", SUMMARY, "compare")
    survey = read_keys(run / "dataset" / "survey.json", SURVEY, "survey")
    models = read_models(run, config, summary)
    facts = how_made(run, models, config, summary, rules)
    page = render(run, models, summary, survey, facts)
    with replacing(run / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")
    with replacing(run / "run.json") as partial:
        partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "utf-8")
    write_crate(run, facts, summary, [model["folder"] for model in models])
    print(f"{run / 'report.html'}: {len(page) / 1e6:.1f} MB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("folder", type=Path, metavar="run", help="results/<run>")
    parser.add_argument("--config", required=True, help="the whole config, as JSON")
    parser.add_argument(
        "--rules", default="[]", help="JSON list of [rule, rule that needs it], for the graph"
    )


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    edges = read_option(args.rules, "--rules", list)
    if not all(
        isinstance(edge, list) and [type(rule) for rule in edge] == [str] * 2 for edge in edges
    ):
        raise NoctactError("--rules: not pairs of rules; see python -m noctact report --help")
    config = read_option(args.config, "--config", dict)
    for key in ("models", "seeds", "split"):
        if key not in config:
            raise NoctactError(f"--config: no key {key!r}; give the whole config")
    report(args.folder, config, [(one, other) for one, other in edges])
