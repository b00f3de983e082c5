import functools
import gc
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import strip_wildcard_constraints
from snakemake.utils import min_version

min_version("9.0")

LIBRARY = Path(workflow.basedir, "workflow")
sys.path.insert(0, str(LIBRARY))

from noctact.calls import CALLER, caller, take_note
from noctact.checksums import is_damaged
from noctact.clips import list_clips, shard_of
from noctact.config import check, model_settings
from noctact.demand import (
    frames_mb,
    stage_minutes,
    training_disk_mb,
    training_minutes,
)
from noctact.errors import NoctactError
from noctact.memory import machine_mb, training_mb
from noctact.replicates import folder_of, training_job
from noctact.sources import code

# Planning many clips makes millions of objects that stay; looking through them for garbage after
# each 700, as Python does, takes a fifth of the time.
gc.set_threshold(100_000)

# The jobs run `python -m noctact` from these sources, installed or not, by the Python that runs
# Snakemake; a conda environment puts its own Python before it.
os.environ.update(
    PYTHONPATH=str(LIBRARY),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]),
)
os.environ[CALLER] = caller()

# `snakemake --cores 8` must not fill the memory with trainings that each fit alone. On a cluster
# each job has its own; a profile that sets mem_mb (to any number) lifts this limit.
if "mem_mb" not in workflow.global_resources:
    workflow.register_resource("mem_mb", machine_mb())


# With --default-storage-provider, each file that a rule makes lies in an object store.
STORAGE = workflow.storage_settings.default_storage_provider is not None


def given(path):
    """An input that is there from the start; in storage if `path` is an address such as
    s3://bucket/clips.zip.
    """
    return storage(path) if "://" in path else local(path)


@functools.cache
def listing(root):
    """The clips under `root`, and the files that can't be one."""
    # What a split of the user's own needs shows when it is read.
    has_test = (
        config["split"]["strategy"] in ("group", "random")
        and config["split"]["test"] > 0
    )
    try:
        return list_clips(Path(root), config["classes"], fewest=3 if has_test else 2)
    except (NoctactError, OSError) as error:
        raise WorkflowError(str(error)) from None


def in_storage():
    """Whether the clips lie in storage: then their folder is one input, fetched as a whole."""
    return "://" in config["path"] if config["source"] == "folder" else STORAGE


def clip_root(wildcards):
    """The folder of clips, once it is there."""
    if config["source"] == "folder":
        return given(config["path"])
    return checkpoints.acquire.get().output.clips


@functools.cache
def shards_of(root):
    """The clips under `root` by the number of their shard."""
    shards = defaultdict(list)
    for clip in listing(root)[0]:
        shards[shard_of(clip.video_id, config["frames"]["shards"])].append(clip)
    return shards


def can_be_input(clip):
    """Snakemake takes braces for wildcards, in a function's answer too."""
    path = str(clip.path)
    return "{" not in path and "}" not in path


def clips_of(wildcards):
    """The clips; those of one shard for a rule with the wildcard `shard`."""
    root = clip_root(wildcards)
    if hasattr(wildcards, "shard"):
        return shards_of(root)[int(wildcards.shard)]
    return listing(root)[0]


# Shards that hold other bytes than were written.
DAMAGED = set()


def extract_damaged_anew(shard):
    """Ask for the file `shard` as for one that was cut off, if it was changed since it was written
    and is damaged by it.
    """
    if shard not in DAMAGED and is_damaged(Path(shard), Path(f"{shard}.sha256")):
        DAMAGED.add(shard)
        workflow.dag.forcefiles.add(shard)
        print(f"{shard}: damaged after it was written", file=sys.stderr)


def clip_files(wildcards):
    """The files of `clips_of`, as inputs."""
    wait_for_earlier_jobs()
    if hasattr(wildcards, "shard") and workflow.is_main_process:
        extract_damaged_anew(f"{RUN}/frames/shard-{wildcards.shard}.h5")
    if in_storage():
        return clip_root(wildcards)
    files = [str(clip.path) for clip in clips_of(wildcards) if can_be_input(clip)]
    return local(files) if STORAGE else files


def clips_digest(wildcards):
    """A hash of names and sizes, as a param: it tells what the times of the inputs do not, such as
    a clip that was replaced by an older file, or a new file that can't be a clip.
    """
    if in_storage():
        return ""
    sizes = [
        (clip.video_id, os.stat(clip.path).st_size) for clip in clips_of(wildcards)
    ]
    if not hasattr(wildcards, "shard"):
        sizes += [
            (file.video_id, file.reason) for file in listing(clip_root(wildcards))[1]
        ]
    return hashlib.sha256(repr(sizes).encode()).hexdigest()


try:
    config.update(check(config))
    if config["source"] == "folder" and not in_storage():
        listing(config["path"])
    # Not in the processes of jobs.
    NOTE = (
        take_note(Path(".snakemake", "noctact-calls"), Path(".snakemake", "locks"))
        if workflow.is_main_process
        else None
    )
except (NoctactError, OSError) as error:
    raise WorkflowError(str(error)) from None

RUN = f"results/{config['run']}"
MODELS = config["models"]
SHARDS = [f"{number:03}" for number in range(config["frames"]["shards"])]
FRAMES = (
    config["frames"]["count"],
    config["frames"]["height"],
    config["frames"]["width"],
)


# Model and seed of each training by its folder in models/.
REPLICATES = {
    folder_of(model, seed, config["seeds"]): (model, seed)
    for model in MODELS
    for seed in config["seeds"]
}


wildcard_constraints:
    shard=r"\d{3}",
    replicate="|".join(REPLICATES),


# The clips of NoctACT-HAR, and of each class of the synthetic ones: how many to expect.
NOCTACT_CLIPS, SYNTHETIC_CLASSES = 6613, 12


def expected_clips():
    """The number of clips; before they are there, of those that the config asks for."""
    root = Path(
        config["path"] if config["source"] == "folder" else f"{RUN}/dataset/clips"
    )
    if root.is_dir():
        return len(listing(str(root))[0])
    if config["source"] == "synthetic":
        recordings, variants = (
            config["synthetic"][key] for key in ("recordings", "variants")
        )
        return SYNTHETIC_CLASSES * recordings * variants
    return NOCTACT_CLIPS


def scaled(demand):
    """A resource: `demand` of the wildcards, twice and three times that at the retries."""
    return lambda wildcards, attempt: attempt * demand(wildcards)


def memory(demand):
    """The resource mem_mb: `demand`, a number or a function of the wildcards. On a cluster a job
    holds two processes of Snakemake beside.
    """
    return scaled(
        lambda wildcards: (demand(wildcards) if callable(demand) else demand)
        + (0 if workflow.local_exec else 300)
    )


def clips_of_job(wildcards):
    """How many clips a job deals with: all, or those of one shard."""
    shards = len(SHARDS) if hasattr(wildcards, "shard") else 1
    return expected_clips() // shards + 1


def minutes(stage):
    """The resource runtime of `stage`."""
    return scaled(lambda wildcards: stage_minutes(stage, clips_of_job(wildcards)))


def flat(replicate):
    """The folder of REPLICATES as the name of a file."""
    return replicate.replace(os.sep, "-")


def checkpoint_of(replicate):
    """The checkpoint of the training in a folder of REPLICATES."""
    return f"{RUN}/checkpoints/{flat(replicate)}.zip"


def settings_of(replicate):
    """The settings of the training in a folder of REPLICATES."""
    return json.loads(model_settings(config, *REPLICATES[replicate]))


def training_memory(replicate):
    """The MB that the training in a folder of REPLICATES reserves."""
    model, _ = REPLICATES[replicate]
    return training_mb(model, FRAMES, settings_of(replicate), config["cache_mb"])


def shares():
    """The shares of the clips in train, val and test; where nobody knows, the most."""
    if config["split"]["strategy"] == "published":
        return 0.8, 0.2, 0.2
    if config["split"]["strategy"] == "column":
        return 1, 0, 1
    val, test = config["split"]["val"], config["split"]["test"]
    return 1 - val - test, val, test


def training_time(replicate):
    """The minutes that the training in a folder of REPLICATES may take."""
    model, _ = REPLICATES[replicate]
    train, val, _ = shares()
    clips = expected_clips() * (train + val / 3)
    return training_minutes(
        model, FRAMES, settings_of(replicate), clips, config["threads"]
    )


def training_disk(replicate):
    """The MB that the training in a folder of REPLICATES writes, with the shards that it copies."""
    model, _ = REPLICATES[replicate]
    copies = frames_mb(FRAMES, expected_clips()) if config["scratch"] else 0
    return copies + training_disk_mb(model, FRAMES, settings_of(replicate))


def evaluation_memory(replicate):
    """The MB that the evaluation of a folder of REPLICATES reserves: as much as a training in
    batches of 32, of which the evaluation has one to time.
    """
    model, _ = REPLICATES[replicate]
    settings = settings_of(replicate) | {"batch_size": 32}
    return training_mb(model, FRAMES, settings, cache_mb=0)


def evaluation_time(replicate):
    """The minutes that the evaluation of a folder of REPLICATES may take: it predicts its clips
    three times, which costs as much as one epoch.
    """
    model, _ = REPLICATES[replicate]
    _, val, test = shares()
    settings = settings_of(replicate) | {"batch_size": 16, "epochs": 1}
    return training_minutes(
        model, FRAMES, settings, expected_clips() * (val + test), config["threads"]
    )


def files_of(pattern):
    """The files that a pattern among the inputs or outputs of a rule stands for."""
    if callable(pattern):
        return []
    if pattern.is_storage:
        prefix = workflow.storage_settings.default_storage_prefix.rstrip("/")
        pattern = pattern.storage_object.query.removeprefix(f"{prefix}/")
    if "{" not in pattern:
        return [pattern]
    pattern = strip_wildcard_constraints(pattern)
    return expand(pattern, replicate=REPLICATES, shard=SHARDS)


def everything():
    """All files that a run makes, by the rule that makes each."""
    return {
        file: stage.name
        for stage in workflow.rules
        for pattern in stage.output
        for file in files_of(pattern)
    }


def rule_edges():
    """Pairs of rules, of which the second takes what the first makes: the graph on the page."""
    makers = everything()
    edges = {}
    for stage in workflow.rules:
        for pattern in stage.input:
            if pattern == clip_files and config["source"] != "folder":
                edges["acquire", stage.name] = True
            edges |= {
                (makers[file], stage.name): True
                for file in files_of(pattern)
                if file in makers
            }
    return list(edges)


def workflow_digest():
    """A hash of the Snakefile and the rules, which the page is accompanied by."""
    files = [Path(workflow.basedir, "Snakefile"), *sorted(LIBRARY.glob("rules/*.smk"))]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return f"rules {digest[:16]}"


def report_what_is_done():
    """After a failure: compare the models that it has not touched, and say which are missing.

    They are those whose predictions no job owes. Not after Ctrl-C, when nothing has failed. The
    next call makes comparison and page anew: figures are missing, and the crate.
    """
    owed = {file for job in workflow.dag.needrun_jobs() for file in job.output}
    done = [
        folder
        for folder in REPLICATES
        if f"{RUN}/models/{folder}/predictions.csv" not in owed
    ]
    needed = {*CONTROLS, rules.survey.output.json}
    wanted = rules.report.output.page in owed and owed.isdisjoint(needed)
    if workflow.scheduler.failed and wanted and 0 < len(done) < len(REPLICATES):
        print("Comparing what is done:", *done, flush=True)
        noctact = "python", "-m", "noctact"
        published = ["--published", PUBLISHED] if PUBLISHED else []
        page = ["--config", json.dumps(config), "--rules", json.dumps(rule_edges())]
        for stage in (
            ["compare", RUN, "--models", *done, *published],
            ["report", RUN, *page],
        ):
            # What goes wrong here says so itself; the workflow has failed anyway.
            subprocess.run([*noctact, *stage], check=False)
        Path(rules.report.output.crate).unlink(missing_ok=True)
