"""Shards copied to node-local disk: same bytes, nothing left behind, or the shards themselves."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil
import pytest
from test_interruptions import small_disk
from test_train import SHAPE, assert_one_line, clips, command, killed

from noctact.checksums import write_checksum
from noctact.scratch import staged
from noctact.shards import write_shard

Dataset = tuple[Path, list[Path]]  # split.csv, shards


def write_dataset(folder: Path) -> Dataset:
    """24 clips in two shards, with their checksums."""
    folder.mkdir()
    rows = clips(24)
    shards = [folder / "shard-000.h5", folder / "shard-001.h5"]
    for part, shard in enumerate(shards):
        write_shard(shard, rows[part::2], SHAPE, {})
        write_checksum(shard, folder / f"{shard.name}.sha256")
    names = [row.video_id for row in rows]
    parts = ["train"] * 14 + ["val"] * 6 + ["test"] * 4
    table = {"video_id": names, "label": [row.label for row in rows], "group": names}
    pd.DataFrame(table | {"split": parts}).to_csv(folder / "split.csv", index=False)
    return folder / "split.csv", shards


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "frames")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$TMPDIR, empty."""
    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "disk"))
    return tmp_path / "disk"


def training(
    dataset: Dataset, output: Path, *flags: str, epochs: int = 40
) -> subprocess.CompletedProcess[str]:
    words = [*command(dataset, output, epochs=epochs), *flags]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def results(output: Path) -> list[bytes]:
    return [(output / name).read_bytes() for name in ("model.keras", "history.csv")]


# --- trainings ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The results of a training that reads the shards where they are."""
    output = tmp_path_factory.mktemp("whole") / "gru"
    done = training(dataset, output)
    assert done.returncode == 0, done.stderr
    assert "scratch" not in done.stdout
    return results(output)


def test_from_copies_the_results_are_the_same_bytes(
    dataset: Dataset, whole: list[bytes], disk: Path, tmp_path: Path
) -> None:
    done = training(dataset, tmp_path / "gru", "--scratch", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"scratch: 2 shards copied to {disk}/noctact-")
    assert results(tmp_path / "gru") == whole
    assert not any(disk.iterdir())


def test_sigterm_leaves_no_copies_and_a_checkpoint_to_go_on_from_without(
    dataset: Dataset, whole: list[bytes], disk: Path, tmp_path: Path
) -> None:
    words = [*command(dataset, tmp_path / "gru", epochs=40), "--scratch", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while "epoch 2/40" not in process.stdout.readline():
            pass
        (folder,) = disk.iterdir()
        # The copies are what is read.
        copies = {str(folder / "000/shard-000.h5"), str(folder / "001/shard-001.h5")}
        children = psutil.Process(process.pid).children()
        files = {child: {file.path for file in child.open_files()} for child in children}
        (trains,) = [child for child in children if copies <= files[child]]
        assert not {str(shard) for shard in dataset[1]} & files[trains]
        process.terminate()
        process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert not any(disk.iterdir())
    assert not trains.is_running()
    done = training(dataset, tmp_path / "gru")
    assert "goes on after epoch" in done.stdout
    assert results(tmp_path / "gru") == whole


def test_a_checkpoint_made_without_copies_is_gone_on_from_with_them(
    dataset: Dataset, whole: list[bytes], disk: Path, tmp_path: Path
) -> None:
    killed(command(dataset, tmp_path / "gru", epochs=40), after=2, delay=0)
    done = training(dataset, tmp_path / "gru", "--scratch", "1")
    assert "goes on after epoch" in done.stdout
    assert results(tmp_path / "gru") == whole


def test_a_damaged_shard_is_named_not_its_copy(disk: Path, tmp_path: Path) -> None:
    split, shards = write_dataset(tmp_path / "frames")
    shards[1].write_bytes(shards[1].read_bytes()[:500])
    (tmp_path / "frames/shard-001.h5.sha256").unlink()  # else it is not copied in the first place
    done = training((split, shards), tmp_path / "gru", "--scratch", "1")
    assert "shards copied to" in done.stdout
    assert_one_line(done, f"{shards[1]}: not a shard, or damaged", "delete it and run again")
    assert str(disk) not in done.stderr
    assert not any(disk.iterdir())


# --- the folder -----------------------------------------------------------------------------------


def test_copies_have_the_names_and_the_content_and_go_also_on_an_error(
    dataset: Dataset, disk: Path, tmp_path: Path
) -> None:
    other = tmp_path / "shard-000.h5"  # of the same name
    other.write_bytes(b"other")
    shards = [*dataset[1], other]
    with pytest.raises(ZeroDivisionError), staged(shards) as copies:
        assert [copy.name for copy in copies] == [shard.name for shard in shards]
        assert [copy.read_bytes() for copy in copies] == [shard.read_bytes() for shard in shards]
        assert all(disk in copy.parents for copy in copies)
        raise ZeroDivisionError
    assert not any(disk.iterdir())
    assert other.read_bytes() == b"other"


def test_copies_that_vanish_meanwhile_are_no_error(dataset: Dataset, disk: Path) -> None:
    with staged(dataset[1]) as copies:
        folder = copies[0].parents[1]
        folder.rename(disk / "gone")
    assert not folder.exists()


HOLD = """
import sys, time
from pathlib import Path
from noctact.scratch import staged
with staged([Path(sys.argv[1])]):
    time.sleep(60)
"""


@contextmanager
def holding(shard: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process with a copy of `shard`, and the folder of that."""
    words = [sys.executable, "-c", HOLD, str(shard)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            yield process, Path(line.split(" copied to ")[1].split(" in ")[0])
        finally:
            process.kill()


def test_copies_of_the_killed_go_with_the_next_and_those_in_use_stay(
    dataset: Dataset, disk: Path
) -> None:
    shard = dataset[1][0]
    foreign = [disk / "noctact-of.another.host-1", disk / "other-program"]
    for folder in foreign:
        folder.mkdir()
    with holding(shard) as (one, first), holding(shard) as (_, second):
        one.kill()
        one.wait()
        assert {*disk.iterdir()} == {first, second, *foreign}
        for _ in range(2):
            with staged([shard]) as (copy,):
                assert {*disk.iterdir()} == {second, copy.parents[1], *foreign}
        assert (second / "000" / shard.name).read_bytes() == shard.read_bytes()
    assert second.exists()
    with staged([shard]):
        assert not second.exists()
    assert {*disk.iterdir()} == {*foreign}


CROWD = """
import sys
from pathlib import Path
from noctact.scratch import staged
for _ in range(100):
    with staged([Path(sys.argv[1])]) as (copy,):
        assert copy != Path(sys.argv[1]) and copy.exists()
"""


def test_many_at_once_spare_each_other(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "shard.h5").write_bytes(b"frames")
    words = [sys.executable, "-c", CROWD, str(tmp_path / "shard.h5")]
    crowd = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(4)
    ]
    said = [process.communicate()[0] for process in crowd]
    assert all(text.count("1 shards copied to") == 100 for text in said), said
    assert not any(disk.iterdir())


# --- read where they are --------------------------------------------------------------------------


def assert_not_copied(
    shards: list[Path], capsys: pytest.CaptureFixture[str], *reasons: str
) -> None:
    """One line says that the `shards` are used themselves, and why; nothing is left in $TMPDIR."""
    with staged(shards) as files:
        assert files == shards
        assert not any(Path(os.environ["TMPDIR"]).glob("*"))
        (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("scratch: shards not copied to $TMPDIR but read where they are: ")
    assert all(reason in line for reason in reasons), line


def missing(disk: Path) -> None:
    disk.rmdir()


def a_file(disk: Path) -> None:
    disk.rmdir()
    disk.touch()


def not_to_be_written(disk: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    disk.chmod(0o500)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(missing, "No such file"), (a_file, "Not a directory"), (not_to_be_written, "denied")],
)
def test_a_tmpdir_that_is_of_no_use(
    spoil: Callable[[Path], None],
    reason: str,
    dataset: Dataset,
    disk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(disk)
    assert_not_copied(dataset[1], capsys, reason, str(disk))


def test_a_read_only_tmpdir(
    dataset: Dataset, tmp_path: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.rmdir()
    with small_disk(disk, "size=2g") as again:
        again("ro")
        assert_not_copied(dataset[1], capsys, "Read-only file system", str(disk))


def test_a_tmpdir_without_room(
    dataset: Dataset, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.rmdir()
    with small_disk(disk, "size=10m"):
        assert_not_copied(dataset[1], capsys, f"{disk}: 10 MB are free, 1,000 MB needed")


def test_copying_that_breaks_off_leaves_nothing(
    dataset: Dataset, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As on a disk that others fill meanwhile: the second shard can't be written any more.
    sizes = [shard.stat().st_size for shard in dataset[1]]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes) // 2, before[1]))
    try:
        assert_not_copied(dataset[1], capsys, "File too large", str(dataset[1][0]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_shards_that_changed_or_are_missing_are_not_copied(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, shards = write_dataset(tmp_path / "frames")
    with shards[1].open("ab") as stream:
        stream.write(b"more")
    assert_not_copied(shards, capsys, f"{shards[1]}: its copy does not have the checksum")
    shards[0].unlink()
    assert_not_copied(shards, capsys, "No such file", str(shards[0]))
