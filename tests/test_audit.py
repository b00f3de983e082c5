"""Groups of clips of one recording, by name, content and sight, and the gathered quarantine."""

import csv
import hashlib
import math

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noctact.__main__ import main
from noctact.audit import audit, group_clips, recordings, same, trusts_sight
from noctact.clips import KNOWN_PATTERNS
from noctact.errors import NoctactError
from noctact.shards import ClipFrames, write_shard
from noctact.signatures import HEIGHT, MOMENTS, WAVES, WIDTH, WINDOWS, Signature, writing
from noctact.tables import GROUPS, INDEX, MANIFEST, PAIRS, QUARANTINE, write_csv

NUMBER = r"^r(?P<group>\d+)_"


def table(content):
    """Clips, by video_id, and their content."""
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in content.values()]
    return pd.DataFrame({"video_id": list(content), "sha256": hashes})


def grouped(content, pattern=None):
    """The groups of clips by name and content, as the stage forms them."""
    clips = table(content)
    names = recordings(pattern, sorted(content))
    return group_clips(clips["video_id"], names, same(clips, "sha256", "content"))


def distinct(*video_ids):
    return {video_id: video_id for video_id in video_ids}


def random_of(text):
    """A generator of its own for each text."""
    return np.random.default_rng(list(text.encode()))


def signature(text):
    """A signature; of two texts they have nothing in common."""
    rng = random_of(text)
    look = rng.random((HEIGHT, WIDTH)).astype(np.float16)
    motion = rng.integers(-127, 128, (MOMENTS, HEIGHT, WIDTH)).astype(np.int8)
    windows = rng.normal(size=(len(WINDOWS), 2, WAVES, WAVES))
    windows /= np.linalg.norm(windows, axis=(2, 3), keepdims=True)
    return Signature(look, motion, windows.astype(np.float32), 12.5, 0.25)


def rows(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return [tuple(row.values()) for row in csv.DictReader(stream)]


def row(video_id, indices=(0, 3, 6, 9), n_lost=0, rate=25.0):
    """The row of a clip in a shard."""
    return ClipFrames(
        video_id=video_id,
        label=video_id.split("/")[0],
        frames=random_of(video_id).integers(0, 256, (4, 2, 3, 3)).astype(np.uint8),
        frame_index=indices,
        frame_time=(0, 0.1, 0.2, 0.3),
        n_decoded=12,
        n_lost=n_lost,
        decoding="whole",
        width=320,
        height=240,
        rate=rate,
    )


def shard(file, clips):
    write_shard(file, clips, (4, 2, 3), {})
    return file


def signed(file, looks):
    """A file of signatures: of each clip, by video_id, that of a text."""
    with writing(file) as writer:
        for video_id, text in looks.items():
            writer.append(video_id, signature(text))
    return file


@pytest.fixture
def files(tmp_path):
    """Write an index, files of faults, and two shards of the clips that are in none of those.

    `special` are rows of these shards that differ from `row`, by video_id; `looks` are texts for
    the signatures, each clip's own name if not given. Returns the arguments of audit().
    """

    def write(clips, *faults, special=None, looks=None):
        lines = [(name, f"/clips/{name}", name.split("/")[0], 1, text, 0) for name, text in clips]
        write_csv(tmp_path / "index.csv", INDEX, lines)
        paths = []
        for number, part in enumerate(faults or [[]]):
            paths.append(tmp_path / f"faults-{number}.csv")
            write_csv(paths[-1], QUARANTINE, [(name, f"/clips/{name}", why) for name, why in part])
        bad = {name for part in faults for name, _ in part}
        rows = [(special or {}).get(name, row(name)) for name, _ in clips if name not in bad]
        own = {name: (looks or {}).get(name, name) for name, _ in clips if name not in bad}
        return {
            "index": tmp_path / "index.csv",
            "shards": [shard(tmp_path / f"{n}.h5", rows[n::2]) for n in range(2)],
            "signatures": [signed(tmp_path / "signatures.h5", own)],
            "faults": paths,
            "output": tmp_path / "dataset",
        }

    return write


# --- grouping -------------------------------------------------------------------------------------


def test_without_a_pattern_each_clip_is_its_own_group():
    assert grouped(distinct("run/b", "Walk/a", "run/a"), None) == [
        ("Walk/a", "Walk/a", "single"),
        ("run/a", "run/a", "single"),
        ("run/b", "run/b", "single"),
    ]


def test_clips_whose_names_agree_share_a_group_across_classes():
    clips = distinct("Walk/r1_a", "Walk/r2_a", "run/r1_b", "run/other", "run/r12_a")
    assert grouped(clips, NUMBER) == [
        ("Walk/r1_a", "1", "name"),
        ("Walk/r2_a", "2", "single"),
        ("run/other", "run/other", "single"),
        ("run/r12_a", "12", "single"),
        ("run/r1_b", "1", "name"),
    ]


def test_the_pattern_sees_the_file_name_not_the_class():
    clips = distinct("r1_walk/a", "r1_walk/b", "r1_run/r2_c")
    assert {group for _, group, _ in grouped(clips, NUMBER)} == {"r1_walk/a", "r1_walk/b", "2"}


def test_clips_of_the_same_content_share_a_group():
    clips = {"Walk/a": "x", "run/b": "x", "Walk/c": "y"}
    assert grouped(clips, None) == [
        ("Walk/a", "Walk/a", "content"),
        ("Walk/c", "Walk/c", "single"),
        ("run/b", "Walk/a", "content"),
    ]


def test_name_and_content_join_into_one_group():
    """r1_a is r1_b by name, r1_b is z by content, z is r3_c by content, r3_c is r3_d by name."""
    clips = {"A/r1_a": "a", "A/r1_b": "x", "B/z": "x", "B/r3_c": "x", "B/r3_d": "d", "B/r4": "e"}
    assert grouped(clips, NUMBER) == [
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
        assert [group for _, group, _ in grouped(clips, pattern)] == [
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
        (
            r"take(?P<group>\d+)",
            "does not match 3 of 3 clips, such as 'A/r1_a', 'A/r2_a', 'B/r3_a'",
        ),
        (r"take(?P<group>\d*)|r", "does not match 3 of 3 clips"),
        (r"^(?P<group>r)", "puts all clips in one group"),
    ],
)
def test_a_pattern_that_can_not_be_meant_is_an_error(pattern, text):
    with pytest.raises(NoctactError, match=rf"groups\.pattern: .*{text}"):
        grouped(distinct("A/r1_a", "A/r2_a", "B/r3_a"), pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "group"),
    [
        ("arid", "Drink_3_12.mp4", "Drink_3"),
        ("arid", "Push_Up_10_2.avi", "Push_Up_10"),
        ("arid", "take1.mp4", None),
        ("ucf101", "v_ApplyEyeMakeup_g08_c01.avi", "ApplyEyeMakeup_g08"),
        ("ucf101", "v_Archery_c01.avi", None),
        ("ut_interaction", "10_2_1.avi", "2"),
        ("ut_interaction", "24_5_0_p1.avi", "5"),
    ],
)
def test_patterns_known_by_name(pattern, name, group):
    found = recordings(pattern, [f"A/{name}", "A/Z_1_1.avi", "B/v_Z_g01_c01.avi", "C/1_1_1.avi"])
    assert found.get(f"A/{name}") == group
    assert set(KNOWN_PATTERNS) == {"arid", "ucf101", "ut_interaction"}


CLIPS = st.dictionaries(
    st.builds("{}/r{}_{}".format, st.sampled_from("AB"), st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from("uvwxyz"),
    min_size=1,
)


@given(CLIPS, st.randoms())
def test_groups_are_the_connected_clips_whatever_their_order(content, random):
    try:
        result = grouped(content, NUMBER)
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
        order = random.sample(sorted(content), len(content))
        assert grouped({name: content[name] for name in order}, NUMBER) == result


# --- the stage ------------------------------------------------------------------------------------


def test_only_usable_clips_get_a_group(files):
    clips = [("A/r1_a", "x"), ("A/r1_b", "y"), ("B/r2_a", "z"), ("B/r3_a", "x")]
    arguments = files(clips, [("A/gone", "an empty file")], [("B/r3_a", "no frame")])
    audit(**arguments, pattern=NUMBER)
    # A/r1_a has the content of B/r3_a, which does not count any more.
    assert rows(arguments["output"] / "groups.csv") == [
        ("A/r1_a", "1", "name"),
        ("A/r1_b", "1", "name"),
        ("B/r2_a", "2", "single"),
    ]
    assert rows(arguments["output"] / "quarantine.csv") == [
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
    audit(**arguments)
    assert rows(arguments["output"] / "quarantine.csv") == [
        ("Walk/0", "/clips/Walk/0", 'said "no"'),
        ("run/1", "/clips/run/1", "line\nline"),
        ("run/3", "/clips/run/3", "one, two"),
        ("run/x", "/clips/run/x", "an empty file"),
    ]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "5 clips in 5 groups",
        f"4 in quarantine (Walk: 1, run: 3); reasons: {arguments['output'] / 'quarantine.csv'}",
    ]


def test_without_faults_the_quarantine_has_a_header_only(files, capsys):
    arguments = files([("A/1", "x"), ("B/1", "x")])
    audit(**arguments)
    assert (arguments["output"] / "quarantine.csv").read_text() == "video_id,path,reason\n"
    warning, pairs, counts, odd, *alone = capsys.readouterr().out.splitlines()
    assert warning.startswith("config key groups.pattern: none, so recordings are told by content")
    assert pairs == "1 pair of the same content: pairs.csv"
    assert counts == "2 clips in 1 groups"
    assert odd.startswith("1 group of several classes: 'A/1', 'B/1'")
    assert [line.split(":")[0] for line in alone] == ["class 'A'", "class 'B'"]


def test_names_that_look_like_numbers_or_blanks_stay_as_they_are(files):
    names = ["NA/NA", "NA/null", "1/1", "1/01", "1e5/nan", "True/ ", "-/a\rb", "-/a\nb", '-/"']
    # Contents that only text tells apart: 1, 01, 001 ...
    clips = [(name, "1".zfill(n + 1)) for n, name in enumerate(names)]
    arguments = files(clips, [("NA/null", "007")], [("None/1", "NA")])
    audit(**arguments)
    assert rows(arguments["output"] / "groups.csv") == [
        (n, n, "single") for n in sorted(names) if n != "NA/null"
    ]
    assert rows(arguments["output"] / "quarantine.csv") == [
        ("NA/null", "/clips/NA/null", "007"),
        ("None/1", "/clips/None/1", "NA"),
    ]


def test_nothing_usable_is_an_error(files):
    arguments = files([("A/1", "x")], [("A/1", "no frame")])
    with pytest.raises(
        NoctactError, match=r"class .A.: none of its clips can be used; the first, .*A/1: no frame"
    ):
        audit(**arguments)
    assert not (arguments["output"] / "groups.csv").exists()


def test_the_manifest_says_what_the_shards_do_and_nothing_of_the_quarantine(files, capsys):
    special = {
        "A/short": row("A/short", indices=(0, 0, 1, 1)),
        "B/NA": row("B/NA", n_lost=7, rate=math.nan),
        "B/x": row("B/x", rate=30000 / 1001),
    }
    clips = [("A/1", "a"), ("A/gone", "b"), ("A/short", "c"), ("B/NA", "d"), ("B/x", "e")]
    arguments = files(clips, [("A/gone", "no frame")], special=special)
    audit(**arguments)
    assert (arguments["output"] / "manifest.csv").read_text().splitlines() == [
        ",".join(MANIFEST),
        "A/1,/clips/A/1,A,1,a,0,12,0,0,whole,320,240,25,12.5,0.25",
        "A/gone,/clips/A/gone,A,1,b,0,,,,,,,,,",
        "A/short,/clips/A/short,A,1,c,0,12,2,0,whole,320,240,25,12.5,0.25",
        "B/NA,/clips/B/NA,B,1,d,0,12,0,7,whole,320,240,,12.5,0.25",
        "B/x,/clips/B/x,B,1,e,0,12,0,0,whole,320,240,29.97,12.5,0.25",
    ]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"1 clips repeat frames, 1 lost some; which: {arguments['output'] / 'manifest.csv'}",
        f"1 in quarantine (A: 1); reasons: {arguments['output'] / 'quarantine.csv'}",
    ]


def test_a_shard_without_clips_adds_nothing(files, tmp_path):
    arguments = files([("A/1", "x"), ("B/1", "y")])
    audit(**arguments)
    before = (arguments["output"] / "manifest.csv").read_bytes()
    arguments["shards"] = [shard(tmp_path / "empty.h5", []), *arguments["shards"]]
    audit(**arguments)
    assert (arguments["output"] / "manifest.csv").read_bytes() == before


def test_a_clip_that_is_in_no_shard_is_an_error(files):
    arguments = files([("A/1", "x"), ("B/1", "y")])
    arguments["shards"] = arguments["shards"][:1]
    with pytest.raises(NoctactError, match="B/1: not in the shards; run stage extract again"):
        audit(**arguments)
    assert not (arguments["output"] / "manifest.csv").exists()


@pytest.mark.parametrize("content", ["a text", "cut off", "lacks a column"])
def test_a_file_that_is_no_shard_is_an_error(files, content):
    arguments = files([("A/1", "x"), ("B/1", "y")])
    file = arguments["shards"][1]
    if content == "a text":
        file.write_text("no shard")
    elif content == "cut off":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        with h5py.File(file, "r+") as opened:
            del opened["n_lost"]
    with pytest.raises(NoctactError, match=r"1\.h5: not a shard, or damaged .*delete it"):
        audit(**arguments)
    assert not (arguments["output"] / "manifest.csv").exists()


def test_the_command_line(files, capsys):
    paths = files(
        [("A/r1_a", "x"), ("B/r1_b", "y"), ("B/r2_a", "z")], [("A/x", "bad")], [("A/y", "bad")]
    )
    arguments = []
    for name, value in paths.items():
        arguments += [f"--{name}", *(value if isinstance(value, list) else [value])]
    groups = paths["output"] / "groups.csv"
    assert main(["audit", *map(str, arguments), "--pattern", NUMBER]) == 0
    assert groups.read_text().splitlines() == [
        ",".join(GROUPS),
        "A/r1_a,1,name",
        "B/r1_b,1,name",
        "B/r2_a,2,single",
    ]
    assert len(rows(paths["output"] / "quarantine.csv")) == 2
    assert len(rows(paths["output"] / "manifest.csv")) == 3
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
    groups = grouped(distinct(*ids), "ut_interaction")
    assert len(groups) == 60
    assert {group for _, group, _ in groups} == {str(n) for n in range(1, 11)}


# --- pairs, and what sight may do -----------------------------------------------------------------


def test_clips_that_look_alike_share_a_group(files, capsys):
    """b and d have one signature; a and c the same file, e and a the same frames."""
    clips = [(f"{label}/{name}", name) for label, name in zip("AABBB", "abcde", strict=True)]
    clips[2] = ("B/c", "a")
    special = {"B/e": row("B/e")._replace(frames=row("A/a").frames)}
    arguments = files(clips, special=special, looks={"A/b": "one", "B/d": "one"})
    audit(**arguments)
    assert rows(arguments["output"] / "pairs.csv") == [
        ("A/a", "B/c", "content", "1.000", "yes"),
        ("A/a", "B/e", "frames", "1.000", "yes"),
        ("A/b", "B/d", "sight", "1.000", "yes"),
    ]
    assert rows(arguments["output"] / "groups.csv") == [
        ("A/a", "A/a", "content+frames"),
        ("A/b", "A/b", "sight"),
        ("B/c", "A/a", "content"),
        ("B/d", "A/b", "sight"),
        ("B/e", "A/a", "frames"),
    ]
    assert "1 pair of the same content; 1 pair of the same frames; 1 pair by sight: pairs.csv" in (
        capsys.readouterr().out
    )


def test_without_sight_look_alikes_are_only_listed(files, capsys):
    arguments = files([("A/b", "b"), ("B/d", "d")], looks={"A/b": "one", "B/d": "one"})
    audit(**arguments, sight=False)
    assert rows(arguments["output"] / "pairs.csv") == [("A/b", "B/d", "sight", "1.000", "no")]
    assert {group for _, group, _ in rows(arguments["output"] / "groups.csv")} == {"A/b", "B/d"}
    assert "1 pair alike but not joined: pairs.csv" in capsys.readouterr().out


def test_what_is_in_the_quarantine_is_in_no_pair(files):
    clips = [("A/b", "b"), ("A/x", "x"), ("B/d", "d")]
    arguments = files(clips, looks={"A/b": "one", "B/d": "one"})
    write_csv(arguments["faults"][0], QUARANTINE, [("A/b", "/clips/A/b", "bad")])
    audit(**arguments)
    assert (arguments["output"] / "pairs.csv").read_text() == ",".join(PAIRS) + "\n"


@pytest.mark.parametrize(
    ("agreeing", "differing", "trusted"),
    [(9, 1, True), (8, 2, False), (0, 9, True), (0, 10, False), (90, 10, True), (89, 11, False)],
)
def test_names_tell_whether_sight_can_be_trusted(agreeing, differing, trusted, capsys):
    pairs, names = [], {}
    for n in range(agreeing + differing):
        pairs.append((f"A/{n}", f"B/{n}", "sight", 0.9))
        names |= {f"A/{n}": f"{n}", f"B/{n}": f"{n}" if n < agreeing else "other"}
    # Neither of these counts: a name is missing; not sure; no matter of sight.
    pairs += [(f"A/{n}", "C/?", "sight", 0.9) for n in range(50)]
    pairs += [("A/0", f"B/{n}", "sight", 0.75) for n in range(1, 50)]
    pairs += [("A/0", f"B/{n}", "content", 1.0) for n in range(1, 50)]
    assert trusts_sight(pairs, names) == trusted
    told = capsys.readouterr().out
    assert told == "" if trusted else f"{differing} of {agreeing + differing} pairs" in told


def test_what_is_odd_about_groups_is_told_with_clips(files, capsys):
    clips = [(f"A/r1_{n}", f"a{n}") for n in range(7)] + [("B/r1_9", "b"), ("B/r2_0", "c")]
    clips += [("C/r3_0", "d"), ("C/r3_1", "e")]
    audit(**files(clips), pattern=NUMBER)
    assert capsys.readouterr().out.splitlines() == [
        "11 clips in 3 groups",
        "group '1' holds 8 of them: 'A/r1_0', 'A/r1_1', 'A/r1_2', 'A/r1_3', 'A/r1_4' and 3 more",
        "1 group of several classes: 'A/r1_0', 'A/r1_1', 'A/r1_2', 'A/r1_3', 'A/r1_4' and 3 more",
        "class 'A': all clips in one group, '1': 'A/r1_0', 'A/r1_1', 'A/r1_2', 'A/r1_3', 'A/r1_4'"
        " and 2 more",
        "class 'C': all clips in one group, '3': 'C/r3_0', 'C/r3_1'",
    ]
