"""Batches of clips for training and prediction, read from the shards ahead of their use."""

import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from noctact.augment import UNCHANGED, Augmentation, augment
from noctact.errors import NoctactError
from noctact.shards import Shards

# frames, targets, weights: `Batches.epoch` says more.
Batch = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32] | None]

AHEAD = 2  # batches that wait ready: reading keeps ahead of the step, and memory stays small


def smoothed(
    targets: NDArray[np.int64], classes: int, label_smoothing: float
) -> NDArray[np.float32]:
    """One-hot rows y of the class numbers `targets`, smoothed: y (1 - s) + s / classes.

    float32 (clips, classes); each row adds up to 1.
    """
    one_hot = np.eye(classes)[targets]
    return (one_hot * (1 - label_smoothing) + label_smoothing / classes).astype(np.float32)


def balanced(targets: NDArray[np.int64]) -> NDArray[np.float32]:
    """A weight for each clip, by its class c: n / (k n_c), as scikit-learn's 'balanced'.

    n clips, of which n_c are of class c, and k classes that occur. float32 (clips,); their mean
    is 1.
    """
    counts = np.bincount(targets)
    return (len(targets) / (np.count_nonzero(counts) * counts[targets])).astype(np.float32)


class Batches:
    """Batches of clips, epoch by epoch; memory does not grow with the number of clips.

    `waited` is the seconds that the consumers of `epoch` have waited for a batch, so far.
    """

    def __init__(
        self,
        shards: Shards,
        video_ids: Sequence[str],
        targets: Sequence[int],
        classes: int,
        batch_size: int,
        *,
        seed: int | None = None,
        augmentation: Augmentation = UNCHANGED,
        label_smoothing: float = 0.0,
        class_weights: bool = False,
    ) -> None:
        """`targets` are the class numbers of `video_ids`, 0 to `classes` - 1.

        With a `seed` the clips are shuffled for each epoch. `label_smoothing` (0 to 1) is that of
        `smoothed`, `class_weights` are those of `balanced`. Raises NoctactError for an
        `augmentation` without a seed.
        """
        if any(augmentation) and seed is None:
            raise NoctactError("augmentation needs a seed")
        self._shards = shards
        self._video_ids = list(video_ids)
        numbers = np.array(targets, np.int64)
        self._targets = smoothed(numbers, classes, label_smoothing)
        self._weights = balanced(numbers) if class_weights else None
        self._batch_size = batch_size
        self._seed = seed
        self._augmentation = augmentation
        self.waited = 0.0

    def __len__(self) -> int:
        """Batches an epoch; the last one may be smaller."""
        return -(-len(self._video_ids) // self._batch_size)

    def epoch(self, number: int = 0) -> Generator[Batch, None, None]:
        """The batches of epoch `number`: each clip once, read by a thread ahead of their use.

        frames: uint8 (clips, count, height, width, 3); targets: float32 (clips, classes); weights:
        float32 (clips,), or None without `class_weights`. The order comes from seed and epoch
        alone, and the augmentation of a clip from these and its place in `video_ids`: neither
        depends on the shards, nor on the epochs before. At most two batches wait beside the one in
        use. The thread ends with the generator, so close it when you leave early. Raises
        NoctactError as `Shards.read` does.
        """
        order = self._order(number)
        parts = (
            order[start : start + self._batch_size]
            for start in range(0, len(order), self._batch_size)
        )
        reader = ThreadPoolExecutor(1, "batches")
        reading = (reader.submit(self._read, number, part) for part in parts)
        try:
            waiting = deque(islice(reading, AHEAD))
            while waiting:
                waiting.extend(islice(reading, 1))
                # No name for the batch here: it would keep the last one in memory.
                yield self._wait(waiting.popleft())
        finally:
            reader.shutdown(cancel_futures=True)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = np.arange(len(self._video_ids))
        return order if self._seed is None else self._random(epoch).permutation(order)

    def _random(self, *key: int) -> np.random.Generator:
        """A stream of its own for each `key`: (epoch,) for the order, (epoch, place) for a clip."""
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _read(self, epoch: int, chosen: NDArray[np.int64]) -> Batch:
        frames = self._shards.read([self._video_ids[place] for place in chosen])
        if any(self._augmentation):
            for clip, place in zip(frames, chosen, strict=True):
                augment(clip, self._augmentation, self._random(epoch, int(place)))
        weights = None if self._weights is None else self._weights[chosen]
        return frames, self._targets[chosen], weights

    def _wait(self, future: Future[Batch]) -> Batch:
        began = time.perf_counter()
        try:
            return future.result()
        finally:
            self.waited += time.perf_counter() - began
