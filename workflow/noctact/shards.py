"""The HDF5 shards: frames of clips as uint8, one chunk a clip, written once, read in batches."""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from noctact.errors import NoctactError


class ClipFrames(NamedTuple):
    """One row of a shard: a clip, and the fields of `video.Reading`."""

    video_id: str
    label: str
    frames: NDArray[np.uint8]  # (count, height, width, 3), RGB
    frame_index: Sequence[int]
    frame_time: Sequence[float]  # seconds; NaN for unknown
    n_decoded: int
    n_lost: int
    decoding: str
    width: int
    height: int
    rate: float  # frames a second; NaN for unknown


class Sink(io.FileIO):
    """A new file that takes all that is written, even on a full disk, and keeps the first `fault`.

    HDF5 can't let go of a file that it failed to write to: it raises errors of many kinds, and the
    process dies by SIGSEGV when it ends. So it is not told: leaving the `with` block raises the
    fault, as `check` does before.
    """

    def __init__(self, file: Path) -> None:
        """Create `file`, or empty it."""
        super().__init__(file, "w+")
        self.fault: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.fault = self.fault or error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.fault = self.fault or error
            return 0

    def check(self) -> None:
        """Raise the OSError of the first fault, if there was any."""
        if self.fault:
            raise OSError(self.fault.errno, self.fault.strerror, str(self.name)) from self.fault

    def __exit__(self, *error: Any) -> None:
        """Close, and check."""
        super().__exit__(*error)
        self.check()


def write_shard(
    file: Path, rows: Iterable[ClipFrames], shape: tuple[int, int, int], attributes: dict[str, str]
) -> None:
    """Write `rows`, one at a time, to `file`; `shape` is (count, height, width) of the frames.

    Memory holds the frames of one clip, whatever the number of clips. Raises OSError when `file`
    can't be written.
    """
    count = shape[0]
    text = h5py.string_dtype()
    cells = {
        "video_id": ((), text),
        "label": ((), text),
        "frame_index": ((count,), "int32"),
        "frame_time": ((count,), "float64"),
        "n_decoded": ((), "int32"),
        "n_lost": ((), "int32"),
        "decoding": ((), text),
        "width": ((), "int32"),
        "height": ((), "int32"),
        "rate": ((), "float64"),
    }
    columns: dict[str, list[Any]] = {name: [] for name in cells}
    with Sink(file) as sink, h5py.File(sink, "w") as shard:
        shard.attrs.update(attributes)
        # LZ4: chosen by benchmarks/storage.py; docs/extraction.md has the figures.
        frames = shard.create_dataset(
            "frames",
            (0, *shape, 3),
            "uint8",
            maxshape=(None, *shape, 3),
            chunks=(1, *shape, 3),
            **hdf5plugin.LZ4(),
        )
        for n, row in enumerate(rows):
            frames.resize(n + 1, axis=0)
            frames[n] = row.frames
            for name, column in columns.items():
                column.append(getattr(row, name))
            sink.check()
        for name, (cell, dtype) in cells.items():
            data = np.array(columns[name], object if dtype is text else dtype)
            shard.create_dataset(name, data=data.reshape(-1, *cell), dtype=dtype)


@contextmanager
def must_be_shard(file: Path) -> Iterator[None]:
    """What goes wrong in reading `file` becomes a NoctactError that says what to do."""
    try:
        yield
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise NoctactError(
            f"{file}: not a shard, or damaged ({error}); delete it and run again"
        ) from error


def read_columns(file: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The columns `names` of a shard, one row a clip; texts are str. No frames are read.

    Raises NoctactError for a file that is no shard, or lacks one of the columns.
    """
    with must_be_shard(file), h5py.File(file, "r") as shard:
        columns = {name: shard[name] for name in names}
        return {
            name: (column.asstr() if h5py.check_string_dtype(column.dtype) else column)[:]
            for name, column in columns.items()
        }


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
            with must_be_shard(file):
                shard = self._open[file] = h5py.File(file, "r")
                names = shard["video_id"].asstr()[:]
                shapes.add(shard["frames"].shape[1:4])
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
        batch = np.empty((len(video_ids), *self.shape, 3), np.uint8)
        for number, name in enumerate(video_ids):
            file, row = self._place[name]
            self._open[file]["frames"].read_direct(batch, np.s_[row], np.s_[number])
        return batch
