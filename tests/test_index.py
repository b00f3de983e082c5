"""The index of clips against sizes and hashes worked out here, and the command line of a stage."""

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctact.clips import shard_of
from noctact.index import index
from noctact.tables import QUARANTINE, write_csv

ODD_NAMES = (
    "comma, space.mp4",
    "quote \" and '.mp4",
    "new\nline.mp4",
    "carriage\rreturn.mp4",
    "-dash.mp4",
    "ünï 视频 🎥.mp4",
    "NA",
    "1",
    "1e5",
    " padded ",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.fixture
def clips(tmp_path, make_tree):
    return make_tree(tmp_path / "clips", {"Walk": ODD_NAMES, "NA": ODD_NAMES, "1": ("a.mp4", "b")})


def run_index(root, folder, shards=8):
    index(root, shards, folder / "index.csv", folder / "rejected.csv")
    return folder / "index.csv", folder / "rejected.csv"


def rows(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def noctact(*arguments):
    command = [sys.executable, "-m", "noctact", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_index_gives_size_and_hash_of_each_clip(clips, tmp_path):
    listing = rows(run_index(clips, tmp_path)[0])
    assert [row["video_id"] for row in listing] == sorted(
        f"{path.parent.name}/{path.name}" for path in clips.glob("*/*")
    )
    for row in listing:
        content = (clips / row["video_id"]).read_bytes()
        assert row == {
            "video_id": row["video_id"],
            "path": str(clips / row["video_id"]),
            "label": row["video_id"].split("/")[0],
            "bytes": str(len(content)),
            "sha256": hashlib.sha256(content).hexdigest(),
            "shard": str(shard_of(row["video_id"], 8)),
        }


def test_odd_names_come_back_from_the_index_through_pandas(clips, tmp_path):
    listing = pd.read_csv(run_index(clips, tmp_path)[0], dtype=str, keep_default_na=False)
    assert set(listing["video_id"]) == {
        *(f"Walk/{name}" for name in ODD_NAMES),
        *(f"NA/{name}" for name in ODD_NAMES),
        *("1/a.mp4", "1/b"),
    }
    assert set(listing["label"]) == {"Walk", "NA", "1"}
    assert all(Path(path).is_file() for path in listing["path"])


@given(st.lists(st.tuples(TEXT, TEXT, TEXT)))
def test_any_text_comes_back_from_a_csv(tmp_path_factory, table):
    file = tmp_path_factory.getbasetemp() / "table.csv"
    write_csv(file, QUARANTINE, table)
    frame = pd.read_csv(file, dtype=str, keep_default_na=False, skip_blank_lines=False)
    assert tuple(frame.columns) == QUARANTINE
    assert list(frame.itertuples(index=False, name=None)) == table
    assert [tuple(row.values()) for row in rows(file)] == table


def test_a_failed_csv_leaves_the_old_one(tmp_path):
    file = tmp_path / "table.csv"
    write_csv(file, ("a",), [("old",)])
    with pytest.raises(ZeroDivisionError):
        write_csv(file, ("a",), ((1 / n,) for n in (1, 0)))
    assert file.read_text() == "a\nold\n"
    assert list(tmp_path.iterdir()) == [file]


def test_what_can_not_be_a_clip_is_listed_with_path_and_reason(clips, tmp_path):
    (clips / "Walk" / "broken, link.mp4").symlink_to("nowhere")
    (clips / "Walk" / "folder\r").mkdir()
    (clips / os.fsdecode(b"1/latin\xe9.mp4")).write_text("x")
    listing, rejected = run_index(clips, tmp_path)
    assert len(rows(listing)) == 22
    frame = pd.read_csv(rejected, dtype=str, keep_default_na=False)
    assert frame.to_dict("records") == [
        {"video_id": video_id, "path": f"{clips}/{path}", "reason": reason}
        for video_id, path, reason in (
            (
                "1/latin?.mp4",
                "1/latin\N{REPLACEMENT CHARACTER}.mp4",
                "the file name is not valid UTF-8; rename the file",
            ),
            (
                "Walk/broken, link.mp4",
                "Walk/broken, link.mp4",
                "a link to a file that does not exist",
            ),
            ("Walk/folder\r", "Walk/folder\r", "a folder, not a video"),
        )
    ]


def test_a_second_run_gives_the_same_bytes(clips, tmp_path):
    (clips / "Walk" / "folder.mp4").mkdir()
    first, second = (run_index(clips, tmp_path / name) for name in ("first", "second"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_the_order_in_which_files_were_made_does_not_show(tmp_path, make_tree, monkeypatch):
    trees = {"Walk": ("a.mp4", "b.mp4"), "run": ("c.mp4", "d.mp4")}
    backwards = {folder: names[::-1] for folder, names in reversed(trees.items())}
    results = []
    for name, tree in (("first", trees), ("second", backwards)):
        make_tree(tmp_path / name / "clips", tree)
        monkeypatch.chdir(tmp_path / name)
        listing, _ = run_index(Path("clips"), tmp_path / name)
        results.append(listing.read_bytes())
    assert results[0] == results[1]


# --- the command line -----------------------------------------------------------------------------


def test_the_command_line_writes_both_files(clips, tmp_path):
    files = tmp_path / "index.csv", tmp_path / "rejected.csv"
    done = noctact(
        *("index", "--clips", clips, "--shards", 4),
        *("--index", files[0], "--rejected", files[1]),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "22 clips, 0 files rejected\n", "")
    assert len(rows(files[0])) == 22
    assert files[1].read_text() == "video_id,path,reason\n"


@pytest.mark.parametrize("broken", ["no such folder", "folder that can't be made"])
def test_a_failure_is_one_line_and_exit_code_1(clips, tmp_path, broken):
    (tmp_path / "file").touch()
    root = tmp_path / "nowhere" if broken == "no such folder" else clips
    output = tmp_path / "file" if broken == "folder that can't be made" else tmp_path
    done = noctact(
        *("index", "--clips", root, "--shards", 4),
        *("--index", output / "index.csv", "--rejected", output / "rejected.csv"),
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("noctact index: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "index.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("indexx",),
        ("index",),
        ("index", "--clips", ".", "--shards", "many", "--index", "m", "--rejected", "r"),
        ("index", "--clips", ".", "--shards", "0", "--index", "m", "--rejected", "r"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments):
    done = noctact(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: noctact")
