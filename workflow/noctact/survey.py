"""Stage survey: what the data are like, and what leaks across the split."""

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from noctact import findings
from noctact.atomic import replacing
from noctact.division import SPLITS
from noctact.errors import NoctactError
from noctact.leaks import leak_table, look_alikes
from noctact.origins import MEASURE, find_origins, frame_rate, frame_size
from noctact.results import read_numbers, read_object, read_table
from noctact.shards import Shards
from noctact.split import Settings
from noctact.survey_pictures import draw_figures, draw_sheets
from noctact.tables import GROUPS, PAIRS, SPLIT, read_csv

# Numbers of the manifest, and what they can be at most.
NUMBERS = {
    **dict.fromkeys(("n_decoded", "width", "height", "rate"), 1e9),
    **{"brightness": 255, "salt": 1},
}
CLASSES = (
    *("label", "clips", "share", *SPLITS, "groups", "largest_group"),
    *("length_min", "length_median", "length_max", "lengths_unknown"),
    *("size", "sizes", "rate", "rates", "brightness", "salt"),
)
CONFLICTS = ("video_id", "label", "evidence", "other", "other_label")
EQUAL = r"\b(?:content|frames)\b"  # evidence that two clips are the same
CONFLICTS_SHOWN = 50  # on the page; the others are in the table alone


class Inputs(NamedTuple):
    """The files of the stages before."""

    manifest: Path
    groups: Path
    pairs: Path
    split: Path
    split_facts: Path
    shards: Sequence[Path]


class Data(NamedTuple):
    """The clips that are divided, and the pairs of them that look alike.

    `clips` has the columns SPLIT, evidence, sha256, NUMBERS and length (seconds, NaN if unknown);
    `pairs` the columns PAIRS, similarity as float and joined as bool.
    """

    clips: pd.DataFrame
    pairs: pd.DataFrame


def read_data(inputs: Inputs) -> Data:
    """Read and join the tables.

    Raises NoctactError for a table that is missing or lacks a column, a clip that one table has
    and another lacks, a number out of its range, and an unknown split.
    """
    split = read_table(inputs.split, SPLIT)[[*SPLIT]]
    odd = split[~split["split"].isin(SPLITS)]
    if len(odd):
        clip, part = odd.iloc[0][["video_id", "split"]]
        raise NoctactError(
            f"{inputs.split}: clip {clip!r} is in {part!r}, which is none of {', '.join(SPLITS)}; "
            "run stage split again"
        )
    groups = read_table(inputs.groups, GROUPS)[["video_id", "evidence"]]
    of_manifest = ["video_id", "sha256", *NUMBERS]
    manifest = read_table(inputs.manifest, of_manifest)[of_manifest]
    for file, table in (
        (inputs.split, split),
        (inputs.groups, groups),
        (inputs.manifest, manifest),
    ):
        must_hold(file, table["video_id"], split["video_id"], inputs.split)
    clips = split.merge(groups, on="video_id").merge(manifest, on="video_id")
    clips[[*NUMBERS]] = read_numbers(clips, [*NUMBERS], inputs.manifest)
    for name, most in NUMBERS.items():
        needed = name in ("n_decoded", "width", "height")
        fine = clips[name].between(0, most) | (clips[name].isna() & (not needed))
        if not fine.all():
            clip, value = clips[~fine].iloc[0][["video_id", name]]
            raise NoctactError(
                f"{inputs.manifest}: clip {clip!r} has {value:g} as its {name}; run stage audit "
                "again"
            )
    clips["length"] = clips["n_decoded"] / clips["rate"].where(clips["rate"] > 0)
    clips = clips.sort_values("video_id", ignore_index=True)
    return Data(clips, read_pairs(inputs.pairs, groups["video_id"], clips["video_id"]))


def read_division(file: Path) -> dict[str, Any]:
    """The keys strategy and scarce_classes (classes divided by clips, maybe none) of split.json.

    Raises NoctactError when it lacks the first.
    """
    facts = read_object(file, "run stage split")
    if not isinstance(facts.get("strategy"), str):
        raise NoctactError(f"{file}: no key 'strategy'; run stage split again")
    return {"strategy": facts["strategy"], "scarce_classes": facts.get("scarce_classes", [])}


def must_hold(file: Path, known: pd.Series, clips: pd.Series, named_by: Path) -> None:
    """Raise NoctactError unless `file`, of the clips `known`, has all `clips` and none twice."""
    twice = known[known.duplicated()]
    if len(twice):
        raise NoctactError(
            f"{file}: clip {twice.iloc[0]!r} comes twice; run stages audit and split again"
        )
    absent = clips[~clips.isin(known)]
    if len(absent):
        raise NoctactError(
            f"{file}: no clip {absent.iloc[0]!r}, which {named_by} has; run stages audit and split "
            "again"
        )


def read_pairs(file: Path, known: pd.Series, divided: pd.Series) -> pd.DataFrame:
    """Read pairs.csv, as `Data` has it: each pair once, and pairs of `divided` clips only.

    Raises NoctactError for clips that are not among `known`, and wrong cells.
    """
    pairs = pd.DataFrame(read_csv(file, PAIRS), columns=PAIRS)
    for column in ("video_id", "other"):
        absent = pairs[column][~pairs[column].isin(known)]
        if len(absent):
            raise NoctactError(
                f"{file}: no clip {absent.iloc[0]!r} is left to use; run stage audit again"
            )
    wrong = pairs[~pairs["joined"].isin(["yes", "no"])]
    if len(wrong):
        raise NoctactError(
            f"{file}: {wrong.iloc[0]['joined']!r} as joined, which is yes or no; run stage audit "
            "again"
        )
    pairs["joined"] = pairs["joined"] == "yes"
    pairs["similarity"] = read_numbers(pairs, ["similarity"], file)
    if not pairs["similarity"].between(0, 1).all():
        raise NoctactError(f"{file}: a similarity is not in 0 to 1; run stage audit again")
    ends = np.sort(pairs[["video_id", "other"]].to_numpy(object), axis=1)
    pairs[["video_id", "other"]] = ends
    order = [True, True, False, True]  # what joins comes first
    pairs = pairs.sort_values(["video_id", "other", "joined", "evidence"], ascending=order)
    pairs = pairs.drop_duplicates(["video_id", "other"])
    used = pairs["video_id"].isin(divided) & pairs["other"].isin(divided)
    return pairs[used & (pairs["video_id"] != pairs["other"])].reset_index(drop=True)


def class_table(clips: pd.DataFrame) -> pd.DataFrame:
    """One row a class, with the columns CLASSES; medians and ranges are of what is known.

    `largest_group` counts the clips of this class; `size` and `rate` are the most frequent ones,
    `sizes` and `rates` how many there are.
    """
    clips = clips.assign(size=frame_size(clips), rate=frame_rate(clips))
    own = clips.groupby("label")
    table = own.agg(
        clips=("video_id", "size"),
        groups=("group", "nunique"),
        length_min=("length", "min"),
        length_median=("length", "median"),
        length_max=("length", "max"),
        sizes=("size", "nunique"),
        rates=("rate", "nunique"),
        brightness=("brightness", "median"),
        salt=("salt", "median"),
    )
    table["share"] = table["clips"] / len(clips)
    parts = pd.crosstab(clips["label"], clips["split"])
    table[[*SPLITS]] = parts.reindex(columns=[*SPLITS], fill_value=0)
    table["largest_group"] = clips.groupby(["label", "group"]).size().groupby("label").max()
    table["lengths_unknown"] = clips["length"].isna().groupby(clips["label"]).sum()
    for name in ("size", "rate"):
        counts = clips.groupby(["label", name]).size().rename("clips").reset_index()
        ranked = counts.sort_values(["label", "clips", name], ascending=[True, False, True])
        table[name] = ranked.groupby("label")[name].first()
    return table.reset_index()[[*CLASSES]]


def conflict_table(clips: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The clips that are the same as one of another class, with the columns CONFLICTS.

    The same are clips of one sha256, and pairs whose evidence is EQUAL, directly or through others.
    `other` is the first such clip of another class. Clips of one content follow each other.
    """
    equal = pairs[pairs["evidence"].str.contains(EQUAL)][["video_id", "other"]]
    # Each with the first of its content: a thousand copies have half a million pairs.
    first_of_content = clips.groupby("sha256")["video_id"].transform("first")
    copies = pd.DataFrame({"video_id": clips["video_id"], "other": first_of_content})
    same = look_alikes(clips["video_id"], pd.concat([equal, copies]))
    mixed = clips.groupby(same)["label"].transform("nunique") > 1
    rows = []
    for _, alike in clips[mixed].groupby(same[mixed]):
        first = alike.iloc[0]
        second = alike[alike["label"] != first["label"]].iloc[0]
        for clip in alike.itertuples():
            against = second if clip.label == first["label"] else first
            evidence = "content" if clip.sha256 == against["sha256"] else "frames"
            rows.append(
                (clip.video_id, clip.label, evidence, against["video_id"], against["label"])
            )
    return pd.DataFrame(rows, columns=CONFLICTS)


def count_pairs(pairs: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many pairs were joined, and how many are in doubt, by evidence."""
    counts = pd.crosstab(pairs["evidence"], pairs["joined"])
    counts = counts.reindex(columns=[True, False], fill_value=0)
    return {
        str(evidence): {"joined": int(joined), "doubtful": int(doubtful)}
        for evidence, joined, doubtful in counts.itertuples(name=None)
    }


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `table` for JSON: null where there is no value."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=10))
    return rows


def survey(inputs: Inputs, settings: Settings, output: Path) -> None:
    """Write survey.json, its tables and its figures to the folder `output`; print the verdict.

    `settings` are those of the config: what strategies that are not in use are tried with; the one
    in use is that of split.json. Raises NoctactError for files that are missing or wrong.
    """
    division = read_division(inputs.split_facts)
    settings = settings._replace(strategy=division["strategy"])
    clips, pairs = read_data(inputs)
    joined = pairs[pairs["joined"]]
    origins = find_origins(clips)
    tables = {
        "classes": class_table(clips),
        "leaks": leak_table(clips[[*SPLIT]], joined[["video_id", "other"]], settings),
        "sources": origins.counts.reset_index(),
        "conflicts": conflict_table(clips, pairs),
    }
    for name, table in tables.items():
        with replacing(output / f"{name}.csv") as partial:
            table.to_csv(partial, index=False, lineterminator="\n")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font draws a box for those it lacks
        draw_figures(clips, tables["classes"], origins.counts, output / "figures")
        sheets = draw_sheets(clips, pairs, Shards(inputs.shards), output / "figures")
    facts = {
        **division,
        **findings.recordings(clips),
        "pairs": count_pairs(pairs),
        "classes": rows_of(tables["classes"]),
        "leaks": rows_of(tables["leaks"]),
        "sources": {
            "names": [*origins.counts],
            "clips": {str(name): row.tolist() for name, row in origins.counts.T.items()},
            "measure": MEASURE,
            "told": round(origins.told, 10),
            "blocks": origins.blocks,
            "strays": origins.strays,
        },
        "conflicts": {
            "number": len(tables["conflicts"]),
            "shown": rows_of(tables["conflicts"].head(CONFLICTS_SHOWN)),
        },
        "sheets": sheets,
    }
    content = {
        "verdict": findings.verdict(facts),
        "warnings": findings.warnings(facts),
        "notes": findings.notes(facts),
        **facts,
    }
    with replacing(output / "survey.json") as partial:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        partial.write_text(f"{text}\n", encoding="utf-8")
    print(*content["verdict"])
    for text in content["warnings"]:
        print("Warning:", text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("--manifest", type=Path, required=True, help="CSV of stage audit")
    parser.add_argument("--groups", type=Path, required=True, help="CSV of stage audit")
    parser.add_argument("--pairs", type=Path, required=True, help="CSV of stage audit")
    parser.add_argument("--split", type=Path, required=True, help="CSV of stage split")
    parser.add_argument("--split-facts", type=Path, required=True, help="JSON of stage split")
    parser.add_argument(
        "--shards", type=Path, nargs="+", required=True, help="HDF5 files of stage extract"
    )
    parser.add_argument("--val", type=float, required=True, help="fraction, as for stage split")
    parser.add_argument("--test", type=float, required=True, help="fraction, likewise")
    parser.add_argument("--seed", type=int, required=True, help="likewise")
    parser.add_argument("--scarce", choices=("stop", "clips"), default="stop", help="likewise")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for survey.json, tables and figures/"
    )


def run(args: argparse.Namespace) -> None:
    """Run the stage."""
    inputs = Inputs(*(getattr(args, name) for name in Inputs._fields))
    settings = Settings("", args.val, args.test, args.seed, args.scarce)
    survey(inputs, settings, args.output)
