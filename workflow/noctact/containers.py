"""What a file is, told from its outside: cut off, or no video at all.

Cut off is a file whose container says that it is longer.

AVI, MP4/MOV and Matroska/WebM name the length of the part that holds the frames. The others
(MPEG-TS, FLV, ...) do not: a cut there shows only where it breaks a packet.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# With one of these an MP4 or MOV file begins.
MP4_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx")
EBML, SEGMENT = 0x1A45DFA3, 0x18538067


def avi_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where each list of frames (`movi`) of an AVI file ends; a missing index is no loss.

    RIFF chunks: Microsoft, "AVI RIFF File Reference". A list is told by its last field only.
    """
    at = riff_end = 0
    while at + 12 <= size:
        file.seek(at)
        head = file.read(12)
        end = at + 8 + int.from_bytes(head[4:8], "little")
        if at >= riff_end:
            if head[:4] != b"RIFF":
                return  # padding after the last RIFF; old frames may lie in it
            riff_end = end
            at += 12
            continue
        if head[:4] == b"LIST" and head[8:] == b"movi":
            yield end
        at = end + end % 2  # chunks start at even places


def mp4_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where each box of the outermost level ends (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4])
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < 8 or not (head[4:8].isascii() and head[4:8].decode().isprintable()):
            return  # a box that reaches to the end of the file, or no box at all
        at += length
        if head[4:8] in (b"moov", b"moof", b"mdat"):
            yield at


def matroska_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the segment ends, if it says so (RFC 8794 for the numbers, RFC 9559 for the ids)."""
    at = 0
    while at + 12 <= size:
        file.seek(at)
        head = file.read(12)
        width = 9 - head[4].bit_length()
        length = int.from_bytes(head[4 : 4 + width]) & ((1 << 7 * width) - 1)
        if width > 8 or int.from_bytes(head[:4]) not in (EBML, SEGMENT):
            return
        if length == (1 << 7 * width) - 1:  # all ones: unknown, as in a live recording
            return
        at += 4 + width + length
        yield at


def is_cut_off(file: Path) -> bool:
    """True when the container holds frames past the end of `file`, by its own account.

    Raises OSError when the file can't be read.
    """
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        head = stream.read(8)
        if head[:4] == b"RIFF":
            ends = avi_ends(stream, size)
        elif head[4:8] in MP4_BOXES:
            ends = mp4_ends(stream, size)
        elif int.from_bytes(head[:4]) == EBML:
            ends = matroska_ends(stream, size)
        else:
            return False
        return any(end > size for end in ends)


def instead_of_video(file: Path) -> str:
    """What `file`, in which no container of video was found, is; as far as can be told."""
    with file.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        return "an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file: fetch it with git lfs pull"
    if is_cut_off(file):
        return "cut off before the part that says where its frames are"
    if b"\x00" not in head and is_text(head):
        return "a text, not a video"
    return "not a video, or damaged beyond reading"


def is_text(data: bytes) -> bool:
    """True when `data` reads as UTF-8, but for a letter cut at its end."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True
