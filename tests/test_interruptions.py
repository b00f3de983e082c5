"""A run that is cut off, by whatever: one plain call finishes it, to the same results.

The list of docs/incremental.md. `make test` has two of them, `make test-incremental` all.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import yaml
from test_incremental import OLD, RUN, copy_of, start
from whole_runs import SNAKEMAKE, environment, results_of, snakemake

PATIENCE = 300  # s, for what must come at some time


class Undisturbed(NamedTuple):
    """A folder in which nothing has run, and what a run there gives and takes."""

    folder: Path
    results: dict[str, str]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = start(tmp_path_factory.mktemp("runs") / "fresh")
    whole = copy_of(folder, folder.parent / "whole")
    began = time.monotonic()
    done = snakemake(whole)
    assert done.returncode == 0, done.stdout
    return Undisturbed(folder, results_of(whole / RUN), time.monotonic() - began)


@contextmanager
def running(checkout: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A call in a process group of its own, as a shell starts it; nobody is left at the end."""
    with (checkout / "out.txt").open("wb") as out:
        command = [SNAKEMAKE, "--cores", "2", "--configfile", "my.yaml"]
        call = subprocess.Popen(
            command,
            cwd=checkout,
            env=environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield call
        finally:
            for process in at_work(checkout):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            call.wait()


def at_work(checkout: Path) -> list[psutil.Process]:
    """The processes that run in `checkout`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(checkout) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def process_of(checkout: Path, *words: str) -> psutil.Process | None:
    """A process in `checkout` with all `words` on its command line."""
    for process in at_work(checkout):
        try:
            line = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        if all(word in line for word in words):
            return process
    return None


def training_in(checkout: Path) -> psutil.Process | None:
    """The process in `checkout` that trains a model; extraction spawns its own, too."""
    for process in at_work(checkout):
        with suppress(psutil.NoSuchProcess):
            parent = process.parent()
            if parent and "train" in parent.cmdline() and "spawn_main" in str(process.cmdline()):
                return process
    return None


def finish(checkout: Path, results: dict[str, str]) -> None:
    """One plain call, which ends with `results`; the next has nothing to do."""
    done = snakemake(checkout)
    assert done.returncode == 0, done.stdout
    assert results_of(checkout / RUN) == results
    assert "Nothing to be done" in snakemake(checkout).stdout
    assert not list(checkout.glob("results/**/.partial-*"))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
def test_all_killed_at_once(seed: int, undisturbed: Undisturbed, tmp_path: Path) -> None:
    checkout = copy_of(undisturbed.folder, tmp_path)
    with running(checkout) as call:
        time.sleep(random.Random(seed).uniform(0, undisturbed.seconds))
        os.killpg(call.pid, signal.SIGKILL)
    finish(checkout, undisturbed.results)


@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        pytest.param(signal.SIGKILL, False, id="SIGKILL to the call alone"),
        pytest.param(signal.SIGINT, True, marks=pytest.mark.full, id="Ctrl-C"),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.full, id="SIGINT to the call alone"),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.full, id="SIGTERM to all"),
        pytest.param(signal.SIGTERM, False, marks=pytest.mark.full, id="SIGTERM to the call alone"),
    ],
)
def test_a_signal_while_a_model_trains(
    number: signal.Signals, to_all: bool, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    checkout = copy_of(undisturbed.folder, tmp_path)
    with running(checkout) as call:
        wait_until(lambda: training_in(checkout))
        (os.killpg if to_all else os.kill)(call.pid, number)
        assert call.wait(timeout=PATIENCE) != 0
        # Jobs end with the call, and leave nobody at work.
        wait_until(lambda: not at_work(checkout))
    finish(checkout, undisturbed.results)


@pytest.mark.full
@pytest.mark.parametrize(
    "find",
    [
        pytest.param(training_in, id="training"),
        pytest.param(lambda checkout: process_of(checkout, "spawn_main"), id="decoder"),
        pytest.param(lambda checkout: process_of(checkout, "bash", "extract"), id="shell"),
        pytest.param(lambda checkout: process_of(checkout, "bash", "compare"), id="last shell"),
    ],
)
def test_a_process_of_a_job_killed(
    find: Callable[[Path], psutil.Process | None], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    checkout = copy_of(undisturbed.folder, tmp_path)
    with running(checkout) as call:
        wait_until(lambda: find(checkout))
        process = find(checkout)
        assert process
        process.kill()
        assert call.wait(timeout=PATIENCE) == 1
    finish(checkout, undisturbed.results)


@pytest.mark.full
def test_the_generator_of_clips_ends_with_the_call(tmp_path: Path) -> None:
    """Its processes are those of a pool, which would go on to write where the next call does."""
    checkout = start(tmp_path / "checkout")
    config = {"source": "synthetic", "synthetic": {"recordings": 4, "variants": 1}, "run": "small"}
    (checkout / "my.yaml").write_text(yaml.safe_dump(config))
    with running(checkout) as call:
        wait_until(lambda: list(checkout.glob("results/small/dataset/.partial-clips/*/*")))
        call.kill()
        wait_until(lambda: not at_work(checkout))
    clips = checkout / RUN / "dataset" / "clips"
    assert not clips.exists()
    assert snakemake(checkout, "results/small/dataset/clips").returncode == 0
    whole = results_of(clips)
    shutil.rmtree(checkout / "results")
    assert snakemake(checkout, "results/small/dataset/clips").returncode == 0
    assert results_of(clips) == whole


def test_a_second_call_is_refused(undisturbed: Undisturbed, tmp_path: Path) -> None:
    checkout = copy_of(undisturbed.folder, tmp_path)
    with running(checkout) as call:
        wait_until((checkout / RUN / "dataset/index.csv").exists)
        second = snakemake(checkout)
        assert second.returncode == 1
        assert "Directory cannot be locked" in second.stdout
        assert call.wait(timeout=PATIENCE) == 0
    finish(checkout, undisturbed.results)


@pytest.mark.full
def test_two_calls_that_start_together(undisturbed: Undisturbed, tmp_path: Path) -> None:
    checkout = copy_of(undisturbed.folder, tmp_path)
    with running(checkout) as first, running(checkout) as second:
        codes = {first.wait(timeout=PATIENCE), second.wait(timeout=PATIENCE)}
    assert codes <= {0, 1}
    finish(checkout, undisturbed.results)


@pytest.mark.full
@pytest.mark.parametrize("moment", ["dataset", "dataset/index.csv", "frames", "split/split.csv"])
def test_a_clip_vanishes(moment: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    without = copy_of(undisturbed.folder, tmp_path / "without")
    (without / "clips" / OLD).unlink()
    assert snakemake(without).returncode == 0
    checkout = copy_of(undisturbed.folder, tmp_path)
    with running(checkout) as call:
        wait_until((checkout / RUN / moment).exists)
        (checkout / "clips" / OLD).unlink()
        call.wait(timeout=PATIENCE)
    finish(checkout, results_of(without / RUN))


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own at `folder`; gives what mounts it again with other options."""

    def mount(text: str) -> subprocess.CompletedProcess[bytes]:
        command = ["mount", "-t", "tmpfs", "-o", text, "none", str(folder)]
        return subprocess.run(command, check=False, capture_output=True)

    folder.mkdir()
    if not shutil.which("mount") or mount(options).returncode:
        pytest.skip("may not mount a file system here; root of a machine of its own may")
    try:
        yield lambda text: mount(f"remount,{text}").check_returncode()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.full
@pytest.mark.parametrize("room", [0.05, 0.3, 0.6, 0.9])
def test_a_full_disk(room: float, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """`room` is the share of what the run needs that is free."""
    whole = undisturbed.folder.parent / "whole" / "moved here" / "to"
    before, after = (
        sum(file.lstat().st_blocks * 512 for file in folder.rglob("*"))
        for folder in (undisturbed.folder, whole)
    )
    with small_disk(tmp_path / "disk", f"size={before + round(room * (after - before))}") as again:
        checkout = copy_of(undisturbed.folder, tmp_path / "disk")
        with running(checkout) as call:
            assert call.wait(timeout=PATIENCE) == 1
        assert "o space left" in (checkout / "out.txt").read_text()
        again("size=1g")
        finish(checkout, undisturbed.results)


@pytest.mark.full
@pytest.mark.parametrize("name", ["frames", "models", "comparison"])
def test_a_folder_that_is_read_only(name: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    checkout = copy_of(undisturbed.folder, tmp_path)
    folder = checkout / RUN / name
    folder.mkdir(parents=True)
    # Over itself, as root may write whatever the permissions say.
    command = ["mount", "--bind", "--options", "ro", str(folder), str(folder)]
    if not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip("may not mount a file system here; root of a machine of its own may")
    try:
        with running(checkout) as call:
            assert call.wait(timeout=PATIENCE) == 1
        assert "Read-only file system" in (checkout / "out.txt").read_text()
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    finish(checkout, undisturbed.results)
