"""Calls that live, were killed, or are of another machine; processes that end with another one."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from noctact import calls
from noctact.calls import CALLER, caller, drop, end_with_parent, take_note

HOLD = "import sys, time; from pathlib import Path; from noctact.calls import take_note;"
HOLD += "print(take_note(Path(sys.argv[1]), Path(sys.argv[2])), flush=True); time.sleep(60)"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with Snakemake's locks; the notes of this process go when the test is over."""
    (tmp_path / "locks").mkdir()
    for name in ("0.input.lock", "0.output.lock"):
        (tmp_path / "locks" / name).write_text("a\n")
    yield tmp_path
    for note in [*calls._held]:
        drop(note)


@pytest.fixture
def other(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another call at work in the folder, to be killed by the test or at its end."""
    command = [sys.executable, "-c", HOLD, str(folder / "calls"), str(folder / "locks")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline().strip() != b"None"
        yield process
        process.kill()


def locked(folder: Path) -> bool:
    return any((folder / "locks").iterdir())


def notes(folder: Path) -> set[str]:
    return {file.name.split("_")[0] for file in (folder / "calls").iterdir()}


def note(folder: Path) -> Path | None:
    return take_note(folder / "calls", folder / "locks")


def test_the_lock_of_a_killed_call_goes(folder, other, capsys) -> None:
    other.kill()
    other.wait()
    assert note(folder)
    assert not locked(folder)
    assert notes(folder) == {str(os.getpid())}
    assert capsys.readouterr().err.startswith("Unlocked the folder")


def test_a_zombie_is_dead(folder: Path, other: subprocess.Popen[bytes]) -> None:
    os.kill(other.pid, signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    note(folder)
    assert not locked(folder)


def test_the_lock_of_a_living_call_stays(folder: Path, other: subprocess.Popen[bytes]) -> None:
    dead = folder / "calls" / f"1_{socket.gethostname()}"
    dead.touch()
    assert note(folder)
    assert locked(folder)
    # Kept: when the living one is killed too, both must be known to be dead.
    assert notes(folder) == {"1", str(other.pid), str(os.getpid())}
    drop(next(iter(calls._held)))
    other.kill()
    other.wait()
    note(folder)
    assert not locked(folder)


def test_the_lock_of_another_machine_stays(folder: Path) -> None:
    (folder / "calls").mkdir()
    (folder / "calls" / "1_some_other_host").touch()
    (folder / "calls" / f"1_{socket.gethostname()}").touch()
    note(folder)
    assert locked(folder)
    # It may be planning, and has no lock yet.
    for file in (folder / "locks").iterdir():
        file.unlink()
    drop(next(iter(calls._held)))
    note(folder)
    assert {file.name for file in (folder / "calls").iterdir()} == {
        "1_some_other_host",
        f"{os.getpid()}_{socket.gethostname()}",
    }
    # After two hours without a lock it was killed, and unlocked by hand.
    drop(next(iter(calls._held)))
    two_hours_ago = time.time() - 7200
    os.utime(folder / "calls" / "1_some_other_host", (two_hours_ago, two_hours_ago))
    note(folder)
    assert notes(folder) == {str(os.getpid())}


def test_a_lock_without_any_note_stays(folder: Path) -> None:
    note(folder)
    assert locked(folder)


def test_a_note_goes_with_its_process(tmp_path: Path) -> None:
    """Also when the process has gone to another folder meanwhile, as with --directory."""
    program = (
        "import os; from pathlib import Path; from noctact.calls import take_note;"
        "take_note(Path('calls'), Path('locks')); print(os.listdir('calls')); os.chdir('/')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, text=True)
    assert socket.gethostname() in done.stdout
    assert not any((tmp_path / "calls").iterdir())


JOB = "from noctact.calls import end_with_caller; end_with_caller(); import time; time.sleep(60)"
SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def named(process: int) -> dict[str, str]:
    """The environment of a job of `process`."""
    return os.environ | {CALLER: caller().replace(str(os.getpid()), str(process), 1)}


def test_a_job_ends_with_its_caller() -> None:
    call = subprocess.Popen(SLEEPER)
    with subprocess.Popen([sys.executable, "-c", JOB], env=named(call.pid)) as job:
        time.sleep(1)
        assert job.poll() is None
        call.kill()
        assert job.wait(timeout=10) == 1
    call.wait()


def test_a_job_ends_with_the_shell_between() -> None:
    program = f"{sys.executable} -c '{JOB}; ' & echo $!; wait"
    command = ["bash", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=named(os.getpid())) as shell:
        assert shell.stdout
        shell.stdout.readline()
        time.sleep(1)
        shell.kill()
        began = time.monotonic()
        assert shell.stdout.read() == b""  # the pipe has its end when the job is gone, too
        assert time.monotonic() - began < 30


def test_a_job_whose_caller_is_gone_before_it_looks_ends() -> None:
    done = subprocess.run([sys.executable, "-c", JOB], env=named(2**22 + 1), check=False)
    assert done.returncode == 1


@pytest.mark.parametrize("value", [None, f"{2**22 + 1} pid:[1]"])
def test_a_command_by_hand_or_of_another_container_is_left_alone(value: str | None) -> None:
    environment = {key: text for key, text in os.environ.items() if key != CALLER}
    environment |= {CALLER: value} if value else {}
    program = JOB.replace("60", "0.2")
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0


def _spawn_and_die(path: str) -> None:
    child = get_context("spawn").Process(target=_watch_parent, args=(path,))
    child.start()
    while not Path(path).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def _watch_parent(path: str) -> None:
    end_with_parent()
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    parent = get_context("spawn").Process(target=_spawn_and_die, args=(str(path),))
    parent.start()
    parent.join()
    child = int(path.read_text())
    gone = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    for _ in range(1000):
        if not psutil.pid_exists(child) or psutil.Process(child).status() in gone:
            return
        time.sleep(0.01)
    pytest.fail("it goes on")
