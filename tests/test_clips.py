"""Finding the clips of a dataset, in real folders: layouts, odd names, and what is no clip."""

import json
import os
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctact.clips import clip_folder, list_clips, shard_of
from noctact.errors import NoctactError

TWO = ("1.mp4", "2.mp4")
ODD_NAMES = (
    "with space.mp4",
    " leading and trailing .mp4 ",
    "single' and double\".mp4",
    "-leading-dash.mp4",
    "new\nline.mp4",
    "carriage\rreturn.mp4",
    "comma,semicolon;.mp4",
    "ünï 视频 🎥.mp4",
    "$HOME `id` {wildcard} %s.mp4",
    "no extension",
    "NA",
)


def ids(root, **options):
    return [clip.video_id for clip in list_clips(root, **options)[0]]


def composed(name):
    return unicodedata.normalize("NFC", name)


def decomposed(name):
    return unicodedata.normalize("NFD", name)


# --- where the class folders are ------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "NoctACT-HAR", "archive/data set/videos"])
def test_the_clip_folder_is_found_at_any_depth(tmp_path, make_tree, inside):
    make_tree(tmp_path / inside, {"Walk": TWO, "run": TWO})
    assert clip_folder(tmp_path) == tmp_path / inside
    assert ids(tmp_path) == ["Walk/1.mp4", "Walk/2.mp4", "run/1.mp4", "run/2.mp4"]


def test_the_shallowest_folder_wins(tmp_path, make_tree):
    make_tree(tmp_path, {"a/Walk": TWO, "a/run": TWO, "b/deeper/Walk": TWO, "b/deeper/run": TWO})
    assert clip_folder(tmp_path) == tmp_path / "a"


def test_two_folders_at_one_depth_are_an_error_that_names_both(tmp_path, make_tree):
    make_tree(tmp_path, {"train/Walk": TWO, "train/run": TWO, "test/Walk": TWO, "test/run": TWO})
    with pytest.raises(NoctactError, match=rf"{tmp_path}/test, {tmp_path}/train"):
        clip_folder(tmp_path)


def test_a_link_that_leads_back_up_does_not_end_in_a_loop(tmp_path, make_tree):
    make_tree(tmp_path, {"data": ()})
    (tmp_path / "data" / "up").symlink_to(tmp_path)
    with pytest.raises(NoctactError, match="no video found"):
        clip_folder(tmp_path)


def test_links_are_not_followed_on_the_way_to_the_clip_folder(tmp_path, make_tree):
    make_tree(tmp_path / "elsewhere", {"Walk": TWO, "run": TWO})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoctactError, match="no video found"):
        clip_folder(tmp_path / "data")


def test_a_linked_class_folder_counts(tmp_path, make_tree):
    make_tree(tmp_path / "elsewhere", {"run": TWO})
    make_tree(tmp_path / "clips", {"Walk": TWO})
    (tmp_path / "clips" / "run").symlink_to(tmp_path / "elsewhere" / "run")
    assert ids(tmp_path / "clips") == ["Walk/1.mp4", "Walk/2.mp4", "run/1.mp4", "run/2.mp4"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(NoctactError, match="nowhere: no such folder"):
        list_clips(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "files", [{}, {"Walk": ()}, {"Walk": ("notes.txt", "still.png", "sound.mp3")}, {".": TWO}]
)
def test_no_video_in_any_class_folder_is_an_error(tmp_path, make_tree, files):
    make_tree(tmp_path, files)
    with pytest.raises(NoctactError, match="no video found"):
        list_clips(tmp_path)


@pytest.mark.parametrize(
    "suffix", ["3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "MP4", "mpg", "mts", "ts", "webm"]
)
def test_videos_are_known_by_usual_suffixes_whatever_the_system_lists(tmp_path, make_tree, suffix):
    make_tree(tmp_path, {label: [f"{n}.{suffix}" for n in range(2)] for label in ("Walk", "run")})
    assert len(ids(tmp_path)) == 4


# --- the classes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [(), (".hidden.mp4",)])
def test_a_class_without_a_clip_is_an_error_that_names_it(tmp_path, make_tree, names):
    make_tree(tmp_path, {"Walk": TWO, "run": TWO, "sit": names})
    with pytest.raises(NoctactError, match=r"sit: a class with no clip"):
        list_clips(tmp_path)


def test_a_class_with_one_clip_is_an_error_that_names_it(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": TWO, "run": TWO, "sit": ("1.mp4",)})
    with pytest.raises(NoctactError, match=r"sit: a class with one clip"):
        list_clips(tmp_path)


def test_rejected_files_do_not_count_as_clips_of_a_class(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": TWO, "run": ("1.mp4",)})
    (tmp_path / "run" / "2.mp4").mkdir()
    with pytest.raises(NoctactError, match=r"run: a class with one clip"):
        list_clips(tmp_path)


def test_one_class_only_is_an_error(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": TWO})
    with pytest.raises(NoctactError, match="one class only"):
        list_clips(tmp_path)


def test_the_number_of_classes_is_checked_when_given(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": TWO, "run": TWO})
    assert len(ids(tmp_path, classes=2)) == 4
    with pytest.raises(NoctactError, match=r"classes: 3 expected, .* holds 2: Walk, run"):
        list_clips(tmp_path, classes=3)


def test_classes_and_clips_are_sorted_with_capitals_first(tmp_path, make_tree):
    make_tree(tmp_path, dict.fromkeys(("a", "b", "Z", "É"), ("b.mp4", "B.mp4", "a.mp4")))
    assert ids(tmp_path) == [
        f"{label}/{name}" for label in ("Z", "a", "b", "É") for name in ("B.mp4", "a.mp4", "b.mp4")
    ]


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_stay_as_they_are(tmp_path, make_tree, name):
    make_tree(tmp_path, {"Walk": (name, "other.mp4"), f"class {name}": TWO})
    clips, rejected = list_clips(tmp_path)
    assert rejected == []
    assert {clip.video_id for clip in clips} == {
        f"Walk/{name}",
        "Walk/other.mp4",
        f"class {name}/1.mp4",
        f"class {name}/2.mp4",
    }
    for clip in clips:
        assert clip.path.read_bytes() == clip.video_id.encode()
        assert clip.label == clip.path.parent.name


def test_a_decomposed_name_is_listed_composed_and_still_read(tmp_path, make_tree):
    make_tree(tmp_path, {decomposed("Café"): (decomposed("é.mp4"), "2.mp4"), "run": TWO})
    clip = next(clip for clip in list_clips(tmp_path)[0] if "é" in clip.video_id.split("/")[1])
    assert clip.video_id == composed("Café/é.mp4")
    assert clip.label == composed("Café")
    assert clip.path.read_bytes() == decomposed("Café/é.mp4").encode()


def test_two_clips_with_one_name_are_an_error(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": (composed("é.mp4"), decomposed("é.mp4")), "run": TWO})
    with pytest.raises(NoctactError, match="a clip of the same name"):
        list_clips(tmp_path)


def test_two_class_folders_with_one_name_are_an_error(tmp_path, make_tree):
    make_tree(tmp_path, {composed("Café"): TWO, decomposed("Café"): ("3.mp4", "4.mp4")})
    with pytest.raises(NoctactError, match="a class of the same name"):
        list_clips(tmp_path)


def test_a_class_with_a_control_character_is_an_error(tmp_path, make_tree):
    root = make_tree(tmp_path / "clips", {"a\x01b": ["1.mp4", "2.mp4"], "c": ["1.mp4", "2.mp4"]})
    with pytest.raises(
        NoctactError, match=r"the class 'a\\x01b' has a control character"
    ) as caught:
        list_clips(root)
    assert "\x01" not in str(caught.value)


def test_a_class_folder_that_is_not_utf8_is_an_error(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": TWO, "run": TWO, os.fsdecode(b"sit\xff"): TWO})
    with pytest.raises(NoctactError, match=r"not valid UTF-8; rename the folder"):
        list_clips(tmp_path)


# --- what is no clip ------------------------------------------------------------------------------


def test_what_file_managers_leave_behind_is_ignored(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": (*TWO, ".DS_Store", "._1.mp4"), "run": TWO})
    make_tree(tmp_path, {"__MACOSX/Walk": TWO, "__MACOSX": TWO, ".cache": TWO, "run/__MACOSX": TWO})
    clips, rejected = list_clips(tmp_path)
    assert len(clips) == 4
    assert rejected == []


def test_files_beside_the_class_folders_are_ignored(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": TWO, "run": TWO, ".": ("truth.csv", "preview.mp4")})
    assert len(ids(tmp_path)) == 4


def spoil(folder):
    """Put one of each kind of file that can't be a clip into `folder`: names and reasons."""
    (folder / "broken.mp4").symlink_to("nowhere.mp4")
    (folder / "circle.mp4").symlink_to("circle.mp4")
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / os.fsdecode(b"latin\xe9.mp4")).write_text("x")
    return {
        "broken.mp4": "a link to a file that does not exist",
        "circle.mp4": "a link to a file that does not exist",
        "folder.mp4": "a folder, not a video",
        "latin?.mp4": "the file name is not valid UTF-8; rename the file",
        "pipe.mp4": "not a regular file",
    }


def test_what_can_not_be_a_clip_is_rejected_with_the_reason(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": TWO, "run": TWO})
    reasons = spoil(tmp_path / "run")
    clips, rejected = list_clips(tmp_path)
    assert len(clips) == 4
    assert [(file.video_id, file.reason) for file in rejected] == [
        (f"run/{name}", reason) for name, reason in reasons.items()
    ]
    assert all(file.path.parent == tmp_path / "run" for file in rejected)


def test_a_link_to_a_clip_is_a_clip(tmp_path, make_tree):
    make_tree(tmp_path, {"Walk": TWO, "run": ("1.mp4",)})
    (tmp_path / "run" / "link.mp4").symlink_to(tmp_path / "Walk" / "1.mp4")
    assert "run/link.mp4" in ids(tmp_path)


AS_NOBODY = """
import json, os, sys
from pathlib import Path
from noctact.clips import list_clips
if os.geteuid() == 0:  # root reads everything
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
clips, rejected = list_clips(Path(sys.argv[1]))
print(json.dumps([len(clips), [[file.video_id, file.reason] for file in rejected]]))
"""


def test_an_unreadable_file_is_rejected(make_tree):
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        root = make_tree(Path(folder), {"Walk": TWO, "run": (*TWO, "secret.mp4")})
        root.chmod(0o755)
        (root / "run" / "secret.mp4").chmod(0)
        command = [sys.executable, "-c", AS_NOBODY, folder]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == [4, [["run/secret.mp4", "permission denied"]]]


# --- shards ---------------------------------------------------------------------------------------


@given(st.text(), st.integers(1, 1000))
def test_a_shard_is_within_range(video_id, shards):
    assert 0 <= shard_of(video_id, shards) < shards


@pytest.mark.parametrize(
    ("video_id", "shard"), [("Walk/a.mp4", 44), ("run/ünï 视频.avi", 3), ("", 20)]
)
def test_a_shard_never_changes(video_id, shard):
    # The last two hexadecimal digits of the first 16 of `printf %s ID | sha256sum`, modulo 64.
    assert shard_of(video_id, 64) == shard


def test_clips_spread_evenly_over_the_shards():
    count = Counter(shard_of(f"Walk/clip_{n:05d}.mp4", 10) for n in range(10_000))
    assert set(count) == set(range(10))
    # 1000 each, with a standard deviation of 30.
    assert max(abs(n - 1000) for n in count.values()) < 120
