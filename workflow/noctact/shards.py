"""The HDF5 shards: frames of clips as uint8, one chunk a clip, written once, read in batches."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from noctact.errors import NoctactError


class ClipFrames(NamedTuple):
    """One row of a shard: `frames` is uint8 (count, height, width, 3), RGB."""

    video_id: str
    label: str
    frames: NDArray[np.uint8]
    frame_index: Sequence[int]
    n_decoded: int


def write_shard(
    file: Path, rows: Iterable[ClipFrames], shape: tuple[int, int, int], attributes: dict[str, str]
) -> None:
    """Write `rows`, one at a time, to `file`; `shape` is (count, height, width) of the frames.

    Memory holds one clip, whatever the number of clips.
    """
    count = shape[0]
    text = h5py.string_dtype()
    with h5py.File(file, "w") as shard:
        shard.attrs.update(attributes)
        columns = {
            # Fast to read; dark frames shrink well, salt does not.
            "frames": shard.create_dataset(
                "frames",
                (0, *shape, 3),
                "uint8",
                maxshape=(None, *shape, 3),
                chunks=(1, *shape, 3),
                compression="lzf",
            ),
            "video_id": shard.create_dataset("video_id", (0,), text, maxshape=(None,)),
            "label": shard.create_dataset("label", (0,), text, maxshape=(None,)),
            "frame_index": shard.create_dataset(
                "frame_index", (0, count), "int32", maxshape=(None, count)
            ),
            "n_decoded": shard.create_dataset("n_decoded", (0,), "int32", maxshape=(None,)),
        }
        for n, row in enumerate(rows):
            for name, dataset in columns.items():
                dataset.resize(n + 1, axis=0)
                dataset[n] = getattr(row, name)


class Shards:
    """Frames of clips by video_id, read from several shards.

    The files stay open: HDF5 handles must not cross a fork, so read in the process that made this
    object. `shape` is (count, height, width) of the frames of a clip.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the names in all `files`.

        Raises NoctactError for a file that is no shard, and for shards of different shapes.
        """
        self._place: dict[str, tuple[Path, int]] = {}
        self._open: dict[Path, h5py.File] = {}
        shapes = set()
        for file in files:
            try:
                shard = self._open[file] = h5py.File(file, "r")
                names = shard["video_id"].asstr()[:]
                shapes.add(shard["frames"].shape[1:4])
            except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
                raise NoctactError(
                    f"{file}: not a shard, or damaged ({error}); delete it and run again"
                ) from error
            self._place |= {name: (file, row) for row, name in enumerate(names)}
        if len(shapes) != 1:
            raise NoctactError(
                f"{files[0].parent}: shards of different frames, {sorted(shapes)}; delete them and "
                "run again"
            )
        self.shape: tuple[int, int, int] = shapes.pop()

    def read(self, video_ids: Sequence[str]) -> NDArray[np.uint8]:
        """Frames of `video_ids`, in their order: uint8 (clips, count, height, width, 3).

        Raises NoctactError for a clip that is in none of the shards.
        """
        missing = [name for name in video_ids if name not in self._place]
        if missing:
            raise NoctactError(f"{missing[0]}: not in the shards; run stage extract again")
        places = [self._place[name] for name in video_ids]
        return np.stack([self._open[file]["frames"][row] for file, row in places])
