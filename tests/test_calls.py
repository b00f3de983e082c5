"""Calls that live, were killed, or are of another machine; jobs that end with their call."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from noctact import calls
from noctact.calls import CALLER, is_alive, note_of, take_note

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def other():
    """Another process that lives, to be killed by the test or at its end."""
    with subprocess.Popen(SLEEPER) as process:
        yield process
        process.kill()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with Snakemake's locks; the notes of this process go when the test is over."""
    monkeypatch.setattr(calls.atexit, "register", lambda *_, **__: None)
    (tmp_path / "locks").mkdir()
    for name in ("0.input.lock", "0.output.lock"):
        (tmp_path / "locks" / name).write_text("a\n")
    return tmp_path


def leave_note(folder: Path, note: str) -> Path:
    file = folder / "calls" / note
    file.parent.mkdir(exist_ok=True)
    file.touch()
    return file


def locked(folder: Path) -> bool:
    return any((folder / "locks").iterdir())


def notes(folder: Path) -> set[str]:
    return {file.name for file in (folder / "calls").iterdir()}


def note(folder: Path) -> bool:
    return take_note(folder / "calls", folder / "locks")


def test_the_lock_of_a_killed_call_goes(folder: Path, other: subprocess.Popen) -> None:
    leave_note(folder, note_of(psutil.Process(other.pid)))
    other.kill()
    other.wait()
    assert note(folder)
    assert not locked(folder)
    assert notes(folder) == {note_of(psutil.Process())}
    assert not note(folder)


def test_a_zombie_is_dead(folder: Path, other: subprocess.Popen) -> None:
    name = note_of(psutil.Process(other.pid))
    other.send_signal(signal.SIGKILL)
    while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert is_alive(name) is False


def test_the_lock_of_a_living_call_stays(folder: Path, other: subprocess.Popen) -> None:
    alive = leave_note(folder, note_of(psutil.Process(other.pid)))
    dead = leave_note(folder, f"{other.pid}_1.00_{calls.socket.gethostname()}")
    assert not note(folder)
    assert locked(folder)
    assert alive.exists()
    # Kept: when the living one is killed too, both must be known to have been here.
    assert dead.exists()


def test_the_lock_of_another_machine_stays(folder: Path) -> None:
    leave_note(folder, "1_1.00_some_other_host")
    assert not note(folder)
    assert locked(folder)


def test_a_lock_without_any_note_stays(folder: Path) -> None:
    assert not note(folder)
    assert locked(folder)


def test_without_a_lock_old_notes_go(folder: Path, other: subprocess.Popen) -> None:
    for file in (folder / "locks").iterdir():
        file.unlink()
    alive = leave_note(folder, note_of(psutil.Process(other.pid)))
    leave_note(folder, "1_1.00_some_other_host")
    leave_note(folder, f"{other.pid}_1.00_{calls.socket.gethostname()}")
    assert not note(folder)
    assert notes(folder) == {alive.name, note_of(psutil.Process())}


def test_a_note_goes_with_its_process(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from noctact.calls import take_note;"
        f"take_note(Path({str(tmp_path / 'calls')!r}), Path('locks'));"
        f"print(len(list(Path({str(tmp_path / 'calls')!r}).iterdir())))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout == b"1\n"
    assert not any((tmp_path / "calls").iterdir())


JOB = "from noctact.calls import end_with_caller; end_with_caller(); import time; time.sleep(60)"


def test_a_job_ends_with_its_caller(other: subprocess.Popen) -> None:
    environment = os.environ | {CALLER: str(other.pid)}
    with subprocess.Popen([sys.executable, "-c", JOB], env=environment) as job:
        time.sleep(1)
        assert job.poll() is None
        other.kill()
        other.wait()
        assert job.wait(timeout=10) == 1


@pytest.mark.parametrize("caller", [None, str(2**22 + 1)])
def test_a_command_by_hand_needs_no_caller(caller: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key != CALLER}
    environment |= {CALLER: caller} if caller else {}
    program = JOB.replace("60", "0.2")
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert done.returncode == 0
