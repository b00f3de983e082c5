"""Batches of clips for training and prediction, read from the shards as they are needed."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from noctact.shards import Shards


class Batches(keras.utils.PyDataset):
    """Batches (frames, classes) of clips; memory does not grow with the number of clips.

    frames: uint8 (clips, count, height, width, 3); classes: float32 (clips, classes), one-hot.
    With a `seed` the clips are shuffled anew for each epoch, by seed and epoch alone: the order
    does not depend on the shards.
    """

    def __init__(
        self,
        shards: Shards,
        video_ids: Sequence[str],
        targets: Sequence[int],
        classes: int,
        batch_size: int,
        seed: int | None = None,
    ) -> None:
        """`targets` are the class numbers of `video_ids`, 0 to `classes` - 1."""
        # Two batches wait ready: reading keeps ahead of the step, and memory stays small.
        super().__init__(workers=1, max_queue_size=2)
        self._shards = shards
        self._video_ids = list(video_ids)
        self._one_hot = np.eye(classes, dtype="float32")[list(targets)]
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0
        self._order = self._epoch_order()

    def _epoch_order(self) -> NDArray[np.int64]:
        order = np.arange(len(self._video_ids))
        if self._seed is None:
            return order
        return np.random.default_rng((self._seed, self._epoch)).permutation(order)

    def __len__(self) -> int:
        """Batches an epoch; the last one may be smaller."""
        return -(-len(self._video_ids) // self._batch_size)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Batch `number` of the present epoch."""
        start = number * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        return self._shards.read([self._video_ids[i] for i in chosen]), self._one_hot[chosen]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch; Keras calls this."""
        self._epoch += 1
        self._order = self._epoch_order()
