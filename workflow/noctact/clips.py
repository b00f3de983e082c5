"""Find the clips of a dataset: `<class>/<clip>`, at whatever depth the folder or archive has it.

Standard library only: every job of a cluster run parses the Snakefile, which imports this.
"""

import errno
import hashlib
import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from noctact.errors import NoctactError

# Not the module mimetypes: what it knows differs from system to system.
# fmt: off
VIDEO_SUFFIXES = {
    ".3gp", ".asf", ".avi", ".dv", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogg", ".ogv", ".rm", ".ts", ".vob", ".webm", ".wmv",
}
# fmt: on

# Control characters that no XML file may hold.
NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Clip:
    """One video file. `video_id` is `<class>/<file name>` in Unicode's composed form (NFC)."""

    video_id: str
    path: Path
    label: str


@dataclass(frozen=True)
class Rejected:
    """A file in a class folder that can't be used, and why."""

    video_id: str
    path: Path
    reason: str


def is_visible(path: Path) -> bool:
    """False for what file managers leave behind: .DS_Store, ._name, __MACOSX."""
    return not path.name.startswith(".") and path.name != "__MACOSX"


def holds_video(folder: Path) -> bool:
    """True when `folder` itself holds a file that is named as a video."""
    return any(file.suffix.lower() in VIDEO_SUFFIXES for file in visible(folder) if file.is_file())


def visible(folder: Path) -> list[Path]:
    """What lies in `folder`, hidden names left out, sorted by name, capitals first."""
    return sorted(filter(is_visible, folder.iterdir()), key=lambda path: path.name)


def clip_folder(root: Path) -> Path:
    """The shallowest folder at or under `root` whose sub-folders hold video files.

    Raises NoctactError when there is none, or when several lie at one depth (a dataset that
    comes divided into train/ and test/, for example): which is meant only the user can say.
    """
    if not root.is_dir():
        raise NoctactError(f"{root.absolute()}: no such folder; give the one with <class>/<clip>")
    level = [root]
    while level:
        below = {folder: [path for path in visible(folder) if path.is_dir()] for folder in level}
        found = [folder for folder, classes in below.items() if any(map(holds_video, classes))]
        if len(found) > 1:
            names = ", ".join(str(folder) for folder in found)
            raise NoctactError(f"{root}: several folders hold class folders: {names}; name one")
        if found:
            return found[0]
        # A link that leads back up would never end: links are followed for classes and clips only.
        level = [path for paths in below.values() for path in paths if not path.is_symlink()]
    raise NoctactError(f"{root}: no video found; the layout is <class>/<clip>, a folder a class")


def is_utf8(name: str) -> bool:
    """False for a file name whose bytes are not UTF-8 (Python keeps them as surrogates)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def fault(file: Path) -> str | None:
    """Why `file` can't be a clip, by a look from outside; None when nothing speaks against it."""
    if not is_utf8(file.name):
        return "the file name is not valid UTF-8; rename the file"
    try:
        mode = file.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "a link to a file that does not exist"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link to a file that does not exist"
        return f"unreadable: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "a folder, not a video"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if not os.access(file, os.R_OK):
        return "permission denied"
    return None


def list_clips(
    root: Path, classes: int | None = None, fewest: int = 2
) -> tuple[list[Clip], list[Rejected]]:
    """All clips under `root`, and the files in class folders that can't be clips, each by video_id.

    Classes are the visible sub-folders of the clip folder. Raises NoctactError for fewer than
    two classes, another number of them than `classes` (when given), a class with fewer clips than
    `fewest` (one in each split is the least), two clips or classes whose names differ only in how
    Unicode composes their letters, and a class whose name is not UTF-8 or
    has control characters other than white space.
    """
    folder = clip_folder(root)
    clips: dict[str, Clip] = {}
    labels: set[str] = set()
    rejected = []
    class_folders = [path for path in visible(folder) if path.is_dir()]
    if len(class_folders) < 2:
        raise NoctactError(f"{folder}: one class only; a comparison needs at least two folders")
    if classes is not None and classes != len(class_folders):
        names = ", ".join(path.name for path in class_folders)
        raise NoctactError(
            f"config key classes: {classes} expected, {folder} holds {len(class_folders)}: {names}"
        )
    for class_folder in class_folders:
        if not is_utf8(class_folder.name):
            raise NoctactError(f"{class_folder}: not valid UTF-8; rename the folder")
        if NOT_XML.search(class_folder.name):  # as the figures are, in SVG
            raise NoctactError(
                f"{folder}: the class {class_folder.name!r} has a control character in its name; "
                "rename the folder"
            )
        label = unicodedata.normalize("NFC", class_folder.name)
        if label in labels:
            raise NoctactError(
                f"{class_folder}: a class of the same name is there; rename one of them"
            )
        labels.add(label)
        found = 0
        for file in visible(class_folder):
            video_id = unicodedata.normalize("NFC", f"{label}/{file.name}")
            if reason := fault(file):
                rejected.append(Rejected(video_id.encode(errors="replace").decode(), file, reason))
                continue
            if video_id in clips:
                raise NoctactError(f"{file}: a clip of the same name is there; rename one of them")
            clips[video_id] = Clip(video_id, file, label)
            found += 1
        if found < fewest:
            count = {0: "no clip", 1: "one clip"}.get(found, f"{found} clips")
            raise NoctactError(
                f"{class_folder}: a class with {count}; add clips (the split needs at least "
                f"{fewest} a class) or move the folder away"
            )
    return (
        [clips[video_id] for video_id in sorted(clips)],
        sorted(rejected, key=lambda file: file.video_id),
    )


# How known data sets name the recording in their file names. Groups of ARID and UCF101 count anew
# in each class, so that the class belongs to the name.
KNOWN_PATTERNS = {
    "arid": r"^(?P<group>.+_\d+)_\d+\.",  # Drink_3_12.mp4: class, recording, clip
    "ucf101": r"(?P<group>[^_]+_g\d+)_c\d+",  # v_Archery_g07_c02.avi
    "ut_interaction": r"^\d+_(?P<group>\d+)_\d+",  # 10_2_1.avi: clip, sequence, class
}


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression that finds the recording, as `(?P<group>...)`, in a file name; or the
    one of KNOWN_PATTERNS that is called `pattern`.

    Raises NoctactError when it is none or lacks the group.
    """
    try:
        compiled = re.compile(KNOWN_PATTERNS.get(pattern, pattern))
    except re.error as error:
        raise NoctactError(f"config key groups.pattern: {pattern!r}: {error}") from error
    if "group" not in compiled.groupindex:
        raise NoctactError(
            f"config key groups.pattern: {pattern!r} has no (?P<group>...), the part of a file "
            "name that the clips of one recording share; known by name: "
            + ", ".join(KNOWN_PATTERNS)
        )
    return compiled


def shard_of(video_id: str, shards: int) -> int:
    """The shard, 0 to shards - 1, of a clip: by a hash of its name, so that it never moves."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8]) % shards
