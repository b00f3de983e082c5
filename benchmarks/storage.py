"""What HDF5 filters cost and save for the frames of a shard: size, writing, reading of batches.

`python benchmarks/storage.py` prints, for generated night clips and for real ones if they are
there, a table of the filters and another of what they mean for extraction and training: about two
minutes on an idle machine. On a busy one give a number of rounds, `storage.py 8`.

All on one thread, with the files in the page cache. Times are CPU times (user and system), where
"wall" is not said. Each round takes all filters in turn; the least time of all rounds counts.

hdf5plugin is no part of the project: its filters take part where it can be imported.
"""

import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from noctact.sampling import FrameSettings
from noctact.synthetic import generate
from noctact.video import read_frames

os.environ["BLOSC_NTHREADS"] = "1"
try:
    import hdf5plugin
except ImportError:
    hdf5plugin = None

Frames = NDArray[np.uint8]

SETTINGS = FrameSettings(count=10, height=240, width=320)
CLIP_MB = SETTINGS.count * SETTINGS.height * SETTINGS.width * 3 / 1e6
REAL_CLIPS = Path(__file__).resolve().parents[2] / "shared/data/ut_interaction_set1"
BATCH = 64
CLIPS = 36  # of each set; a batch takes some twice
ROUNDS = 2

NOCTACT_CLIPS = 6613
DECODE_MS = 40  # CPU time to decode a short clip of NoctACT-HAR
CPU_STEP_MS = 1100  # simple_rnn on two cores: benchmarks/training.py
GPU_STEP_MS = 50  # assumed
BASE, NONE = "lzf", "none"  # today's filter; no filter


# Ways to store


class Storage(NamedTuple):
    """How the frames of clips are stored."""

    options: dict[str, Any]  # of create_dataset
    chunk: int = SETTINGS.count  # frames in one chunk
    decompress: Callable[[bytes], bytes] | None = None  # outside HDF5, where Python can


SHUFFLE = {"shuffle": True}


def gzip(level: int) -> dict[str, Any]:
    """Options of gzip."""
    return {"compression": "gzip", "compression_opts": level}


def built_in() -> dict[str, Storage]:
    """What every HDF5 can read, or every h5py (lzf)."""
    lzf = {"compression": "lzf"}
    return {
        NONE: Storage({}, decompress=bytes),  # nothing to do
        BASE: Storage(lzf),
        "lzf, chunk a frame": Storage(lzf, chunk=1),
        "gzip 1": Storage(gzip(1), decompress=zlib.decompress),
        "gzip 1, shuffle": Storage(gzip(1) | SHUFFLE),
        "gzip 4": Storage(gzip(4), decompress=zlib.decompress),
        "gzip 4, shuffle": Storage(gzip(4) | SHUFFLE),
    }


def plugins() -> dict[str, Storage]:
    """What needs hdf5plugin to write and to read."""
    if not hdf5plugin:
        return {}
    blosc, blosc2, zstd = hdf5plugin.Blosc, hdf5plugin.Blosc2, hdf5plugin.Zstd
    bitshuffle, lz4 = hdf5plugin.Bitshuffle, hdf5plugin.LZ4
    none, shuffle, bits = blosc2.NOFILTER, blosc2.SHUFFLE, blosc2.BITSHUFFLE
    filters = {
        "Blosc2 lz4 5": blosc2("lz4", 5, none),
        "Blosc2 lz4 5, shuffle": blosc2("lz4", 5, shuffle),
        "Blosc2 lz4 5, bitshuffle": blosc2("lz4", 5, bits),
        "Blosc2 zstd 1": blosc2("zstd", 1, none),
        "Blosc2 zstd 1, bitshuffle": blosc2("zstd", 1, bits),
        "Blosc2 zstd 3": blosc2("zstd", 3, none),
        "Blosc lz4 5": blosc("lz4", 5, blosc.NOSHUFFLE),
        "bitshuffle lz4": bitshuffle(cname="lz4"),
        "bitshuffle zstd 3": bitshuffle(cname="zstd", clevel=3),
        "LZ4": lz4(),
        "Zstd 1": zstd(1),
        "Zstd 2": zstd(2),
        "Zstd 3": zstd(3),
    }
    ways = {name: Storage({"compression": used}) for name, used in filters.items()}
    return ways | {"Zstd 3, chunk a frame": Storage({"compression": zstd(3)}, chunk=1)}


# Writing and reading


def write(file: Path, clips: Frames, storage: Storage) -> None:
    """Write `clips` one by one, as `noctact.shards` does."""
    shape = clips.shape[1:]
    with h5py.File(file, "w") as shard:
        dataset = shard.create_dataset(
            "frames",
            (0, *shape),
            "uint8",
            maxshape=(None, *shape),
            chunks=(1, storage.chunk, *shape[1:]),
            **storage.options,
        )
        for row, clip in enumerate(clips):
            dataset.resize(row + 1, axis=0)
            dataset[row] = clip


def by_row(dataset: h5py.Dataset, rows: Sequence[int], storage: Storage, batch: Frames) -> Frames:
    """The clips dataset[row], stacked."""
    return np.stack([dataset[row] for row in rows])


def read_direct(
    dataset: h5py.Dataset, rows: Sequence[int], storage: Storage, batch: Frames
) -> Frames:
    """Clips that HDF5 puts in their places in `batch`."""
    for place, row in enumerate(rows):
        dataset.read_direct(batch, np.s_[row], np.s_[place])
    return batch


def by_chunk(dataset: h5py.Dataset, rows: Sequence[int], storage: Storage, batch: Frames) -> Frames:
    """Chunks as they lie in the file, decompressed outside HDF5 to their places in `batch`."""
    for clip, row in zip(batch, rows, strict=True):
        corner = (row, 0, 0, 0, 0)
        if storage.options:
            _, chunk = dataset.id.read_direct_chunk(corner)
            clip.reshape(-1)[:] = np.frombuffer(storage.decompress(chunk), np.uint8)
        else:
            dataset.id.read_direct_chunk(corner, out=clip.reshape(-1))
    return batch


# Measuring


NAN = float("nan")


class Cost(NamedTuple):
    """What one storage takes: ms of CPU where nothing else is said."""

    share: float  # of the size of the frames
    write: float  # a clip
    row: float  # a batch, as the rest
    direct: float
    chunk: float  # NaN where it can't be done
    direct_wall: float  # ms
    others: float  # share of the CPU time of read_direct that other threads took

    @property
    def read(self) -> float:
        """A batch, the best way."""
        return float(np.nanmin([self.row, self.direct, self.chunk]))


class Times(NamedTuple):
    """Milliseconds."""

    cpu: float  # of the whole process
    thread: float  # CPU time of the thread that measures
    wall: float


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Times, Any]:
    """What `work` takes, and what it returns."""
    clocks = (time.process_time, time.thread_time, time.perf_counter)
    start = [clock() for clock in clocks]
    result = work(*arguments)
    taken = [1000 * (clock() - was) for clock, was in zip(clocks, start, strict=True)]
    return Times(*taken), result


def measure(file: Path, clips: Frames, storage: Storage) -> Cost:
    """Write `clips` to `file`, and read a random batch in every way."""
    rows = np.resize(np.random.default_rng(1).permutation(len(clips)), BATCH).tolist()
    written, _ = timed(write, file, clips, storage)
    taken = {by_chunk: Times(NAN, NAN, NAN)}
    with h5py.File(file) as shard:
        dataset = shard["frames"]
        share = dataset.id.get_storage_size() / clips.nbytes
        batch = np.zeros((BATCH, *dataset.shape[1:]), np.uint8)
        for way in (by_row, read_direct, *([by_chunk] if storage.decompress else [])):
            taken[way], read = timed(way, dataset, rows, storage, batch)
            assert all(map(np.array_equal, read, (clips[row] for row in rows)))
            batch[:] = 0
    direct = taken[read_direct]
    return Cost(
        share,
        write=written.cpu / len(clips),
        row=taken[by_row].cpu,
        direct=direct.cpu,
        chunk=taken[by_chunk].cpu,
        direct_wall=direct.wall,
        others=max(0, 1 - direct.thread / direct.cpu),
    )


def measure_all(clips: Frames, rounds: int, file: Path) -> dict[str, Cost]:
    """The least cost of every storage of `clips`; `file` is written again and again."""
    ways = built_in() | plugins()
    costs = [[measure(file, clips, storage) for storage in ways.values()] for _ in range(rounds)]
    least = np.fmin.reduce(costs)
    return {name: Cost(*cost) for name, cost in zip(ways, least, strict=True)}


# Report


def number(value: float, digits: int = 0) -> str:
    """`value` for a table."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def figures(name: str, cost: Cost) -> dict[str, str]:
    """What was measured: a row."""
    return {
        "filter": name,
        "MB per 1,000 clips": number(1000 * CLIP_MB * cost.share),
        "of none": number(cost.share, 3),
        "write, ms a clip": number(cost.write, 1),
        "[row], ms a batch": number(cost.row),
        "read_direct": number(cost.direct),
        "chunk": number(cost.chunk),
        "read_direct, wall": number(cost.direct_wall),
        "best, MB/s": number(BATCH * CLIP_MB / cost.read * 1000),
    }


def meaning(name: str, cost: Cost, base: Cost) -> dict[str, str]:
    """What it means for extraction and training, and the ratios to today's filter: a row."""
    return {
        "filter": name,
        f"size / {BASE}": number(cost.share / base.share, 2),
        f"write / {BASE}": number(cost.write / base.write, 2),
        f"read / {BASE}": number(cost.read / base.read, 2),
        f"{NOCTACT_CLIPS:,} clips, GB": number(NOCTACT_CLIPS * CLIP_MB * cost.share / 1000, 1),
        f"write / {DECODE_MS} ms decode": number(cost.write / DECODE_MS, 2),
        f"read / {CPU_STEP_MS} ms step": number(cost.read / CPU_STEP_MS, 2),
        f"read / {GPU_STEP_MS} ms step": number(cost.read / GPU_STEP_MS, 2),
    }


def markdown(table: list[dict[str, str]]) -> str:
    """`table` in Markdown."""
    lines = [list(table[0]), *(list(row.values()) for row in table)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(widths[i]) for i, cell in enumerate(line)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def ahead(costs: dict[str, Cost], step_ms: float) -> str:
    """Names of what gives a batch within one step, the fastest first."""
    names = sorted(costs, key=lambda name: costs[name].read)
    fast = [name for name in names if costs[name].read < step_ms]
    return "all" if fast == names else "; ".join(fast) or "none at all"


def report(title: str, files: Sequence[Path], rounds: int, folder: Path) -> None:
    """Measure every storage of some frames of `files` and print the tables."""
    chosen = files[:: -(-len(files) // CLIPS)]
    clips = np.stack([read_frames(file, SETTINGS).frames for file in chosen])
    costs = measure_all(clips, rounds, folder / "frames.h5")
    print(f"## {title}: {len(clips)} clips\n")
    print(markdown([figures(name, cost) for name, cost in costs.items()]), end="\n\n")
    print(markdown([meaning(*item, costs[BASE]) for item in costs.items()]), end="\n\n")
    for step in (CPU_STEP_MS, GPU_STEP_MS):
        print(f"A batch is read within a step of {step} ms by: {ahead(costs, step)}.")
    others = max(cost.others for cost in costs.values())
    print(f"Other threads took {others:.0%} of the CPU time of reading at most.\n", flush=True)


def main() -> None:
    """Measure and print, for both sets of clips."""
    cv2.setNumThreads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}; batches of {BATCH} clips,")
    print(f"least of {rounds} round(s), one thread.")
    if hdf5plugin:
        print(f"hdf5plugin {hdf5plugin.version}; Blosc and Blosc2 on one thread.\n")
    else:
        print("hdf5plugin is not installed: Blosc, Zstd, bitshuffle and LZ4 are left out.\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "clips", recordings=CLIPS // 12, variants=1, seed=1)
        report("Generated night clips", sorted(folder.glob("clips/*/*")), rounds, folder)
        if REAL_CLIPS.is_dir():
            real = sorted(REAL_CLIPS.glob("*/*"))
            report("Real clips by day, UT-Interaction", real, rounds, folder)
        else:
            print(f"Real clips: left out, there is no {REAL_CLIPS}")


if __name__ == "__main__":
    main()
