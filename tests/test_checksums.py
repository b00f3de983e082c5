"""Checksums beside files: made for other tools, and what they tell of."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from noctact.checksums import is_damaged, sha256, write_checksum


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A file and its checksum."""
    file, checksum = tmp_path / "shard-000.h5", tmp_path / "shard-000.h5.sha256"
    file.write_bytes(b"abc")
    write_checksum(file, checksum)
    return file, checksum


def touch(file: Path, after: Path, nanoseconds: int = 10**9) -> None:
    time = after.stat().st_mtime_ns + nanoseconds
    os.utime(file, ns=(time, time))


def test_the_sum_is_that_of_the_standard(files: tuple[Path, Path]) -> None:
    # FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(files[0]) == known
    assert files[1].read_text() == f"{known}  shard-000.h5\n"


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum on this machine")
def test_sha256sum_checks_it(files: tuple[Path, Path]) -> None:
    command = ["sha256sum", "--check", files[1].name]
    done = subprocess.run(command, cwd=files[0].parent, capture_output=True, check=True)
    assert done.stdout == b"shard-000.h5: OK\n"


def test_a_file_that_is_as_written_is_sound(files: tuple[Path, Path]) -> None:
    assert not is_damaged(*files)
    touch(files[0], after=files[1])
    assert not is_damaged(*files)


@pytest.mark.parametrize("content", [b"abd", b"ab", b"", b"abcd"])
def test_other_bytes_are_damage(files: tuple[Path, Path], content: bytes) -> None:
    files[0].write_bytes(content)
    touch(files[0], after=files[1])
    assert is_damaged(*files)


def test_an_unchanged_time_is_trusted(files: tuple[Path, Path]) -> None:
    files[0].write_bytes(b"abd")
    touch(files[0], after=files[1], nanoseconds=0)
    assert not is_damaged(*files)


@pytest.mark.parametrize("missing", [0, 1])
def test_what_is_not_there_is_not_damaged(files: tuple[Path, Path], missing: int) -> None:
    touch(files[0], after=files[1])
    files[missing].unlink()
    assert not is_damaged(*files)
