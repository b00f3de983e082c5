"""Unpack a zip archive from an untrusted source: complete and plain, or not at all."""

import errno
import shutil
import stat
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from noctact.atomic import replacing
from noctact.checksums import sha256
from noctact.errors import NoctactError

CHUNK = 1 << 20  # bytes held in memory at once
ENCRYPTED = 0x1 | 0x40  # flag bits: password, strong encryption
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What zipfile raises when the bytes are not what they should be.
DAMAGE = (BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


class BrokenArchive(NoctactError):
    """The archive itself is at fault: unpacking the same file again would fail again."""


@contextmanager
def room_for(size: int, folder: Path) -> Iterator[None]:
    """Guard a block that writes `size` bytes into the existing `folder`.

    Raises NoctactError before the block when the disk has less room than that, and in place of
    the bare OSError when the disk, a quota or a limit is hit within it.
    """
    needed = f"{size / 1e6:,.1f} MB needed"
    advice = "make room or choose another folder, then run again"
    free = shutil.disk_usage(folder).free
    if size > free:
        raise NoctactError(f"{folder}: disk full: {needed}, {free / 1e6:,.1f} MB free; {advice}")
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise NoctactError(f"{folder}: {error.strerror}: {needed}; {advice}") from error


def check_sha256(archive: Path, expected: str) -> None:
    """Compare the SHA-256 of the file `archive` with `expected` (hex digits, any case).

    Raises NoctactError, with both sums, when they differ. The archive stays: it may be the sum that
    is wrong, and the archive hours of download.
    """
    found = sha256(archive)
    if found != expected.lower():
        raise NoctactError(
            f"{archive}: sha256 is {found}, expected {expected.lower()}; "
            "mend the expected sum, or delete the archive and get it again"
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the zip file `archive` as `folder`, which appears when complete.

    Only plain files and folders are written, with default permissions; the droppings of macOS
    (`__MACOSX/`, `.DS_Store`, `._*`) are left out. `archive` is only read.

    Raises BrokenArchive when `archive` is no whole zip file or has a member that could not, or
    should not, be written; NoctactError when the disk has no room for the members.
    """
    try:
        with ZipFile(archive) as source:
            members = _members(source, archive.stat().st_size)
            with replacing(folder) as partial:
                size = sum(info.file_size for info in members.values())
                with room_for(size, folder.parent):
                    partial.mkdir()
                    for path, info in members.items():
                        _write(source, info, partial / path)
    except DAMAGE as error:
        raise BrokenArchive(
            f"{archive}: not a whole zip archive ({error}); get the archive again"
        ) from error


def _members(source: ZipFile, archive_size: int) -> dict[PurePosixPath, ZipInfo]:
    """Give the members to write by their path; refuse the archive if any member is unfit."""
    members: dict[PurePosixPath, ZipInfo] = {}
    for info in source.infolist():
        if problem := _problem(info, archive_size):
            raise _refusal(source, info, problem)
        # Unicode has two spellings of an accented letter, which some file systems take for one.
        path = PurePosixPath(unicodedata.normalize("NFC", info.filename))
        if _is_dropping(path):
            continue
        if path in members:
            raise _refusal(source, info, "is there twice")
        members[path] = info
    for path in members:
        for parent in path.parents:
            if parent in members and not members[parent].is_dir():
                raise _refusal(source, members[parent], "is both a file and a folder")
    if all(info.is_dir() for info in members.values()):
        raise BrokenArchive(f"{source.filename}: holds no files; get the archive again")
    return members


def _problem(info: ZipInfo, archive_size: int) -> str | None:
    """Say why a member must not, or cannot, be written, if so."""
    name = info.filename
    as_windows = PureWindowsPath(name)  # knows /, drive letters and shares
    if as_windows.anchor or ".." in as_windows.parts or "\\" in name:
        return "would land outside the folder"
    if not PurePosixPath(name).parts and not name.endswith("/"):
        return "has no name"
    if not 0 <= info.header_offset < archive_size:
        return "lies outside the archive"
    # The upper half of external_attr is the Unix mode, 0 if the archive was made elsewhere.
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or another special file"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    # The other methods expand a small piece to gigabytes in memory.
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"is packed with method {info.compress_type}, not deflate"
    return None


def _is_dropping(path: PurePosixPath) -> bool:
    return "__MACOSX" in path.parts or path.name == ".DS_Store" or path.name.startswith("._")


def _write(source: ZipFile, info: ZipInfo, path: Path) -> None:
    """Write one member to `path`: as many bytes as it declares (zipfile gives out no more)."""
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # "x": a second name for a file that is there (A.mp4, a.mp4 on some disks) is an error.
        with source.open(info) as packed, path.open("xb") as file:
            shutil.copyfileobj(packed, file, CHUNK)
            written = file.tell()
    except DAMAGE as error:
        raise _refusal(source, info, f"is damaged ({error})") from error
    if written != info.file_size:
        raise _refusal(source, info, f"has {written} bytes, not {info.file_size} as it declares")


def _refusal(source: ZipFile, info: ZipInfo, problem: str) -> BrokenArchive:
    return BrokenArchive(
        f"{source.filename}: member {info.filename!r} {problem}; get a sound archive"
    )
