"""Batches of clips: order, augmentation, targets and weights, reading ahead, the cache, digests."""

import fcntl
import hashlib
import threading
import time
import weakref
from itertools import pairwise

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from noctact.augment import Augmentation, augment
from noctact.batches import Batches
from noctact.errors import NoctactError
from noctact.shards import ClipFrames, Shards, read_columns, write_shard

SHAPE = (2, 3, 4)
N = 11
NAMES = [f"Walk/ü{i}.mp4" for i in range(N)]
ALL = Augmentation(mirror=True, brightness=0.5, salt=0.5)


def noise(n, shape=SHAPE):
    """Frames of `n` clips; too random for the shard to make some smaller than others."""
    return np.random.default_rng(0).integers(0, 256, (n, *shape, 3), np.uint8)


FRAMES = noise(N)


def write(file, names, clips):
    count, height, width = clips[0].shape[:3]
    facts = (range(count), [0.0] * count, count, 0, "whole", width, height, 1.0)
    rows = [
        ClipFrames(name, "Walk", frames, *facts) for name, frames in zip(names, clips, strict=True)
    ]
    write_shard(file, rows, (count, height, width), {})
    return file


def chunks(file):
    """(offset, size) of the frames of each clip in `file`."""
    with h5py.File(file) as shard:
        infos = [shard["frames"].id.get_chunk_info(row) for row in range(len(shard["frames"]))]
    return [(info.byte_offset, info.size) for info in infos]


def overwrite(file, offset, data):
    with file.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """All clips in one shard."""
    return Shards([write(tmp_path_factory.mktemp("one") / "all.h5", NAMES, FRAMES)])


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The same in three, backwards."""
    folder = tmp_path_factory.mktemp("three")
    parts = [slice(None, None, -3), slice(-2, None, -3), slice(-3, None, -3)]
    files = [write(folder / f"{n}.h5", NAMES[p], FRAMES[p]) for n, p in enumerate(parts)]
    return Shards(files)


def batches(shards, batch_size=4, **options):
    """Batches of all clips; each is a class of its own."""
    return Batches(shards, NAMES, range(N), N, batch_size, **options)


def order(epoch):
    """The numbers of the clips, as they come."""
    return [int(number) for _, targets, _ in epoch for number in targets.argmax(axis=1)]


def by_clip(epoch):
    """The frames by the number of the clip."""
    return {
        int(number): clip.tolist()
        for frames, targets, _ in epoch
        for number, clip in zip(targets.argmax(axis=1), frames, strict=True)
    }


# --- locks ----------------------------------------------------------------------------------------


def test_shards_are_read_and_written_without_locks(tmp_path):
    """As where the file system has none; here somebody else has the lock."""
    file = tmp_path / "shard.h5"
    file.touch()
    with file.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        write(file, NAMES, FRAMES)
        np.testing.assert_array_equal(Shards([file]).read(NAMES), FRAMES)
        assert list(read_columns(file, ["video_id"])["video_id"]) == NAMES


# --- what comes, and in which order ---------------------------------------------------------------


def test_without_a_seed_the_clips_come_as_they_are_given(one):
    given_order = batches(one)
    assert len(given_order) == 3
    for number in (0, 1):
        parts = list(given_order.epoch(number))
        assert [len(frames) for frames, _, _ in parts] == [4, 4, 3]
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), FRAMES)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), np.eye(N))
        assert [part[2] for part in parts] == [None, None, None]
        assert {(part[0].dtype, part[1].dtype) for part in parts} == {
            (np.dtype(np.uint8), np.dtype(np.float32))
        }


@given(
    chosen=st.lists(st.sampled_from(range(N)), unique=True),
    size=st.integers(1, 13),
    seed=st.none() | st.integers(0, 2**40),
    number=st.integers(0, 1000),
)
def test_each_clip_comes_once_an_epoch_with_its_own_frames(one, chosen, size, seed, number):
    names = [NAMES[i] for i in chosen]
    some = Batches(one, names, chosen, N, size, seed=seed, class_weights=True)
    parts = list(some.epoch(number))
    assert len(parts) == len(some)
    assert all(len(frames) == size for frames, _, _ in parts[:-1])
    assert all(len(frames) == len(targets) == len(weights) for frames, targets, weights in parts)
    assert sorted(order(parts)) == sorted(chosen)
    assert by_clip(parts) == {clip: FRAMES[clip].tolist() for clip in chosen}


def test_the_order_is_that_of_seed_and_epoch_alone(one, three):
    first = [order(batches(one, seed=7).epoch(number)) for number in range(4)]
    assert all(a != b for i, a in enumerate(first) for b in first[:i])
    assert order(batches(one, seed=8).epoch(0)) not in first
    again = batches(three, batch_size=3, seed=7)
    for number in (3, 0, 0, 2, 1):
        assert order(again.epoch(number)) == first[number]


# --- targets and weights --------------------------------------------------------------------------


def test_smoothing_takes_from_the_class_and_gives_to_all(one):
    smooth = Batches(one, NAMES[:2], [2, 0], 3, 2, label_smoothing=0.3)
    ((_, targets, _),) = smooth.epoch()
    np.testing.assert_allclose(targets, [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]], rtol=1e-6)


def test_weights_make_all_classes_that_occur_count_alike(one):
    weighted = Batches(one, NAMES[:4], [0, 0, 3, 0], 5, 3, class_weights=True)
    (_, _, first), (_, _, last) = weighted.epoch()
    # 4 clips of 2 classes: 4 / (2 * 3) and 4 / (2 * 1)
    np.testing.assert_allclose(first, [2 / 3, 2 / 3, 2], rtol=1e-6)
    np.testing.assert_allclose(last, [2 / 3], rtol=1e-6)
    assert first.dtype == np.float32


@given(st.lists(st.integers(0, 5), min_size=N, max_size=N), st.integers(0, 99))
def test_weights_are_those_of_scikit_learn_and_stay_with_their_clips(one, classes, seed):
    weighted = Batches(one, NAMES, classes, 6, 4, seed=seed, class_weights=True)
    for _, targets, weights in weighted.epoch():
        expected = dict(zip(classes, compute_sample_weight("balanced", classes), strict=True))
        np.testing.assert_allclose(weights, [expected[i] for i in targets.argmax(1)], rtol=1e-6)


# --- augmentation ---------------------------------------------------------------------------------


def changed(frames, seed, **augmentation):
    """A copy of `frames`, augmented."""
    return augment(frames.copy(), Augmentation(**augmentation), np.random.default_rng(seed))


def test_a_clip_is_mirrored_as_a_whole_or_not_at_all():
    outcomes = [changed(FRAMES[0], seed, mirror=True) for seed in range(200)]
    mirrored = [np.array_equal(frames, FRAMES[0][:, :, ::-1]) for frames in outcomes]
    same = [np.array_equal(frames, FRAMES[0]) for frames in outcomes]
    assert sum(mirrored) + sum(same) == 200
    assert 70 < sum(mirrored) < 130  # 4 standard deviations are 28


def test_brightness_is_one_factor_a_clip_within_its_bounds():
    # Each frame holds all values, in an order of its own.
    random = np.random.default_rng(1)
    frames = np.stack([random.permutation(256).reshape(16, 16) for _ in range(3)])
    frames = frames.astype(np.uint8)[..., None].repeat(3, axis=-1)
    factors = []
    for seed in range(100):
        bright = changed(frames, seed, brightness=0.4).astype(float)
        below = (bright < 255) & (frames > 0)
        low = ((bright - 0.5)[below] / frames[below]).max()
        high = ((bright + 0.5)[below] / frames[below]).min()
        assert 0.6 - 0.01 < low <= high < 1.4 + 0.01  # some factor makes all these values
        assert (bright[~below & (frames > 0)] >= 255).all()
        assert (bright[frames == 0] == 0).all()
        assert (frames[bright == 255] * high >= 254.5).all()
        factors.append((low + high) / 2)
    assert min(factors) < 0.65
    assert max(factors) > 1.35
    assert 0.9 < np.mean(factors) < 1.1


def test_salt_makes_whole_pixels_white_in_each_frame_anew():
    frames = np.full((4, 50, 60, 3), 10, np.uint8)
    shares = []
    for seed in range(100):
        salted = changed(frames, seed, salt=0.4)
        white = (salted == 255).all(axis=-1)
        assert (salted[~white] == 10).all()
        in_each = white.mean(axis=(1, 2))
        # One probability a clip: 3,000 pixels a frame hold it to 0.009, one standard deviation.
        assert np.ptp(in_each) < 0.05
        if white.any():
            assert all((a != b).any() for a, b in pairwise(white))
        shares.append(white.mean())
    assert max(shares) < 0.42
    assert max(shares) > 0.35
    assert min(shares) < 0.05
    assert 0.15 < np.mean(shares) < 0.25


def test_what_is_off_draws_nothing_and_changes_nothing():
    frames, random = FRAMES[0].copy(), np.random.default_rng(5)
    assert augment(frames, Augmentation(), random) is frames
    np.testing.assert_array_equal(frames, FRAMES[0])
    assert random.random() == np.random.default_rng(5).random()


def test_augmentation_is_that_of_seed_epoch_and_clip_alone(one, three):
    options = {"seed": 3, "augmentation": ALL}
    first = by_clip(batches(one, 4, **options).epoch(2))
    assert by_clip(batches(three, 1, **options).epoch(2)) == first
    assert by_clip(batches(one, 50, **options).epoch(2)) == first
    for seed, number in ((3, 1), (4, 2)):
        other = by_clip(batches(one, 4, **(options | {"seed": seed})).epoch(number))
        assert sum(other[i] != first[i] for i in range(N)) > N / 2


def test_clips_are_augmented_differently_though_they_are_the_same(one):
    same = Batches(one, NAMES[:1] * 8, [0] * 8, 1, 8, seed=0, augmentation=ALL)
    ((frames, _, _),) = same.epoch()
    assert len({clip.tobytes() for clip in frames}) > 4


def test_augmentation_does_not_change_the_order(one):
    plain = order(batches(one, seed=3).epoch(5))
    assert order(batches(one, seed=3, augmentation=ALL).epoch(5)) == plain


def test_augmentation_without_a_seed_is_an_error(one):
    with pytest.raises(NoctactError, match="augmentation needs a seed"):
        batches(one, augmentation=Augmentation(mirror=True))


# --- reading ahead --------------------------------------------------------------------------------


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def wait_until(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


class Watched(Shards):
    """Shards that know what they have read, and what of it is still in memory."""

    def __init__(self, files):
        super().__init__(files)
        self.batches = []

    def read(self, video_ids):
        batch = super().read(video_ids)
        self.batches.append(weakref.ref(batch))
        return batch

    def alive(self):
        return sum(batch() is not None for batch in self.batches)


def test_two_batches_wait_beside_the_one_in_use_and_no_more(tmp_path):
    shards = Watched([write(tmp_path / "shard.h5", NAMES, FRAMES)])
    for number, _batch in enumerate(batches(shards, 1).epoch()):
        wait_until(lambda number=number: len(shards.batches) >= min(number + 3, N))
        assert len(shards.batches) == min(number + 3, N)
        assert shards.alive() <= 3
    del _batch
    wait_until(lambda: shards.alive() == 0)


def test_a_batch_that_was_dropped_is_not_kept(tmp_path):
    shards = Watched([write(tmp_path / "shard.h5", NAMES, FRAMES)])
    epoch = batches(shards, 1).epoch()
    next(epoch)
    wait_until(lambda: len(shards.batches) == 3)
    assert shards.alive() == 2
    epoch.close()


def test_the_thread_ends_with_the_epoch_and_when_it_is_closed(one):
    epoch = batches(one, 1).epoch()
    assert readers() == []
    next(epoch)
    assert len(readers()) == 1
    epoch.close()
    assert readers() == []
    assert len(list(batches(one, 1).epoch())) == N
    assert readers() == []


def test_a_damaged_shard_is_an_error_where_the_batch_would_come(tmp_path):
    file = write(tmp_path / "shard.h5", NAMES, FRAMES)
    offset, size = chunks(file)[5]
    overwrite(file, offset, bytes(size))
    epoch = batches(Shards([file]), 2).epoch()
    assert len(next(epoch)[0]) == len(next(epoch)[0]) == 2
    with pytest.raises(NoctactError, match=r"shard\.h5: not a shard, or damaged .*delete it"):
        next(epoch)
    assert readers() == []


def test_a_flipped_bit_is_an_error(tmp_path):
    file = write(tmp_path / "shard.h5", NAMES, FRAMES)
    offset, size = chunks(file)[5]
    byte = file.read_bytes()[offset + size - 1]
    overwrite(file, offset + size - 1, bytes([byte ^ 1]))
    shards = Shards([file])
    np.testing.assert_array_equal(shards.read(NAMES[:5]), FRAMES[:5])
    with pytest.raises(NoctactError, match=r"damaged \(the frames of .* checksum\); delete it"):
        shards.read([NAMES[5]])


def test_a_clip_that_is_in_no_shard_is_an_error(one):
    absent = Batches(one, [NAMES[0], "Walk/none.mp4"], [0, 0], 1, 1)
    with pytest.raises(NoctactError, match=r"Walk/none\.mp4: not in the shards"):
        list(absent.epoch())
    assert readers() == []


def test_the_time_waited_is_of_the_consumer_over_all_epochs(one):
    waiting, began = batches(one, 1), time.perf_counter()
    seen = [waiting.waited]
    for number in (0, 1):
        list(waiting.epoch(number))
        seen.append(waiting.waited)
    assert seen[0] == 0
    assert 0 < seen[1] < seen[2] < time.perf_counter() - began


# --- the cache, and what the shards say of their content ------------------------------------------


@pytest.mark.parametrize(("cache_mb", "kept"), [(0, 0), (1, 6), (2, 8)])
def test_the_cache_keeps_the_first_clips_up_to_its_limit(tmp_path, cache_mb, kept):
    clips = noise(8, (5, 100, 100))  # 150,000 bytes each: six are 0.9 MB
    file = write(tmp_path / "shard.h5", NAMES[:8], clips)
    places = chunks(file)
    shards = Shards([file], cache_mb)
    come = [6, 0, 6, 7, 2, 1, 4, 3, 5]
    for numbers in (come[:3], come[3:]):
        frames = shards.read([NAMES[i] for i in numbers])
        np.testing.assert_array_equal(frames, clips[numbers])
        frames[:] = 0  # the cache has its own
    # From here on the file holds the frames of the last clip in all places.
    offset, size = places[7]
    last = file.read_bytes()[offset : offset + size]
    for offset, other in places:
        assert other == size
        overwrite(file, offset, last)
    first_come = list(dict.fromkeys(come))
    for rank, i in enumerate(first_come):
        expected = clips[i] if rank < kept else clips[7]
        np.testing.assert_array_equal(shards.read([NAMES[i]])[0], expected)


def test_epochs_from_the_cache_are_those_from_the_file(tmp_path, one):
    file = write(tmp_path / "shard.h5", NAMES, FRAMES)
    cached = Shards([file], cache_mb=1)
    options = {"seed": 3, "augmentation": ALL}
    for number in (0, 1, 0):
        expected = by_clip(batches(one, **options).epoch(number))
        assert by_clip(batches(cached, **options).epoch(number)) == expected


def test_the_digest_is_of_names_and_frames_in_their_order(one, three):
    text = b"".join(
        hashlib.sha256(FRAMES[i].tobytes()).hexdigest().encode() + NAMES[i].encode() + b"\0"
        for i in (4, 0)
    )
    expected = hashlib.sha256(text).hexdigest()
    assert one.digest([NAMES[4], NAMES[0]]) == expected
    assert three.digest([NAMES[4], NAMES[0]]) == expected
    assert one.digest(NAMES) == three.digest(NAMES)
    assert one.digest([NAMES[0], NAMES[4]]) != expected
    assert one.digest([NAMES[4], NAMES[1]]) != expected
    assert one.digest([NAMES[4]]) != expected
    with pytest.raises(NoctactError, match=r"Walk/none\.mp4: not in the shards"):
        one.digest(["Walk/none.mp4"])


def test_the_digest_changes_with_one_value_or_name(tmp_path, one):
    other = FRAMES.copy()
    other[3, 1, 2, 3, 0] ^= 1
    values = Shards([write(tmp_path / "values.h5", NAMES, other)])
    assert values.digest(NAMES) != one.digest(NAMES)
    rest = NAMES[:3] + NAMES[4:]
    assert values.digest(rest) == one.digest(rest)
    renamed = ["run/a.mp4", *NAMES[1:]]
    names = Shards([write(tmp_path / "names.h5", renamed, FRAMES)])
    assert names.digest(renamed) != one.digest(NAMES)


def test_the_digest_reads_no_frames(tmp_path, one):
    file = write(tmp_path / "shard.h5", NAMES, FRAMES)
    for offset, size in chunks(file):
        overwrite(file, offset, bytes(size))
    assert Shards([file]).digest(NAMES) == one.digest(NAMES)


@pytest.mark.parametrize("change", ["without hashes", "too few"])
def test_a_shard_of_before_the_hashes_is_to_be_made_again(tmp_path, change):
    file = write(tmp_path / "shard.h5", NAMES, FRAMES)
    with h5py.File(file, "r+") as shard:
        hashes = shard["sha256"][:-1]
        del shard["sha256"]
        if change == "too few":
            shard.create_dataset("sha256", data=hashes, dtype=h5py.string_dtype())
    with pytest.raises(NoctactError, match=r"shard\.h5: not a shard, or damaged .*run again"):
        Shards([file])
