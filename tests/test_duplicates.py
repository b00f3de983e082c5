"""Signatures of clips, and the near-duplicates told by them."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from noctact import duplicates
from noctact.duplicates import DOUBTFUL, JOINED, NEAR, Pair, candidates, near_duplicates, similarity
from noctact.errors import NoctactError
from noctact.sampling import by_index
from noctact.signatures import (
    COLUMNS,
    DARK,
    HEIGHT,
    MOMENTS,
    SETTINGS,
    WAVES,
    WIDTH,
    WINDOWS,
    Signature,
    Signatures,
    picture_area,
    separate,
    sign,
    spectra,
    writing,
)
from noctact.video import letterbox

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
ODD = np.arange(WAVES) % 2 == 1
SEEDS = st.integers(0, 2**32 - 1)


def signed(frames: list[Image]) -> Signature:
    """The signature of a clip of `frames` (height, width, 3)."""
    height, width = frames[0].shape[:2]
    indices = by_index("left", MOMENTS, len(frames))
    images = [letterbox(frames[index], SETTINGS.height, SETTINGS.width) for index in indices]
    return sign(np.stack(images), width, height)


def draw(seed: int, levels: tuple[int, int] = (30, 220)) -> Floats:
    """Grey levels (MOMENTS, HEIGHT, WIDTH) of three blobs that move before a smooth background."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    background = cv2.GaussianBlur(noise, (0, 0), 5, borderType=cv2.BORDER_REFLECT)
    scene = np.repeat(background[None] / background.std(), MOMENTS, axis=0)
    moments = np.linspace(0, 1, MOMENTS)[:, None, None]
    for _ in range(3):
        (y, x), (up, along) = rng.uniform((8, 8), (28, 40)), rng.normal(0, (3, 9))
        swing = rng.uniform(1, 4) * np.sin(rng.uniform(5, 20) * moments + rng.uniform(0, 6))
        down = np.arange(HEIGHT)[:, None] - y - up * (moments - 0.5) - swing
        across = np.arange(WIDTH) - x - along * (moments - 0.5)
        blob = np.exp(-(down**2 + across**2) / 2 / rng.uniform(1.5, 3.5) ** 2)
        scene += rng.choice([-3, 3]) * blob.astype(np.float32)
    return cv2.normalize(scene.ravel(), None, *levels, cv2.NORM_MINMAX).reshape(scene.shape)


def drawn(seed: int) -> Signature:
    """The signature of a drawing."""
    grays = np.rint(draw(seed)).astype(np.uint8)
    return signed([cv2.resize(cv2.merge([gray] * 3), (320, 240)) for gray in grays])


def plain(level: int, size: tuple[int, int] = (320, 240)) -> Image:
    """A frame of one grey level; `size` is (width, height)."""
    return np.full((size[1], size[0], 3), level, np.uint8)


def write(file: Path, signatures: dict[str, Signature]) -> Path:
    """A file of `signatures`."""
    with writing(file) as writer:
        for video_id, signature in signatures.items():
            writer.append(video_id, signature)
    return file


def parts(signature: Signature) -> tuple[Floats, Floats]:
    """Look and motion, as Signatures.read gives them."""
    return signature.look.astype(np.float32), signature.motion.astype(np.float32)


def cosine(one: Floats, other: Floats) -> float:
    """Of two arrays as vectors."""
    return float(np.vdot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def nearness(one: Signature, other: Signature) -> float:
    """The greatest cosine of two windows, mirrored or not."""
    first, second = (clip.windows.reshape(len(WINDOWS), -1) / np.sqrt(2) for clip in (one, other))
    turned = (other.windows * np.where(ODD, -1, 1)).reshape(len(WINDOWS), -1) / np.sqrt(2)
    return float(max((first @ second.T).max(), (first @ turned.T).max()))


def alike(one: Signature, other: Signature) -> float:
    """The similarity of two clips."""
    return similarity(parts(one), parts(other), nearness(one, other))


# Signatures


@pytest.mark.parametrize(
    ("width", "height", "rows", "columns"),
    [
        (640, 480, slice(0, 240), slice(0, 320)),
        (640, 240, slice(60, 180), slice(0, 320)),  # half the size, with 60 rows above and below
        (100, 240, slice(0, 240), slice(110, 210)),
        (32, 24, slice(0, 240), slice(0, 320)),  # ten times the size
        (32, 12, slice(60, 180), slice(0, 320)),
        (320, 235, slice(3, 237), slice(0, 320)),  # two and a half rows of padding: none is left
        (1, 1, slice(0, 240), slice(40, 280)),
        (2000, 3, slice(120, 121), slice(0, 320)),  # one row at least
    ],
)
def test_picture_area(width: int, height: int, rows: slice, columns: slice) -> None:
    assert picture_area((240, 320), width, height) == (rows, columns)


@given(width=st.integers(8, 700), height=st.integers(8, 700))
@settings(max_examples=30)
def test_padding_is_no_part_of_the_picture(width: int, height: int) -> None:
    image = letterbox(plain(200, (width, height)), 240, 320)
    area = image[picture_area((240, 320), width, height)]
    assert area.size
    # letterbox pads by whole pixels of the clip, which may be large.
    edge = 1 + int(np.ceil(1.5 * min(240 / height, 320 / width)))
    assert area[edge:-edge, edge:-edge].min(initial=200) == 200


def test_salt_and_brightness_by_hand() -> None:
    frame = plain(100)
    frame[5::10, 5::10] = 255  # 1 pixel of 100
    signature = signed([frame] * MOMENTS)
    assert signature.salt == pytest.approx(0.01)
    assert signature.brightness == pytest.approx(101.55)


def test_salt_of_a_small_clip_is_that_of_its_own_pixels() -> None:
    frame = plain(50, (80, 60))
    frame[5::10, 5::10] = 255
    signature = signed([frame] * MOMENTS)
    assert signature.salt == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize(("level", "salt"), [(140, 0), (141, 0.01)])
def test_salt_sticks_out_by_more_than_40_levels(level: int, salt: float) -> None:
    frame = plain(100)
    frame[5::10, 5::10] = level
    assert signed([frame] * MOMENTS).salt == pytest.approx(salt)


def test_shapes_types_and_ranges() -> None:
    signature = drawn(1)
    for name, (shape, dtype) in COLUMNS.items():
        value = np.asarray(getattr(signature, name))
        assert value.shape == shape
        assert value.dtype == (dtype if shape else np.float64)  # numbers are Python's own
        assert np.isfinite(value).all()
    assert np.abs(signature.motion.astype(int)).max() == 127
    assert signature.look.min() >= 0
    assert signature.look.max() <= 1
    norms = np.linalg.norm(signature.windows.reshape(len(WINDOWS), 2, -1), axis=2)
    np.testing.assert_allclose(norms, 1, atol=1e-3)
    assert not signature.windows[:, :, 0, 0].any()  # the mean


@given(seed=SEEDS)
@settings(max_examples=10)
def test_a_mirror_negates_the_odd_columns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    look, motion = (
        rng.random(shape, np.float32) for shape in ((HEIGHT, WIDTH), (4, HEIGHT, WIDTH))
    )
    mirrored = spectra(look[:, ::-1].copy(), motion[:, :, ::-1].copy())
    # The window at the left is the one at the right of the mirrored clip.
    order = [WINDOWS.index((y, {0.0: 0.15, 0.15: 0}.get(x, x), 0.85)) for y, x, _ in WINDOWS[1:]]
    expected = spectra(look, motion)[[0, *order]] * np.where(ODD, -1, 1)
    np.testing.assert_allclose(mirrored, expected, atol=1e-4)


@given(seed=SEEDS, gamma=st.floats(0.5, 2))
@settings(max_examples=10)
def test_gamma_changes_little(seed: int, gamma: float) -> None:
    # Bright enough for DARK, which is added to the grey levels, to weigh little.
    scene = draw(seed, (60, 250))
    look, motion = separate(scene)
    other_look, other_motion = separate(255 * (scene / 255) ** np.float32(gamma))
    assert cosine(spectra(look, motion), spectra(other_look, other_motion)) > 0.998
    assert cosine(look - look.mean(), other_look - other_look.mean()) > 0.998
    assert cosine(motion, other_motion) > 0.998


def test_flicker_is_no_motion() -> None:
    scene = draw(1, (60, 200))
    factors = np.where(np.arange(MOMENTS) % 8, 1, 1.1).astype(np.float32)[:, None, None]
    _, motion = separate(scene)
    # The same factor everywhere, DARK included: their logarithms add the same to each pixel.
    _, flickering = separate((scene + DARK) * factors - DARK)
    assert cosine(motion, flickering) > 0.95


# Files of signatures


def test_round_trip(tmp_path: Path) -> None:
    made = {f"a/{seed}": drawn(seed) for seed in range(3)}
    first = write(tmp_path / "0.h5", {"a/0": made["a/0"]})
    second = write(tmp_path / "1.h5", {name: made[name] for name in ("a/1", "a/2")})
    signatures = Signatures([first, write(tmp_path / "none.h5", {}), second])
    assert signatures.video_ids == list(made)
    for place, signature in enumerate(made.values()):
        np.testing.assert_array_equal(signatures.windows[place], signature.windows)
        assert signatures.brightness[place] == np.float32(signature.brightness)
        assert signatures.salt[place] == np.float32(signature.salt)
        for read, written in zip(signatures.read(place), parts(signature), strict=True):
            assert read.dtype == np.float32
            np.testing.assert_array_equal(read, written)


def cut(file: Path) -> None:
    """Leave half of the file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def be_text(file: Path) -> None:
    """Put a text in its place."""
    file.write_text("no signatures")


@pytest.mark.parametrize("damage", [cut, be_text, Path.unlink])
def test_a_damaged_file_is_named(damage: Callable[[Path], None], tmp_path: Path) -> None:
    file = write(tmp_path / "0.h5", {"a": drawn(0)})
    damage(file)
    with pytest.raises(NoctactError, match=r"0\.h5: not a shard, or damaged"):
        near_duplicates([file])


def test_damage_that_shows_in_reading_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "0.h5", {"a": drawn(0)})
    signatures = Signatures([file])
    content = bytearray(file.read_bytes())
    offset = signatures._open[file]["motion"].id.get_chunk_info(0).byte_offset
    content[offset : offset + 2000] = b"\xff" * 2000
    file.write_bytes(content)
    with pytest.raises(NoctactError, match=r"0\.h5: not a shard, or damaged"):
        Signatures([file]).read(0)


# Candidates


def brute_force(windows: Floats) -> dict[tuple[int, int], float]:
    """The candidates by the cosines of the whole of each clip and all windows of each other."""
    clips = len(windows)
    rows = windows.reshape(clips, len(WINDOWS), -1) / np.sqrt(2)
    turned = (windows * np.where(ODD, -1, 1)).reshape(rows.shape) / np.sqrt(2)
    found = {}
    for one in range(clips):
        for other in range(one + 1, clips):
            best = max(
                (some[a][:1] @ rows[b].T).max()
                for some in (rows, turned)
                for a, b in ((one, other), (other, one))
            )
            if best >= NEAR:
                found[one, other] = float(best)
    return found


@given(seed=SEEDS)
@settings(max_examples=20)
def test_candidates_are_those_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few clips, so that neither NEIGHBOURS nor the windows found at once are too few. Some are made
    # of others: windows changed a little, some mirrored.
    windows = rng.standard_normal((10, len(WINDOWS), 2, WAVES, WAVES))
    for one, other in rng.integers(10, size=(5, 2)):
        noise = rng.standard_normal(windows.shape[1:]) * rng.uniform(0, 1.2)
        windows[one] = (windows[other] + noise) * np.where(ODD & rng.integers(2), -1, 1)
    windows /= np.linalg.norm(windows, axis=(3, 4), keepdims=True)
    found = candidates(windows.astype(np.float32))
    expected = brute_force(windows)
    assert [pair[:2] for pair in found] == sorted(expected)
    np.testing.assert_allclose(
        [pair[2] for pair in found], [*map(expected.get, sorted(expected))], atol=1e-5
    )


def test_a_clip_has_no_more_candidates_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "NEIGHBOURS", 2)
    rng = np.random.default_rng(0)
    base = rng.standard_normal((1, len(WINDOWS), 2, WAVES, WAVES))
    windows = base + 0.1 * rng.standard_normal((30, *base.shape[1:]))
    windows /= np.linalg.norm(windows, axis=(3, 4), keepdims=True)
    # Without the limit all 435 pairs.
    assert 30 <= len(candidates(windows.astype(np.float32))) <= 30 * 2


def test_the_nearest_of_a_pair_counts() -> None:
    rng = np.random.default_rng(0)
    window = rng.standard_normal((2, WAVES, WAVES)) * np.where(ODD, 0.2, 1)
    window /= np.linalg.norm(window, axis=(1, 2), keepdims=True)
    # Two clips that are the same, and nearly so when one is mirrored.
    windows = np.tile(window.astype(np.float32), (2, len(WINDOWS), 1, 1, 1))
    assert candidates(windows) == [(0, 1, pytest.approx(1))]


# Similarity


@given(seeds=st.tuples(SEEDS, SEEDS))
@settings(max_examples=10)
def test_similarity_is_a_correlation(seeds: tuple[int, int]) -> None:
    one, other = map(drawn, seeds)
    assert -1 <= alike(one, other) <= 1 + 1e-6
    # One is laid over the other, in steps of scale and place; not the other over the one.
    assert alike(one, other) == pytest.approx(alike(other, one), abs=0.15)
    assert alike(one, one) > 0.99


def test_nearness_is_a_quarter_of_the_similarity() -> None:
    one, other = parts(drawn(1)), parts(drawn(1))
    assert similarity(one, other, 1) == pytest.approx(1, abs=0.01)
    assert similarity(one, other, 1) - similarity(one, other, 0.8) == pytest.approx(0.05)


def constant(level: int) -> Signature:
    """The signature of a clip in which nothing is to be seen."""
    return signed([plain(level)] * MOMENTS)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_constant_clip_is_like_no_other(level: int) -> None:
    empty, other = constant(level), drawn(1)
    for value in empty:
        assert np.isfinite(value).all()
    for one, second in ((empty, other), (other, empty), (empty, empty)):
        assert np.isfinite(alike(one, second))
    assert alike(empty, other) < DOUBTFUL
    assert alike(other, empty) < DOUBTFUL


def test_constant_clips_pair_with_themselves_at_most(tmp_path: Path) -> None:
    made = {f"empty{level}": constant(level) for level in (0, 1, 128, 255)}
    made |= {f"drawn{seed}": drawn(seed) for seed in (1, 2, 1)} | {"again": drawn(1)}
    video_ids, pairs = near_duplicates([write(tmp_path / "0.h5", made)])
    named = {(video_ids[pair.one], video_ids[pair.other]) for pair in pairs}
    assert ("drawn1", "again") in named
    assert all(one.startswith("empty") == other.startswith("empty") for one, other in named)


# Near-duplicates


def test_threads_and_runs_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        write(tmp_path / f"{number}.h5", {f"{number}/{seed}": drawn(seed) for seed in seeds})
        for number, seeds in enumerate([(1, 2, 3), (3, 1, 4)])
    ]
    once = near_duplicates(files)
    assert {(pair.one, pair.other) for pair in once[1]} >= {(0, 4), (2, 3)}
    assert near_duplicates(files) == once
    monkeypatch.setattr(duplicates, "FEW", 0)
    assert near_duplicates(files, threads=2) == once


def test_no_clips_and_one(tmp_path: Path) -> None:
    assert near_duplicates([write(tmp_path / "one.h5", {"a": drawn(0)})]) == (["a"], [])


def test_pairs_are_those_above_the_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = [(0, 1, 0.8), (0, 2, 1.0), (1, 2, 0.8)]
    monkeypatch.setattr(duplicates, "candidates", lambda *_: everything)
    made = {"a": drawn(1), "b": drawn(2), "c": drawn(1)}
    _, pairs = near_duplicates([write(tmp_path / "0.h5", made)])
    assert [pair[:2] for pair in pairs] == [(0, 2)]
    assert isinstance(pairs[0], Pair)
    assert pairs[0].similarity > 0.99


# Real clips


@pytest.fixture(scope="module")
def hug(data: Path) -> list[Image]:
    """The frames of a real clip."""
    return decode(data / "ut_interaction_set1" / "hug" / "10_2_1.avi")


def decode(clip: Path) -> list[Image]:
    """All frames of `clip`, a quarter of the area to be quick."""
    with av.open(clip) as container:
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [cv2.resize(frame, None, fx=0.5, fy=0.5) for frame in frames]


def darkened(frames: list[Image]) -> list[Image]:
    """Gamma 2, and salt on 3 % of the pixels."""
    rng = np.random.default_rng(0)
    tones = np.rint(255 * (np.arange(256) / 255) ** 2).astype(np.uint8)
    result = [tones[frame] for frame in frames]
    for frame in result:
        frame[rng.random(frame.shape[:2]) < 0.03] = 255
    return result


def cropped(frames: list[Image]) -> list[Image]:
    """85 % of width and height, off the middle."""
    height, width = frames[0].shape[:2]
    rows, columns = (slice(int(0.1 * size), int(0.95 * size)) for size in (height, width))
    return [frame[rows, columns] for frame in frames]


CHANGES: dict[str, Callable[[list[Image]], list[Image]]] = {
    "itself": list,
    "mirrored": lambda frames: [frame[:, ::-1] for frame in frames],
    "cropped": cropped,
    "trimmed": lambda frames: frames[len(frames) // 10 : -len(frames) // 10],
    "half the size": lambda frames: [cv2.resize(frame, None, fx=0.5, fy=0.5) for frame in frames],
    "darkened": darkened,
    "all": lambda frames: darkened(cropped([frame[:, ::-1] for frame in frames[4:-4]])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_siblings_of_a_real_clip_are_joined(change: str, hug: list[Image]) -> None:
    one, other = signed(hug), signed(CHANGES[change](hug))
    assert nearness(one, other) >= NEAR
    assert alike(one, other) >= JOINED
    assert alike(other, one) >= JOINED


@pytest.mark.parametrize("name", ["hug/14_3_1.avi", "kick/1_1_2.avi"])
def test_another_recording_is_not(name: str, hug: list[Image], data: Path) -> None:
    other = signed(decode(data / "ut_interaction_set1" / name))
    assert alike(signed(hug), other) < DOUBTFUL
    assert alike(signed(darkened(hug)), other) < DOUBTFUL
