"""What stage survey says of the data: a verdict, warnings and notes, made from survey.json."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from noctact.readable import count, listed, percent, shortened

Facts = dict[str, Any]  # the content of survey.json, less what is made here

GIANT = 0.5  # of all clips, in one recording
TOLD = 0.1  # of the uncertainty about the class, by the source
IMBALANCE = 10  # times as many clips in the largest class as in the smallest
NAMED = 6  # classes or clips in a sentence
LETTERS = 60  # of a name in a sentence
FOUND = {"content": "by equal files", "frames": "by equal frames", "sight": "by sight"}
PART = {"test": "test", "val": "validation"}


def recordings(clips: pd.DataFrame) -> Facts:
    """The keys clips, groups, largest, evidence and mixed of survey.json.

    `largest` is the group of most clips, `evidence` counts clips, `mixed` are the groups with
    clips of several classes: `number`, whether all are of one `name` only, and an example.
    """
    own = clips.groupby("group")
    sizes = own.size()
    several = own["label"].transform("nunique") > 1
    mixed = clips[several]
    first = mixed[mixed["group"] == mixed["group"].min()].drop_duplicates("label")
    return {
        "clips": len(clips),
        "groups": len(sizes),
        "largest": {"group": str(sizes.idxmax()), "clips": int(sizes.max())},
        "evidence": {
            str(kind): int(number)
            for kind, number in clips["evidence"].value_counts().sort_index().items()
        },
        "mixed": {
            "number": int(mixed["group"].nunique()),
            "by_name": bool((mixed["evidence"] == "name").all()),
            "example": first["video_id"].head(NAMED).tolist(),
        },
    }


def verdict(facts: Facts) -> list[str]:
    """What there is, and what leaks across the split in use: two sentences."""
    return [what_there_is(facts), what_leaks(facts)]


def what_there_is(facts: Facts) -> str:
    """Clips and recordings, and what told that clips belong together."""
    if alone(facts):
        return (
            f"{plural(facts['clips'], 'clip')}; nothing tells that any two are of one recording, "
            "so each counts as a recording of its own."
        )
    text = f"{plural(facts['clips'], 'clip')} of {plural(facts['groups'], 'recording')}"
    text += f" (largest: {plural(facts['largest']['clips'], 'clip')})"
    found = {
        FOUND.get(kind, f"by {kind}"): pairs["joined"]
        for kind, pairs in facts["pairs"].items()
        # Clips that are together by name may look alike, too.
        if pairs["joined"] and any(kind in kinds.split("+") for kinds in facts["evidence"])
    }
    if found:
        number = sum(found.values())
        text += f"; {plural(number, 'pair')} {'was' if number == 1 else 'were'} found"
        several = [f"{count(own)} {how}" for how, own in found.items()]
        how = f": {listed(several)}" if len(found) > 1 else f" {next(iter(found))}"
        return f"{text}{how}."
    return f"{text}, by the names of their files."


def what_leaks(facts: Facts) -> str:
    """The held-out clips whose recording training has seen, now and in another split."""
    now = in_use(facts)
    part = PART[now["held_out"]]
    if now["recording_clips"]:
        text = f"With the split in use ({now['strategy']}) {leaking(now)}"
        group = by_strategy(facts).get("group", now)
        possible = group is not now and not group["impossible"]
        return text + ("; in a split by recording none would." if possible else ".")
    if alone(facts):
        return f"Whether a {part} clip has a clip of its recording in train is not known."
    text = f"With the split in use no {part} clip has a clip of its recording in train"
    random = by_strategy(facts)["random"]
    if random is now or random["impossible"]:
        return f"{text}."
    if not random["recording_clips"]:
        return f"{text}, nor would one in a random split of clips."
    number = f"{count(random['recording_clips'])} of {count(random['clips'])}"
    return f"{text}; in a random split of clips {number} would have one."


def leaking(row: Facts) -> str:
    """The leak of a strategy, in words."""
    return (
        f"{count(row['recording_clips'])} of {count(row['clips'])} {PART[row['held_out']]} clips "
        f"({percent(row['recording_share'])}) have a clip of their recording in train"
    )


def warnings(facts: Facts) -> list[str]:
    """What is wrong with the data or the split, and what to do, the worst first."""
    found = (
        warn_of_leak(facts),
        warn_of_conflicts(facts),
        warn_of_giant(facts),
        warn_of_lone_recordings(facts),
        warn_of_mixed(facts) if not facts["mixed"]["by_name"] else "",
        warn_of_no_evidence(facts),
        warn_of_sources(facts),
        warn_of_imbalance(facts),
    )
    return [text for text in found if text]


def warn_of_leak(facts: Facts) -> str:
    """Of held-out clips whose recording is in train; or of validation clips, where test is safe."""
    now = in_use(facts)
    mend = {
        "column": "mend the file that divides the clips, or set split.strategy to group",
        "group": f"add recordings of {of_classes(scarce)}, which had too few to be divided"
        if (scarce := facts["scarce_classes"])
        else "run stage split again",
    }.get(now["strategy"], "set split.strategy to group")
    if now["recording_clips"]:
        copies = now["alike_clips"]
        text = f"The split leaks: {leaking(now)}"
        text += f", {count(copies)} of them a copy or one that looks the same" if copies else ""
        return f"{text}. A model that knows the recording again need not know the action; {mend}."
    if now["recording_train_val"]:
        return (
            f"Train and validation share {plural(now['recording_train_val'], 'pair')} of clips of "
            f"one recording: the best epoch is chosen by what training has seen; {mend}."
        )
    return ""


def warn_of_conflicts(facts: Facts) -> str:
    """Of clips that are the same and have different classes."""
    number = facts["conflicts"]["number"]
    text = f"{count(number)} clips are the same as a clip of another class: see Errors."
    return text if number else ""


def warn_of_giant(facts: Facts) -> str:
    """Of a recording with most of all clips."""
    largest, clips = facts["largest"], facts["clips"]
    if largest["clips"] <= GIANT * clips:
        return ""
    return (
        f"One recording, {quoted(largest['group'])}, holds {count(largest['clips'])} of "
        f"{count(clips)} clips ({percent(largest['clips'] / clips)}), and a recording lies in one "
        "part of the split only. Look whether groups.pattern matches too much, or clips look alike "
        "for another reason, such as a title or darkness."
    )


def warn_of_lone_recordings(facts: Facts) -> str:
    """Of classes whose clips are all of one recording."""
    lone = [row["label"] for row in facts["classes"] if row["groups"] == 1 and row["clips"] > 1]
    if not lone or facts["groups"] == 1:
        return ""
    each = " each" if len(lone) > 1 else ""
    return (
        f"All clips of {of_classes(lone)} are of one recording{each}: they can't be learned and "
        "tested without a leak. Add recordings, or leave them out."
    )


def warn_of_mixed(facts: Facts) -> str:
    """Of recordings with clips of several classes."""
    mixed = facts["mixed"]
    if not mixed["number"]:
        return ""
    one = mixed["number"] == 1
    return (
        f"{plural(mixed['number'], 'recording')} {'has' if one else 'have'} clips of several "
        f"classes, for example {named(mixed['example'])}. That is fine "
        "where a recording shows several actions; where it shows one, a clip lies in the wrong "
        "folder or was joined by mistake."
    )


def warn_of_no_evidence(facts: Facts) -> str:
    """Of clips that all count as recordings of their own."""
    if not alone(facts):
        return ""
    return (
        "No two clips were found to be of one recording, by name, content or looks, so no leak can "
        "be seen. If the names of the files tell recordings, set groups.pattern."
    )


def warn_of_sources(facts: Facts) -> str:
    """Of classes that the way the files were made gives away."""
    sources = facts["sources"]
    how = "The way a file was made (frame size, frame rate, suffix)"
    told = f"it takes away {percent(sources['told'])} of the uncertainty ({sources['measure']})"
    advice = "A model can score without looking at the action"
    blocks = sources["blocks"]
    if len(blocks) > 1:
        but = f", but for {plural(sources['strays'], 'clip')}" if sources["strays"] else ""
        return (
            f"The classes fall into {len(blocks)} blocks with no kind of file in common{but}: "
            f"{'; '.join(map(named, blocks))}. {how} tells the block of a class; of the class "
            f"itself {told}. {advice}: compare only within a block, or make all files alike."
        )
    if sources["told"] < TOLD:
        return ""
    return f"{how} tells of the class: {told}. {advice}: make all files alike."


def warn_of_imbalance(facts: Facts) -> str:
    """Of classes with many times the clips of others."""
    ranked = sorted(facts["classes"], key=lambda row: (row["clips"], row["label"]))
    least, most = ranked[0], ranked[-1]
    if most["clips"] < IMBALANCE * least["clips"]:
        return ""
    return (
        f"Class {quoted(most['label'])} has {plural(most['clips'], 'clip')}, class "
        f"{quoted(least['label'])} {count(least['clips'])}: naming frequent classes is often "
        "right. Judge by macro F1, which counts every class the same."
    )


def notes(facts: Facts) -> list[str]:
    """What is good to know, and no fault."""
    found = []
    doubtful = sum(pairs["doubtful"] for pairs in facts["pairs"].values())
    if doubtful:
        look, were = ("looks", "was") if doubtful == 1 else ("look", "were")
        found.append(
            f"{plural(doubtful, 'pair')} of clips {look} alike but {were} not taken for one "
            "recording: not alike enough, or told apart by name (logs/audit.log says it)."
        )
    if facts["mixed"]["by_name"] and (text := warn_of_mixed(facts)):
        found.append(text)
    unknown = sum(row["lengths_unknown"] for row in facts["classes"])
    if unknown:
        found.append(f"The length of {plural(unknown, 'clip')} is not known.")
    return found


def alone(facts: Facts) -> bool:
    """Whether each clip is a recording of its own, for want of evidence."""
    return [*facts["evidence"]] == ["single"]


def by_strategy(facts: Facts) -> dict[str, Facts]:
    """The rows of leaks.csv."""
    return {row["strategy"]: row for row in facts["leaks"]}


def in_use(facts: Facts) -> Facts:
    """The row of leaks.csv of the split in use."""
    return by_strategy(facts)[facts["strategy"]]


def plural(number: int, noun: str) -> str:
    """1 as "1 clip", 1234 as "1,234 clips"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def quoted(name: str) -> str:
    """A name of any length in a sentence."""
    return f"\u201c{shortened(name, LETTERS)}\u201d"


def named(names: Sequence[str]) -> str:
    """Names in a sentence, the first NAMED of many."""
    rest = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return listed([*map(quoted, names[:NAMED]), *rest])


def of_classes(names: Sequence[str]) -> str:
    """`class "a"`, or `classes "a" and "b"`."""
    return f"class{'es' if len(names) > 1 else ''} {named(names)}"
