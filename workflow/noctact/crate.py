"""The RO-Crate of a run: which of its files is what, and what made them, as JSON-LD.

A Workflow Run Crate (https://w3id.org/ro/wfrun/workflow/0.5): the workflow, one action that ran it,
what went in and what came out. Metadata, and one small file: a crate must hold its main workflow.
"""

import datetime
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from noctact.atomic import replacing

SNAKEFILE = Path(__file__).parents[2] / "Snakefile"
PROFILES = {
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
}
# Patterns below the run's folder, and what the files are.
RESULTS = {
    "report.html": "The comparison on one page",
    "run.json": "How the run was made",
    "comparison/**/*.*": "Figure or table of the comparison",
    "controls/*.csv": "Predictions of a baseline",
    "split/*.csv": "Train, val or test for each clip",
    "split/split.json": "How the clips were divided",
    "dataset/*.csv": "The clips, their recordings, what they are like, and what could not be used",
    "dataset/survey.json": "What the data are like, and what leaks across the split",
    "dataset/figures/*.*": "Figure of the data",
}
TRAINING = "Of one training: model, epochs, predictions or cost"
FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".keras": "application/zip",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


def write_crate(
    run: Path, facts: dict[str, Any], summary: dict[str, Any], folders: Sequence[str]
) -> None:
    """Write ro-crate-metadata.json, the metadata of the results in the folder `run`, and beside it
    workflow.smk, the workflow as it is now.

    `facts` is the content of run.json, `summary` that of summary.json, of whose time the run is;
    `folders` are those in models/ of the trainings that are compared.
    """
    time = (run / "comparison" / "summary.json").stat().st_mtime
    ended = datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat(timespec="seconds")
    crate = ROCrate(version="1.1")  # what the profile is made for
    crate.name = f"noctact: run {facts['run']}"
    crate.description = " ".join(summary["verdict"]) or "A comparison of trained models"
    crate.datePublished = ended
    crate.license = "No licence is stated."
    for address, name in PROFILES.items():
        crate.root_dataset.append_to("conformsTo", profile(crate, address, name))
    with replacing(run / "workflow.smk") as partial:
        partial.write_text(whole_workflow(), encoding="utf-8")
    workflow = crate.add_workflow(
        dest_path="workflow.smk",
        properties={
            "name": "noctact",
            "description": "The Snakefile with the rules that it includes",
            "version": facts["commit"] or "unknown",
            "encodingFormat": "text/plain",
        },
        main=True,
        lang="snakemake",
        lang_version=next(iter(facts["versions"].get("snakemake", [])), None),
    )
    properties = {
        "@type": "PropertyValue",
        "name": "config",
        "value": json.dumps(facts["config"], ensure_ascii=False, sort_keys=True),
    }
    action = crate.add_action(
        workflow,
        "#run",
        object=crate.add(ContextEntity(crate, "#config", properties)),
        result=[
            crate.add_file(
                dest_path=path,
                properties={"name": path.as_posix(), "description": text}
                | ({"encodingFormat": FORMATS[path.suffix]} if path.suffix in FORMATS else {}),
            )
            for text, path in results(run, folders)
        ],
        properties={
            "name": f"Run {facts['run']}",
            "description": "Trained the models and compared them",
            "endTime": ended,
        },
    )
    crate.root_dataset["mentions"] = action
    content = json.dumps(crate.metadata.generate(), indent=2, sort_keys=True, ensure_ascii=False)
    with replacing(run / "ro-crate-metadata.json") as partial:
        partial.write_text(content + "\n", encoding="utf-8")


def profile(crate: ROCrate, address: str, name: str) -> ContextEntity:
    """A profile that the crate conforms to."""
    properties = {"@type": "CreativeWork", "name": name, "version": address.rsplit("/", 1)[-1]}
    return crate.add(ContextEntity(crate, address, properties))


def whole_workflow() -> str:
    """The text of the Snakefile, with the files that it includes in their place."""

    def included(line: re.Match[str]) -> str:
        return (SNAKEFILE.parent / line[1]).read_text(encoding="utf-8")

    text = SNAKEFILE.read_text(encoding="utf-8")
    return re.sub(r'^include: "(.+)"\n', included, text, flags=re.MULTILINE)


def results(run: Path, folders: Sequence[str]) -> list[tuple[str, Path]]:
    """What the files in `run` are, and their paths below it; of models/ those in `folders`."""
    trainings = {f"models/{folder}/*.*": TRAINING for folder in folders}
    return [
        (text, file.relative_to(run))
        for pattern, text in (RESULTS | trainings).items()
        for file in sorted(run.glob(pattern))
        if file.is_file() and not file.name.startswith(".")
    ]
