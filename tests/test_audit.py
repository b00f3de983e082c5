"""Groups of clips of one recording, by name and by content, and the gathered quarantine."""

import csv
import hashlib

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctact.__main__ import main
from noctact.audit import GROUPS, audit, group_clips
from noctact.errors import NoctactError
from noctact.index import MANIFEST
from noctact.tables import QUARANTINE, write_csv

NUMBER = r"^r(?P<group>\d+)_"


def table(content):
    """Clips, by video_id, and their content."""
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in content.values()]
    return pd.DataFrame({"video_id": list(content), "sha256": hashes})


def distinct(*video_ids):
    return table({video_id: video_id for video_id in video_ids})


def rows(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return [tuple(row.values()) for row in csv.DictReader(stream)]


@pytest.fixture
def files(tmp_path):
    """Write a manifest and two files of faults; return the arguments of audit()."""

    def write(clips, *faults):
        lines = [(name, f"/clips/{name}", name.split("/")[0], 1, text, 0) for name, text in clips]
        write_csv(tmp_path / "manifest.csv", MANIFEST, lines)
        paths = []
        for number, part in enumerate(faults or [[]]):
            paths.append(tmp_path / f"faults-{number}.csv")
            write_csv(paths[-1], QUARANTINE, [(name, f"/clips/{name}", why) for name, why in part])
        outputs = tmp_path / "groups.csv", tmp_path / "quarantine.csv"
        return tmp_path / "manifest.csv", paths, *outputs

    return write


# --- grouping -------------------------------------------------------------------------------------


def test_without_a_pattern_each_clip_is_its_own_group():
    assert group_clips(distinct("run/b", "Walk/a", "run/a"), None) == [
        ("Walk/a", "Walk/a", "single"),
        ("run/a", "run/a", "single"),
        ("run/b", "run/b", "single"),
    ]


def test_clips_whose_names_agree_share_a_group_across_classes():
    clips = distinct("Walk/r1_a", "Walk/r2_a", "run/r1_b", "run/other", "run/r12_a")
    assert group_clips(clips, NUMBER) == [
        ("Walk/r1_a", "1", "name"),
        ("Walk/r2_a", "2", "single"),
        ("run/other", "run/other", "single"),
        ("run/r12_a", "12", "single"),
        ("run/r1_b", "1", "name"),
    ]


def test_the_pattern_sees_the_file_name_not_the_class():
    clips = distinct("r1_walk/a", "r1_walk/b", "r1_run/r2_c")
    assert {group for _, group, _ in group_clips(clips, NUMBER)} == {"r1_walk/a", "r1_walk/b", "2"}


def test_clips_of_the_same_content_share_a_group():
    clips = table({"Walk/a": "x", "run/b": "x", "Walk/c": "y"})
    assert group_clips(clips, None) == [
        ("Walk/a", "Walk/a", "content"),
        ("Walk/c", "Walk/c", "single"),
        ("run/b", "Walk/a", "content"),
    ]


def test_name_and_content_join_into_one_group():
    """r1_a is r1_b by name, r1_b is z by content, z is r3_c by content, r3_c is r3_d by name."""
    clips = table(
        {"A/r1_a": "a", "A/r1_b": "x", "B/z": "x", "B/r3_c": "x", "B/r3_d": "d", "B/r4": "e"}
    )
    assert group_clips(clips, NUMBER) == [
        ("A/r1_a", "1", "name"),
        ("A/r1_b", "1", "name+content"),
        ("B/r3_c", "1", "name+content"),
        ("B/r3_d", "1", "name"),
        ("B/r4", "B/r4", "single"),
        ("B/z", "1", "content"),
    ]


def test_an_empty_or_absent_match_of_the_group_groups_nothing():
    clips = distinct("A/r1", "A/rx", "A/ry", "A/q")
    for pattern in (r"r(?P<group>\d*)", r"r(?P<group>\d)?"):
        assert [group for _, group, _ in group_clips(clips, pattern)] == [
            "A/q",
            "1",
            "A/rx",
            "A/ry",
        ]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"r(\d+)", r"has no \(\?P<group>"),
        (r"r(?P<number>\d+)", r"has no \(\?P<group>"),
        (r"r(?P<group>\d+", r"missing \)"),
        (r"(?P<group>*)", "nothing to repeat"),
        (r"take(?P<group>\d+)", "does not match 3 of 3 clips, 'A/r1_a' for example"),
        (r"take(?P<group>\d*)|r", "does not match 3 of 3 clips"),
        (r"^(?P<group>r)", "puts all clips in one group"),
    ],
)
def test_a_pattern_that_can_not_be_meant_is_an_error(pattern, text):
    with pytest.raises(NoctactError, match=rf"groups\.pattern: .*{text}"):
        group_clips(distinct("A/r1_a", "A/r2_a", "B/r3_a"), pattern)


CLIPS = st.dictionaries(
    st.builds("{}/r{}_{}".format, st.sampled_from("AB"), st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from("uvwxyz"),
    min_size=1,
)


@given(CLIPS, st.randoms())
def test_groups_are_the_connected_clips_whatever_their_order(content, random):
    clips = table(content)
    try:
        result = group_clips(clips, NUMBER)
    except NoctactError:  # all in one group
        result = [(name, "all", "") for name in sorted(content)]
    group = {name: group for name, group, _ in result}
    assert list(group) == sorted(content)

    def number(name):
        return name.split("/r")[1].split("_")[0]

    # Two clips share a group exactly when a chain of equal names or contents leads from one to
    # the other: spread each clip's smallest neighbour until nothing changes.
    mark = {name: name for name in content}
    changed = True
    while changed:
        changed = False
        for a in content:
            for b in content:
                if (content[a] == content[b] or number(a) == number(b)) and mark[b] < mark[a]:
                    mark[a], changed = mark[b], True
    for a in content:
        for b in content:
            assert (group[a] == group[b]) == (mark[a] == mark[b])

    if len(set(mark.values())) > 1:
        order = random.sample(range(len(clips)), len(clips))
        assert group_clips(clips.iloc[order], NUMBER) == result


# --- the stage ------------------------------------------------------------------------------------


def test_only_usable_clips_get_a_group(files):
    clips = [("A/r1_a", "x"), ("A/r1_b", "y"), ("B/r2_a", "z"), ("B/r3_a", "x")]
    arguments = files(clips, [("A/gone", "an empty file")], [("B/r3_a", "no frame")])
    audit(*arguments, pattern=NUMBER)
    groups, quarantine = arguments[2:]
    # A/r1_a has the content of B/r3_a, which does not count any more.
    assert rows(groups) == [
        ("A/r1_a", "1", "name"),
        ("A/r1_b", "1", "name"),
        ("B/r2_a", "2", "single"),
    ]
    assert rows(quarantine) == [
        ("A/gone", "/clips/A/gone", "an empty file"),
        ("B/r3_a", "/clips/B/r3_a", "no frame"),
    ]


def test_the_quarantine_is_gathered_sorted_and_counted_by_class(files, capsys):
    clips = [(f"{label}/{n}", f"{label}{n}") for label in ("Walk", "run") for n in range(4)]
    arguments = files(
        clips,
        [("run/3", "one, two"), ("Walk/0", 'said "no"')],
        [],
        [("run/1", "line\nline"), ("run/x", "an empty file")],
    )
    audit(*arguments)
    assert rows(arguments[3]) == [
        ("Walk/0", "/clips/Walk/0", 'said "no"'),
        ("run/1", "/clips/run/1", "line\nline"),
        ("run/3", "/clips/run/3", "one, two"),
        ("run/x", "/clips/run/x", "an empty file"),
    ]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "5 clips in 5 groups",
        f"4 in quarantine (Walk: 1, run: 3); reasons: {arguments[3]}",
    ]


def test_without_faults_the_quarantine_has_a_header_only(files, capsys):
    arguments = files([("A/1", "x"), ("B/1", "x")])
    audit(*arguments)
    assert arguments[3].read_text() == "video_id,path,reason\n"
    warning, counts = capsys.readouterr().out.splitlines()
    assert warning.startswith("config key groups.pattern: none, so each clip counts as a recording")
    assert counts == "2 clips in 1 groups"


def test_names_that_look_like_numbers_or_blanks_stay_as_they_are(files):
    names = ["NA/NA", "NA/null", "1/1", "1/01", "1e5/nan", "True/ ", "-/a\rb", "-/a\nb", '-/"']
    # Contents that only text tells apart: 1, 01, 001 ...
    clips = [(name, "1".zfill(n + 1)) for n, name in enumerate(names)]
    arguments = files(clips, [("NA/null", "007")], [("None/1", "NA")])
    audit(*arguments)
    assert rows(arguments[2]) == [(n, n, "single") for n in sorted(names) if n != "NA/null"]
    assert rows(arguments[3]) == [
        ("NA/null", "/clips/NA/null", "007"),
        ("None/1", "/clips/None/1", "NA"),
    ]


def test_nothing_usable_is_an_error(files):
    arguments = files([("A/1", "x")], [("A/1", "no frame")])
    with pytest.raises(
        NoctactError, match=r"class .A.: none of its clips can be used; the first, .*A/1: no frame"
    ):
        audit(*arguments)
    assert not arguments[2].exists()


def test_the_command_line(files, capsys):
    manifest, faults, groups, quarantine = files(
        [("A/r1_a", "x"), ("B/r1_b", "y"), ("B/r2_a", "z")], [("A/x", "bad")], [("A/y", "bad")]
    )
    arguments = ["--manifest", manifest, "--faults", *faults]
    arguments += ["--groups", groups, "--quarantine", quarantine]
    assert main(["audit", *map(str, arguments), "--pattern", NUMBER]) == 0
    assert groups.read_text().splitlines() == [
        ",".join(GROUPS),
        "A/r1_a,1,name",
        "B/r1_b,1,name",
        "B/r2_a,2,single",
    ]
    assert len(rows(quarantine)) == 2
    groups.unlink()
    capsys.readouterr()
    assert main(["audit", *map(str, arguments), "--pattern", "("]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("noctact audit: config key groups.pattern: '('")
    assert captured.err.count("\n") == 1
    assert not groups.exists()


def test_the_real_recordings_group_by_their_sequence(data):
    """`24_5_0.avi` is clip 24, cut from sequence 5: a recording gives clips of all classes."""
    ids = [f"{path.parent.name}/{path.name}" for path in (data / "ut_interaction_set1").glob("*/*")]
    groups = group_clips(distinct(*ids), r"^\d+_(?P<group>\d+)_")
    assert len(groups) == 60
    assert {group for _, group, _ in groups} == {str(n) for n in range(1, 11)}
