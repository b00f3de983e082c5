"""The HDF5 shards: frames of clips as uint8, one chunk a clip, written once, read in batches."""

import hashlib
import io
import math
import threading
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

    The columns are the fields of ClipFrames, and `sha256`: that of the frames of the clip as bytes,
    in C order, as 64 hex digits. Memory holds the frames of one clip, whatever the number of clips.
    Raises OSError when `file` can't be written.
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
        "sha256": ((), text),
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
            sha256 = hashlib.sha256(np.ascontiguousarray(row.frames).data).hexdigest()
            facts = row._asdict() | {"sha256": sha256}
            for name, column in columns.items():
                column.append(facts[name])
            sink.check()
        for name, (cell, dtype) in cells.items():
            data = np.array(columns[name], object if dtype is text else dtype)
            shard.create_dataset(name, data=data.reshape(-1, *cell), dtype=dtype)


def open_shard(file: Path) -> h5py.File:
    """Open a shard to read. Raises OSError for a file that is none."""
    # HDF5 would lock the file, and fail where the file system has no locks (NFS, Lustre without
    # flock). Nobody writes to a shard that is there: it is renamed when complete. Writing takes no
    # lock: HDF5 writes to a `Sink`.
    return h5py.File(file, "r", locking=False)


@contextmanager
def must_be_shard(file: Path) -> Iterator[None]:
    """What goes wrong in reading `file` becomes a NoctactError that says what to do."""
    try:
        yield
    except (OSError, KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise NoctactError(
            f"{file}: not a shard, or damaged ({error}); delete it and run again"
        ) from error


def read_columns(file: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The columns `names` of a shard, one row a clip; texts are str. No frames are read.

    Raises NoctactError for a file that is no shard, or lacks one of the columns.
    """
    with must_be_shard(file), open_shard(file) as shard:
        columns = {name: shard[name] for name in names}
        return {
            name: (column.asstr() if h5py.check_string_dtype(column.dtype) else column)[:]
            for name, column in columns.items()
        }


def frames_shape(file: Path) -> tuple[int, int, int]:
    """(count, height, width) of the frames of a clip in a shard.

    Raises NoctactError for a file that is no shard.
    """
    with must_be_shard(file), open_shard(file) as shard:
        count, height, width = shard["frames"].shape[1:4]
        return count, height, width


class Place(NamedTuple):
    """Where the frames of a clip lie, and the SHA-256 of their bytes."""

    file: Path
    row: int
    sha256: str


class Shards:
    """Frames of clips by video_id, read from several shards.

    The files stay open: HDF5 handles must not cross a fork, so read in the process that made this
    object; any of its threads may. `shape` is (count, height, width) of the frames of a clip.
    """

    def __init__(self, files: Sequence[Path], cache_mb: int = 0) -> None:
        """Read the names in all `files`.

        The frames of the clips that are read first are kept in memory, up to `cache_mb` MB (10**6
        bytes) of them, and never read from the files again. Raises NoctactError for a file that is
        no shard, and for shards of different shapes.
        """
        self._places: dict[str, Place] = {}
        self._open: dict[Path, h5py.File] = {}
        shapes = set()
        for file in files:
            with must_be_shard(file):
                shard = self._open[file] = open_shard(file)
                names, hashes = (shard[name].asstr()[:] for name in ("video_id", "sha256"))
                shapes.add(shard["frames"].shape[1:4])
                for row, (name, sha256) in enumerate(zip(names, hashes, strict=True)):
                    self._places[name] = Place(file, row, sha256)
        if len(shapes) != 1:
            raise NoctactError(
                f"{files[0].parent}: shards of different frames, {sorted(shapes)}; delete them and "
                "run again"
            )
        self.shape: tuple[int, int, int] = shapes.pop()
        self._verified: set[str] = set()
        self._kept: dict[str, NDArray[np.uint8]] = {}
        self._clips_to_keep = cache_mb * 10**6 // (math.prod(self.shape) * 3)
        self._keeping = threading.Lock()

    def _place(self, video_id: str) -> Place:
        if video_id not in self._places:
            raise NoctactError(f"{video_id}: not in the shards; run stage extract again")
        return self._places[video_id]

    def _keep(self, video_id: str, frames: NDArray[np.uint8]) -> None:
        with self._keeping:
            if video_id not in self._kept and len(self._kept) < self._clips_to_keep:
                self._kept[video_id] = frames.copy()

    def _verify(self, video_id: str, place: Place, frames: NDArray[np.uint8]) -> None:
        """Raise ValueError where `frames` have another checksum; looked at once for each clip."""
        if video_id in self._verified:
            return
        if hashlib.sha256(frames.data).hexdigest() != place.sha256:
            raise ValueError(f"the frames of {video_id} do not have their checksum")
        self._verified.add(video_id)

    def read(self, video_ids: Sequence[str]) -> NDArray[np.uint8]:
        """Frames of `video_ids`, in their order: uint8 (clips, count, height, width, 3).

        The array is the caller's own, to change as it likes. Raises NoctactError for a clip that
        is in none of the shards, and for a shard that is damaged.
        """
        places = [self._place(video_id) for video_id in video_ids]
        batch = np.empty((len(places), *self.shape, 3), np.uint8)
        for video_id, place, frames in zip(video_ids, places, batch, strict=True):
            if video_id in self._kept:
                frames[...] = self._kept[video_id]
                continue
            with must_be_shard(place.file):
                self._open[place.file]["frames"].read_direct(frames, np.s_[place.row])
                self._verify(video_id, place, frames)
            self._keep(video_id, frames)
        return batch

    def digest(self, video_ids: Sequence[str]) -> str:
        """SHA-256, as 64 hex digits, of the names and frames of `video_ids` in their order.

        It is the same however the clips are spread over shards. No frames are read: what is hashed
        is, for each clip, its `sha256`, its name in UTF-8 and a zero byte. Raises NoctactError for
        a clip that is in none of the shards.
        """
        digest = hashlib.sha256()
        for video_id in video_ids:
            digest.update(f"{self._place(video_id).sha256}{video_id}\0".encode())
        return digest.hexdigest()
