"""The workflow on a real SLURM cluster, and what clusters do to jobs (`make test-slurm`)."""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from cluster import ACCOUNT, Cluster, install, missing
from whole_runs import (
    SNAKEMAKE,
    copy_sources,
    executed_since,
    log_times,
    owed,
    results_of,
    snakemake,
)

from noctact.slurm import SACCT, Demand, last_words, newest, what_to_edit

CONFIG: dict[str, Any] = {
    "run": "small",
    "source": "synthetic",
    "synthetic": {"recordings": 4, "variants": 1},
    "frames": {"count": 6, "height": 24, "width": 32, "shards": 2},
    "groups": {"pattern": r"^r(?P<group>\d+)_"},
    "models": ["gru", "cnn_gru"],
    "training": {"loss": "categorical_crossentropy", "units": [8], "epochs": 6, "batch_size": 8},
    "threads": 1,
}
PROFILE = "workflow/profiles/slurm"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    try:
        install()
    except RuntimeError as error:  # no network, say
        pytest.skip(f"SLURM can't be installed: {str(error).splitlines()[-1]}")
    with Cluster(tmp_path_factory.mktemp("cluster") / "slurm") as running:
        yield running


def checkout(folder: Path, config: dict[str, Any], **fill_in: str) -> Path:
    """The sources, with the profile filled in; the plugin looks at the jobs more often."""
    copy_sources(folder)
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    profile = folder / PROFILE / "config.yaml"
    text = profile.read_text()
    entries = {
        "  slurm_account: FILL-IN": f"  slurm_account: {ACCOUNT}",
        "  FILL-IN: {}": "  cpu: {}",
        "  # gpu: {max_gpu: 4}": "  gpu: {max_gpu: 2}",
        "slurm-init-seconds-before-status-checks: 60": "slurm-init-seconds-before-status-checks: 5",
    }
    for entry, own in (entries | fill_in).items():
        assert text.count(f"{entry}\n") == 1, entry
        text = text.replace(f"{entry}\n", f"{own}\n")
    profile.write_text(text)
    return folder


class Call:
    """`snakemake --profile workflow/profiles/slurm`, at work."""

    def __init__(self, cluster: Cluster, folder: Path, *words: str) -> None:
        variables = cluster.environment
        variables.pop("PYTHONPATH", None)  # as a user has it
        self.output = ""
        self.process = subprocess.Popen(
            [SNAKEMAKE, *words, "--profile", PROFILE, "--configfile", "my.yaml"],
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line

    def end(self) -> int:
        """Wait for the end, and give the exit code."""
        code = self.process.wait()
        self._reader.join()
        return code

    def until(self, happened: Callable[[], Any], seconds: float = 180) -> Any:
        """Wait until something has happened that `happened` gives."""
        end = time.monotonic() + seconds
        while not (found := happened()):
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, f"{self.output}\nnot after {seconds} s"
            time.sleep(0.2)
        return found


@contextmanager
def call(cluster: Cluster, folder: Path, *words: str) -> Iterator[Call]:
    """A call; at the end of the block nothing of it is left."""
    started = Call(cluster, folder, *words)
    try:
        yield started
    finally:
        started.process.kill()
        started.end()


def processes(folder: Path, stage: str, *words: str) -> list[psutil.Process]:
    """Those of `python -m noctact <stage>` in `folder` with `words` on their command line, and
    their children.
    """
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = process.info["cmdline"] or []
        ours = process.info["cwd"] == str(folder) and line[1:4] == ["-m", "noctact", stage]
        if ours and all(word in line for word in words):
            with suppress(psutil.NoSuchProcess):
                found += [process, *process.children(recursive=True)]
    return found


def freeze(folder: Path, stage: str, *words: str) -> list[psutil.Process]:
    """Stop those processes, as if they hung: so there is time to do something to them."""
    found = processes(folder, stage, *words)
    for process in found:
        process.suspend()
    return found


def log_of(folder: Path, job: str) -> str:
    """What a job has said so far."""
    log = folder / f"results/small/logs/{job}.log"
    return log.read_text() if log.exists() else ""


def jobs_of(cluster: Cluster, folder: Path) -> dict[str, list[dict[str, str]]]:
    """What accounting knows of the jobs of a folder, in order of their start, by the comment that
    the plugin gives them.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for job in sorted(cluster.jobs(), key=lambda job: job["Start"]):
        if job["WorkDir"] == str(folder):
            found.setdefault(job["Comment"].removeprefix("rule_"), []).append(job)
    return found


def states(jobs: list[dict[str, str]]) -> list[str]:
    """How each job ended; the accounting adds by whom one was cancelled."""
    return [job["State"].split()[0] for job in jobs]


def running(cluster: Cluster, rule: str) -> dict[str, str]:
    """The running job of a rule, or of the group of a model."""
    comments = (f"rule_{rule}", f"rule_{rule}_evaluate_train_{rule}")
    (job,) = (
        job for job in cluster.queue() if job["Comment"] in comments and job["State"] == "RUNNING"
    )
    return job


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    """A finished run of CONFIG on this machine alone."""
    folder = copy_sources(tmp_path_factory.mktemp("local"))
    done = snakemake(folder, config=CONFIG)
    assert done.returncode == 0, done.stdout
    return folder


def copy_frames(finished: Path, folder: Path) -> None:
    """Take over what comes before the trainings."""
    ignore = shutil.ignore_patterns("models", "comparison", "noctact-calls", "*.html", "logs")
    for part in ("results", ".snakemake"):
        shutil.copytree(finished / part, folder / part, ignore=ignore)


@pytest.mark.slurm
def test_a_node_dies_and_the_call_is_killed(cluster, local, tmp_path):
    folder = checkout(tmp_path / "run", CONFIG)
    plan = snakemake(folder, "-n", "--profile", PROFILE)
    assert plan.returncode == 0, plan.stdout
    told = re.search(r"^Cluster jobs \(sbatch calls\): (\d+) \((.*)\)$", plan.stdout, re.M)
    assert told
    assert told[2] == "1 acquire, 1 audit, 1 compare, 1 controls, 2 extract, 1 index, 2 model"
    with call(cluster, folder) as first:
        # A node dies while it decodes the clips of a shard.
        first.until(lambda: freeze(folder, "extract", "000"))
        node = running(cluster, "extract_wildcards_000")["NodeList"]
        cluster.kill_node(node)
        first.until(lambda: not any("extract" in job["Comment"] for job in cluster.queue()))
        cluster.start_node(node)
        # The call is killed while models are trained.
        first.until(lambda: freeze(folder, "train", "gru"))
        first.until(lambda: freeze(folder, "train", "cnn_gru"))
        left = {running(cluster, model)["JobID"] for model in CONFIG["models"]}
        first.process.kill()
        first.end()
    with call(cluster, folder) as second:
        second.until(lambda: "Waiting for the jobs" in second.output)
        assert set(re.findall(r"scancel ([\d ]+)$", second.output, re.M)[0].split()) >= left
        for process in processes(folder, "train"):
            process.resume()
        assert second.end() == 0, second.output
    jobs = jobs_of(cluster, folder)
    assert set(jobs) == {
        *("acquire", "index", "extract_wildcards_000", "extract_wildcards_001", "audit"),
        "controls",
        *("gru_evaluate_train_gru", "cnn_gru_evaluate_train_cnn_gru", "compare"),
    }
    assert len(jobs) == int(told[1])
    # Nothing is submitted twice, and nothing done twice but what the node took with it.
    for records in jobs.values():
        assert len({job["JobIDRaw"] for job in records}) == 1
        *cut_off, end = records
        assert states([end]) == ["COMPLETED"]
        assert all((job["State"], job["NodeList"]) == ("NODE_FAIL", node) for job in cut_off)
    assert len(jobs["extract_wildcards_000"]) == 2
    records = [record for of_rule in jobs.values() for record in of_rule]
    assert {job["NodeList"] for job in records} == {"n1", "n2"}
    assert {(job["Partition"], job["Account"]) for job in records} == {("cpu", ACCOUNT)}
    # Also the jobs whose end no call has seen know what they were made from.
    before = log_times(folder)
    with call(cluster, folder) as third:
        assert third.end() == 0, third.output
    assert not executed_since(folder, before)
    (folder / "my.yaml").write_text(yaml.safe_dump(CONFIG | {"per_model": {"gru": {"units": [4]}}}))
    owing = owed(folder)
    assert set(owing) == {"train_gru", "evaluate_gru", "compare", "report"}
    assert owing["train_gru"] == "units: [8] -> [4]"
    assert results_of(folder / "results/small") == results_of(local / "results/small")


@pytest.mark.slurm
def test_jobs_that_end_before_their_time(cluster, local, tmp_path):
    models = ["simple_rnn", "lstm", "gru", "cnn_gru", "cnn_lstm"]
    config = CONFIG | {"models": models, "training": CONFIG["training"] | {"epochs": 100}}
    folder = checkout(tmp_path / "run", config)
    copy_frames(local, folder)
    fault = folder / "workflow/noctact/models/cnn_lstm.py"
    fault.write_text(f"{fault.read_text()}\n\nraise ValueError('a fault of the model')\n")
    words = ["--retries", "1", "--set-resources"]
    # The group of a model takes what the larger of its two rules asks for.
    words += ["train_gru:mem_mb=500*attempt", "train_simple_rnn:slurm_partition=low"]
    words += ["train_simple_rnn:mem_mb=12000"]
    words += ["evaluate:slurm_partition='low' if wildcards.replicate == 'simple_rnn' else 'cpu'"]
    words += ["evaluate:mem_mb=500*attempt if wildcards.replicate == 'gru' else 1500"]
    with call(cluster, folder, *words) as cut:
        for model in ("simple_rnn", "lstm", "cnn_gru"):
            cut.until(lambda model=model: "epoch 2/" in log_of(folder, f"train_{model}"))
            assert freeze(folder, "train", model)
        number = running(cluster, "lstm")["JobID"]
        cluster.call("scontrol", "update", f"jobid={number}", "TimeLimit=1")
        cluster.call("scancel", running(cluster, "cnn_gru")["JobID"])
        node = running(cluster, "simple_rnn")["NodeList"]
        words = [f"--nodelist={node}", "--mem=10000", "--output=/dev/null", "--wrap=sleep 2"]
        cluster.call("sbatch", "--partition=high", f"--account={ACCOUNT}", *words)
        # While the time limit comes nearer: what the call costs a login node, and the same
        # trainings on this machine.
        submitter = psutil.Process(cut.process.pid)
        used, began = sum(submitter.cpu_times()), time.monotonic()
        alone = copy_sources(tmp_path / "alone")
        copy_frames(local, alone)
        good = [model for model in models if model != "cnn_lstm"]
        done = snakemake(alone, config=config | {"models": good})
        assert done.returncode == 0, done.stdout
        cut.until(lambda: "TIMEOUT" in [job["State"] for job in cluster.jobs()])
        assert sum(submitter.cpu_times()) - used < 0.05 * (time.monotonic() - began)
        assert submitter.memory_info().rss < 500e6
        assert cut.end() == 1
    jobs = {
        rule.split("_evaluate")[0]: records for rule, records in jobs_of(cluster, folder).items()
    }
    assert {rule: states(records) for rule, records in jobs.items() if rule != "gru"} == {
        "simple_rnn": ["PREEMPTED", "COMPLETED"],
        "lstm": ["TIMEOUT", "COMPLETED"],
        "cnn_gru": ["CANCELLED", "COMPLETED"],
        "cnn_lstm": ["FAILED", "FAILED"],
    }
    # Memory is polled here, and SLURM says only that the job was killed; with cgroups it says
    # OUT_OF_MEMORY.
    assert states(jobs["gru"])[1] == "COMPLETED"
    assert [job["ReqMem"] for job in jobs["gru"]] == ["500M", "1000M"]
    assert len({job["JobIDRaw"] for job in jobs["simple_rnn"]}) == 1
    for model in ("simple_rnn", "lstm", "cnn_gru"):
        assert "goes on after epoch" in log_of(folder, f"train_{model}")
    # What is said at the end: the last lines of what failed, and what there is all the same.
    assert "model cnn_lstm failed" in cut.output
    assert "ValueError: a fault of the model" in cut.output
    number = jobs["cnn_lstm"][1]["JobIDRaw"]
    assert f"more: sacct -j {number} " in cut.output
    log = re.search(r"more: less (\.snakemake/slurm_logs/.*)$", cut.output, re.M)[1]
    assert (folder / log).name == f"{number}.log"
    assert "Comparing what is done: simple_rnn lstm gru cnn_gru" in cut.output
    page = (folder / "results/small/report.html").read_text()
    assert "<li>cnn_lstm: failed: see logs/train_cnn_lstm.log" in page
    here, there = (results_of(place / "results/small") for place in (folder, alone))
    for name in (name for name in there if name.startswith("models/")):
        assert here[name] == there[name], name


@pytest.mark.slurm
def test_the_call_is_killed_while_its_jobs_wait(cluster, local, tmp_path):
    folder = checkout(tmp_path / "run", CONFIG)
    copy_frames(local, folder)
    # Maintenance: SLURM has no node to give, but takes jobs.
    cluster.call("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=maintenance")
    with call(cluster, folder) as first:
        first.until(lambda: sum(job["State"] == "PENDING" for job in cluster.queue()) == 2)
        time.sleep(1)
        first.process.kill()
        first.end()
    assert "Requested node configuration is not available; submitted all the same" in first.output
    cluster.call("scontrol", "update", "nodename=n1,n2", "state=resume")
    with call(cluster, folder) as second:
        assert second.end() == 0, second.output
    assert "Waiting for the jobs" in second.output
    jobs = jobs_of(cluster, folder)
    trained = {f"{model}_evaluate_train_{model}" for model in CONFIG["models"]}
    assert set(jobs) == trained | {"compare"}
    assert [states(records) for records in jobs.values()] == [["COMPLETED"]] * 3


@pytest.mark.slurm
def test_a_training_that_asks_for_a_gpu_goes_where_there_are_some(cluster, local, tmp_path):
    folder = checkout(tmp_path / "run", CONFIG | {"gpu": True})
    copy_frames(local, folder)
    with call(cluster, folder, "train_gru", "--retries", "0") as asked:
        assert asked.end() == 1
    ((job,),) = jobs_of(cluster, folder).values()
    assert (job["Partition"], job["NodeList"]) == ("gpu", "g1")
    assert "gres/gpu=1" in job["AllocTRES"]
    # The cluster counts GPUs that are not there.
    assert "gru: gpu: true in the config, but TensorFlow finds no GPU here" in asked.output


# What differs in the profile and in the config, and what is said of it.
REFUSED: dict[str, tuple[dict[str, str], dict[str, Any], list[str]]] = {
    "account": (
        {"  slurm_account: FILL-IN": "  slurm_account: nobody"},
        {},
        ["account nobody", "slurm_account in"],
    ),
    "not filled in": (
        {"  FILL-IN: {}": "  FILL-IN: {}"},
        {},
        ["partition FILL-IN", "fill in the top of workflow/profiles/slurm/config.yaml"],
    ),
    "partition": (
        {"  FILL-IN: {}": "  nowhere: {}"},
        {},
        ["partition nowhere", "partitions in"],
    ),
    "memory": (
        {},
        {"cache_mb": 99999},
        ["no node there has as much", "lower training.batch_size"],
    ),
    "time": (
        {},
        {"per_model": {"gru": {"epochs": 10**6}}},
        ["model gru", "no job may take as long"],
    ),
    "gpu": (
        {"  # gpu: {max_gpu: 4}": ""},
        {"gpu": True},
        ["a GPU", "max_gpu", "gpu: false"],
    ),
}


@pytest.mark.slurm
@pytest.mark.parametrize("wrong", REFUSED)
def test_what_slurm_would_not_take_is_said_before_anything_runs(cluster, local, tmp_path, wrong):
    profile, config, words = REFUSED[wrong]
    folder = checkout(tmp_path / "run", CONFIG | config, **profile)
    copy_frames(local, folder)
    with call(cluster, folder) as refused:
        assert refused.end() == 1
    message = refused.output.partition("SLURM would not take the jobs")[2]
    for word in words:
        assert word in message, refused.output
    assert not jobs_of(cluster, folder)


@pytest.mark.slurm
def test_without_sbatch(cluster, local, tmp_path):
    folder = checkout(tmp_path / "run", CONFIG)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "sh", "env", "which", "uname"):
        (programs / name).symlink_to(shutil.which(name))
    done = snakemake(folder, "--profile", PROFILE, config=CONFIG, PATH=str(programs))
    assert done.returncode == 1
    assert "sbatch is not on the path" in done.stdout


def test_a_dry_run_tells_how_many_jobs_the_full_run_submits(tmp_path):
    folder = copy_sources(tmp_path)
    done = snakemake(folder, "-n", "--profile", PROFILE)
    assert done.returncode == 0, done.stdout
    kinds = "1 audit, 1 compare, 1 controls, 16 extract, 1 index, 6 model"
    assert done.stdout.splitlines()[-1] == f"Cluster jobs (sbatch calls): 26 ({kinds})"
    assert "Cluster jobs" not in snakemake(folder, "-n").stdout


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ("Invalid partition name specified", "partitions in workflow/profiles/slurm"),
        ("Invalid account or account/partition combination specified", "slurm_account in"),
        ("The given account x appears to be invalid. Available accounts: y", "slurm_account in"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "fewer epochs"),
        ("Job violates accounting/QOS policy (job submit limit, user's size)", ""),
        ("Unable to contact slurm controller (connect failure)", ""),
        ("Required partition not available (inactive or drain)", ""),
    ],
)
def test_an_answer_of_sbatch_comes_with_what_to_edit(refusal, words):
    told = what_to_edit(refusal, Demand("cpu", 1, 1000, 10, gpu=False))
    assert words in told
    assert bool(told) == bool(words)


def test_last_words_are_those_of_the_stage_and_of_slurm(tmp_path):
    said, by_slurm = tmp_path / "train_gru.log", tmp_path / "17.log"
    said.write_text("\n".join(f"epoch {n}" for n in range(9)))
    by_slurm.write_bytes(b"srun: a note\nslurmstepd: error: *** DUE TO TIME LIMIT ***\n\xff\n")
    assert last_words(said, by_slurm) == [
        *(f"    epoch {n}" for n in range(4, 9)),
        "    slurmstepd: error: *** DUE TO TIME LIMIT ***",
        f"  more: less {said}",
        f"  more: less {by_slurm}",
        f"  more: sacct -j 17 --format {SACCT}",
    ]
    assert last_words(None, None) == []
    # Snakemake makes the log of a job that was never begun, empty and later.
    (tmp_path / "evaluate_gru.log").touch()
    assert newest([tmp_path / "evaluate_gru.log", said, tmp_path / "none.log"]) == said
    assert newest([tmp_path / "none.log"]) is None
