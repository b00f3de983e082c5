"""Workers that misbehave: they loop, eat memory, crash, are killed, or lose their parent."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import psutil
import pytest

from noctact.errors import NoctactError
from noctact.workers import Failure, guarded

linux = pytest.mark.skipif(sys.platform != "linux", reason="macOS has no limit of memory")


def double(number):
    return 2 * number


def pid(_):
    return os.getpid()


def loop():
    while True:
        pass


def loop_in_c():
    deque(repeat(0), maxlen=0)  # never gives the lock of the interpreter back


def eat():
    hoard = []
    while True:
        hoard.append(bytearray(10**6))


def eat_at_once():
    return np.ones(10**10)


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def leave():
    os._exit(3)


def fail():
    raise ValueError("a negative number of frames")


def refuse():
    raise NoctactError("no video stream in the file")


def miss():
    Path("/nowhere").read_bytes()


def tell():
    """Do as Ctrl-C does to all processes of a terminal."""
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def act(deed):
    """The number of the process, or the answer to `deed`."""
    return deed() if deed else os.getpid()


def run(function, arguments, seconds=30, memory_mb=500):
    return list(guarded(function, arguments, seconds, memory_mb))


def children():
    return [child for child in psutil.Process().children() if "spawn_main" in str(child.cmdline())]


def test_the_results_come_in_the_order_of_the_arguments():
    assert run(double, range(50)) == [2 * number for number in range(50)]
    assert run(double, []) == []
    assert children() == []


def test_one_other_process_does_it_all():
    pids = set(run(pid, range(5)))
    assert len(pids) == 1
    assert os.getpid() not in pids


ARRAYS = [
    np.random.default_rng(1).integers(0, 255, (10, 240, 320, 3), np.uint8),
    np.zeros((0, 3), np.int32),
    np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[::2],
    {"name": "ünï", "two": (np.arange(3), np.float32(1.5)), "none": None},
]


def array(number):
    return ARRAYS[number]


def test_results_of_any_kind_come_through_unchanged():
    for found, expected in zip(run(array, range(4)), ARRAYS, strict=True):
        np.testing.assert_equal(found, expected)
        assert np.asarray(found).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize(
    "deed, reason",
    [
        (loop, "decoding took more than 0.5 s"),
        (loop_in_c, "decoding took more than 0.5 s"),
        pytest.param(eat, "decoding needs more than 200 MB", marks=linux),
        pytest.param(eat_at_once, "decoding needs more than 200 MB", marks=linux),
        (crash, "the decoder crashed (SIGSEGV)"),
        (leave, "the decoder ended the process (exit code 3)"),
    ],
)
def test_what_ends_a_worker_fails_alone_and_the_next_gets_a_new_one(deed, reason):
    first, failure, second, third = run(act, [None, deed, None, None], seconds=0.5, memory_mb=200)
    assert failure == Failure(reason)
    assert first != second == third


@pytest.mark.parametrize(
    "deed, answer",
    [
        (fail, Failure("ValueError: a negative number of frames")),
        (refuse, Failure("no video stream in the file")),
        (miss, Failure("[Errno 2] No such file or directory: '/nowhere'")),
        (tell, "still here"),
    ],
)
def test_what_does_not_end_a_worker_leaves_the_others_to_it(deed, answer, capfd):
    first, found, second = run(act, [None, deed, None])
    assert found == answer
    assert first == second
    # An error that nobody thought of is told in full.
    assert ("Traceback" in capfd.readouterr().err) == (deed is fail)


def test_failures_of_all_that_is_asked_are_one_each():
    assert run(act, [crash, leave, crash]) == [
        Failure("the decoder crashed (SIGSEGV)"),
        Failure("the decoder ended the process (exit code 3)"),
        Failure("the decoder crashed (SIGSEGV)"),
    ]


LEAK = []


def leak(number):
    LEAK.append(bytearray(40 * 10**6))
    return number, len(LEAK)


@linux
def test_what_earlier_arguments_left_in_memory_is_not_charged_to_the_next():
    assert run(leak, range(6), memory_mb=100) == [(0, 1), (1, 2), (2, 1), (3, 2), (4, 1), (5, 2)]


def test_waiting_for_the_caller_is_not_charged():
    pids = []
    for result in guarded(pid, range(3), 0.5, 500):
        time.sleep(0.8)
        pids.append(result)
    assert len(set(pids)) == 1


def nap(number):
    time.sleep(0.4)
    return number


def test_each_argument_has_all_the_time():
    assert run(nap, range(3), seconds=0.8) == [0, 1, 2]


def mark(folder, number):
    (folder / str(number)).touch()
    return number


def test_one_result_is_worked_out_ahead_and_no_more(tmp_path):
    results = guarded(partial(mark, tmp_path), range(5), 30, 500)
    for expected in range(4):
        assert next(results) == expected
        time.sleep(0.2)
        assert len(list(tmp_path.iterdir())) == expected + 2
    results.close()
    assert children() == []


def test_an_error_of_the_caller_ends_the_worker():
    with pytest.raises(ZeroDivisionError):
        run(double, (1 // number for number in (1, 0)))
    assert children() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_ended_is_not_the_fault_of_what_it_did(number):
    with pytest.raises(NoctactError, match=number.name):
        run(act, [None, partial(signal.raise_signal, number), None])
    assert children() == []


class Unloadable:
    """It can't be unpickled."""

    def __reduce__(self):
        return fail, ()


def test_a_worker_that_does_not_start_is_an_error(capfd):
    with pytest.raises(NoctactError, match="before it was ready"):
        run(Unloadable(), [1, 2])
    assert "a negative number of frames" in capfd.readouterr().err  # why


PARENT = """
import sys
from test_workers import act, guarded, loop, loop_in_c
for pid in guarded(act, [None, {deed}], 2, 500):
    print(pid, flush=True)
    {then}
"""


def runs(process):
    """Whether `process` is more than an entry in the table, which its new parent is to remove."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "deed, then, number",
    [
        ("loop", "", signal.SIGKILL),
        ("loop", "", signal.SIGTERM),
        ("loop_in_c", "", signal.SIGKILL),  # until its time is over
        ("None", "sys.stdin.read()", signal.SIGKILL),
    ],
)
def test_no_worker_outlives_its_parent(deed, then, number):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(deed=deed, then=then)],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        family = psutil.Process(parent.pid).children(recursive=True)
        assert worker in family
        time.sleep(0.1)
        parent.send_signal(number)
        assert parent.wait() == -number
    until = time.monotonic() + (10 if deed == "loop_in_c" else 1.5)
    while any(map(runs, family)):
        assert time.monotonic() < until
        time.sleep(0.01)
