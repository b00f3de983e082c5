"""CPU and wall time of getting 10 frames of 240 x 320 of every clip, in several ways.

`python benchmarks/extraction.py` makes sets of clips, runs every way on each, and prints what a
clip costs, how many frames are wrong, and how the goals stand: about five minutes on two cores.
Each way runs in a process of its own, twice (once if it takes long), in turn with the others; the
least time of each clip counts. CPU time is that of all threads of the process, user and system.

decord and torchcodec are no part of the project: they take part where they can be imported.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from noctact import synthetic
from noctact.errors import NoctactError
from noctact.sampling import FrameSettings
from noctact.shards import Shards
from noctact.streams import Structure, Unproven, needed, structure
from noctact.video import letterbox, open_video, picture_packet, read_frames, read_source

Image = NDArray[np.uint8]

SETTINGS = FrameSettings(count=10, height=240, width=320)
COUNT, HEIGHT, WIDTH = SETTINGS[:3]
# Runs of a way on a set; fewer when it has taken so many seconds.
RUNS, ENOUGH = 2, 5
# Grey levels from the right frame, on average. What takes the right frame is within 0.0001 of it;
# that and the next one differ by 1.3 in UT-Interaction, by more than 6 in clips with salt.
OTHER, FAR = 0.1, 2


# Clips


class Kind(NamedTuple):
    """A set of clips to make."""

    codec: str
    suffix: str
    options: dict[str, str]
    sizes: list[tuple[int, int]]  # of each clip: width, height
    frames: int


RATE = 30
MOVEMENT = 100  # frames that are drawn; a clip shows them forward, backward, forward ...
SMALL = [(width, 240) for width in range(320, 477, 14)]  # as those of NoctACT-HAR
LARGE = [(1920, 1080)] * 3
H264 = {"preset": "medium", "crf": "23", "g": "250"}
# Without the threshold nearly every frame is a key frame, as salt looks like a change of scene.
MPEG4 = {"qmin": "16", "qmax": "16", "g": "12", "sc_threshold": "1000000000"}
KINDS = {
    "H.264": Kind("libx264", "mp4", H264, SMALL, 300),
    "MPEG-4, 2 B-frames": Kind("mpeg4", "mp4", MPEG4 | {"bf": "2"}, SMALL, 300),
    "MPEG-4, no B-frames": Kind("mpeg4", "avi", MPEG4 | {"bf": "0"}, SMALL, 300),
    "H.264, 1920 x 1080": Kind("libx264", "mp4", H264, LARGE, 250),
}
RUBBISH = "rubbish"
REAL = "UT-Interaction (XVID)"
REAL_CLIPS = Path(__file__).resolve().parents[2] / "shared/data/ut_interaction_set1"


def there_and_back(items: NDArray[Any], count: int) -> NDArray[Any]:
    """`count` of `items`, forward, backward, forward and so on."""
    return items[np.pad(np.arange(len(items)), (0, count), mode="reflect")[:count]]


def night_frames(size: tuple[int, int], count: int, number: int) -> Iterator[Image]:
    """RGB frames of a clip in the dark: those of `noctact.synthetic`, longer and in other sizes.

    Those of more than 240 lines are scaled up with their salt, of which they have less: else they
    would take minutes to encode.
    """
    width, height = size
    rng = synthetic.random_stream(1, number)
    drawn = synthetic.draw_recording(rng)
    shake = there_and_back(drawn.shake, MOVEMENT)
    label = synthetic.CLASSES[number % len(synthetic.CLASSES)]
    scene = synthetic.render(label, replace(drawn, frames=MOVEMENT, shake=shake))
    variant = synthetic.draw_variant(rng)
    for image in there_and_back(synthetic.darken(scene, variant.gamma, variant.tint), count):
        frame = np.asarray(cv2.resize(image, (width * 240 // height, 240)), np.uint8)
        synthetic.add_salt(frame, variant.salt * 240 / height, rng)
        yield np.asarray(cv2.resize(frame, size), np.uint8)


def encode(path: Path, kind: Kind, number: int) -> None:
    """Write clip `number` of its `kind`."""
    with av.open(path, "w") as container:
        stream = container.add_stream(kind.codec, RATE, options=kind.options)
        stream.width, stream.height = kind.sizes[number]
        stream.pix_fmt = "yuv420p"
        for frame in night_frames(kind.sizes[number], kind.frames, number):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def make_rubbish(folder: Path) -> None:
    """Files that are no videos: stage extract asks for two classes of at least two clips."""
    folder.mkdir(parents=True)
    for number in range(2):
        (folder / f"{number}.mp4").write_bytes(b"no video")


def make_clips(folder: Path) -> dict[str, Path]:
    """The sets of clips, by name: those of KINDS are made in `folder`."""
    sets = {}
    for kind_number, (name, kind) in enumerate(KINDS.items()):
        sets[name] = folder / f"set{kind_number}"
        make_rubbish(sets[name] / RUBBISH)
        (sets[name] / "class").mkdir()
        for number in range(len(kind.sizes)):
            encode(sets[name] / "class" / f"{number:02}.{kind.suffix}", kind, number)
    if REAL_CLIPS.is_dir():
        sets[REAL] = REAL_CLIPS
    else:
        print(f"{REAL}: left out, there is no {REAL_CLIPS}")
    return sets


def clips_of(folder: Path) -> list[Path]:
    """The clips of a set, in the order of a shard."""
    clips = [clip for clip in folder.glob("*/*.*") if clip.parent.name != RUBBISH]
    return sorted(clips, key=Path.as_posix)


# Ways to read a clip: each returns its frames, (count, height, width, 3), RGB


def chosen(n_frames: int) -> list[int]:
    """Indices of the frames to take, as published."""
    return [int(i * n_frames / COUNT) for i in range(COUNT)]


def pad_and_resize(images: list[Image]) -> Image:
    """`images`, RGB, as the models see them."""
    return np.stack([letterbox(image, HEIGHT, WIDTH) for image in images])


def from_opencv(images: list[Image | None]) -> Image:
    """`images`, BGR, as the models see them; black for one that OpenCV did not give."""
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    seen = [black if image is None else letterbox(image, HEIGHT, WIDTH) for image in images]
    return np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in seen])


def notebooks(clip: Path) -> Image:
    """OpenCV, set to the position of each frame."""
    video = cv2.VideoCapture(str(clip))
    images = []
    for index in chosen(int(video.get(cv2.CAP_PROP_FRAME_COUNT))):
        video.set(cv2.CAP_PROP_POS_FRAMES, index)
        images.append(video.read()[1])
    video.release()
    return from_opencv(images)


def in_order(video: cv2.VideoCapture, stop: bool = False) -> Image:
    """Every frame of `video` grabbed in turn; with `stop`, none after the last that is taken."""
    wanted = chosen(int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
    images: dict[int, Image | None] = dict.fromkeys(wanted)
    index = 0
    while not (stop and index > wanted[-1]) and video.grab():
        if index in images:
            images[index] = video.retrieve()[1]
        index += 1
    video.release()
    return from_opencv([images[index] for index in wanted])


def opencv(clip: Path) -> Image:
    """OpenCV, in order to the end."""
    return in_order(cv2.VideoCapture(str(clip)))


def opencv_stop(clip: Path) -> Image:
    """OpenCV, in order to the last frame that is taken."""
    return in_order(cv2.VideoCapture(str(clip)), stop=True)


def opencv_thread(clip: Path) -> Image:
    """OpenCV, in order to the end, on one thread."""
    cv2.setNumThreads(1)
    return in_order(cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]))


def decord(clip: Path) -> Image:
    """decord, on one thread."""
    from decord import VideoReader  # noqa: PLC0415

    cv2.setNumThreads(1)
    video = VideoReader(str(clip), num_threads=1)
    return pad_and_resize(list(video.get_batch(chosen(len(video))).asnumpy()))


def torchcodec(clip: Path) -> Image:
    """torchcodec, on one thread."""
    import torch  # noqa: PLC0415
    from torchcodec.decoders import VideoDecoder  # noqa: PLC0415

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    video = VideoDecoder(clip, dimension_order="NHWC", num_ffmpeg_threads=1)
    return pad_and_resize(list(video.get_frames_at(chosen(len(video))).data.numpy()))


def ours(clip: Path) -> Image:
    """noctact.video.read_frames."""
    cv2.setNumThreads(1)
    return read_frames(clip, SETTINGS).frames


def decoded(clip: Path, threads: int = 1) -> Iterator[av.VideoFrame]:
    """Every frame of `clip` in the order of decoding."""
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        yield from container.decode(stream)


def bare(clip: Path) -> None:
    """Every frame decoded, none looked at: what a whole decode costs at least."""
    for _ in decoded(clip):
        pass


@cache
def places(clip: Path) -> tuple[Structure, list[int]] | None:
    """The pictures of `clip` and those that its chosen frames need; None if it is decoded whole."""
    with open_video(clip) as (container, stream):
        source, context = read_source(container, stream), stream.codec_context
        try:
            found = structure(context.name, context.extradata or b"", map(bytes, source.packets))
        except Unproven:
            return None
    return found, needed(found.pictures, [found.output[i] for i in chosen(len(found.output))])


def bare_needed(clip: Path) -> None:
    """The pictures that are needed decoded, none looked at; which those are is known before."""
    if (known := places(clip)) is None:
        return bare(clip)
    found, wanted = known
    with open_video(clip) as (container, stream):
        stream.codec_context.thread_count = 1
        source = read_source(container, stream)
        for packet in [*(picture_packet(source, found, place) for place in wanted), None]:
            stream.decode(packet)
    return None


def right(clip: Path) -> Image:
    """The right frames, the plainest way: counted by one decode, taken by another."""
    wanted = chosen(sum(1 for _ in decoded(clip, threads=2)))
    images = dict.fromkeys(wanted)
    for index, frame in enumerate(decoded(clip, threads=2)):
        if index in images:
            images[index] = frame.to_ndarray(format="rgb24")
    return pad_and_resize([images[index] for index in wanted])


NOTEBOOKS, IN_ORDER, OURS = "the notebooks' way", "OpenCV in order", "ours"
BARE, NEEDED = "bare decode", "bare decode of what is needed"
WAYS: dict[str, Callable[[Path], Image | None]] = {
    NOTEBOOKS: notebooks,
    IN_ORDER: opencv,
    "OpenCV in order, to the last frame taken": opencv_stop,
    "OpenCV in order, one thread": opencv_thread,
    "decord": decord,
    "torchcodec": torchcodec,
    OURS: ours,
    BARE: bare,
    NEEDED: bare_needed,
}
START, END_TO_END = "start of stage extract", "ours, end to end"
OPTIONAL = ("decord", "torchcodec")


# Measuring


class Cost(NamedTuple):
    """Of each clip: seconds of CPU, seconds that passed; and the wrong frames of the set."""

    cpu: NDArray[np.float64]
    wall: NDArray[np.float64]
    wrong: tuple[int, int] | None  # more than OTHER and FAR from the right ones; None: no frames


def count_wrong(clips: Iterable[Image], expected: Iterable[Image]) -> tuple[int, int]:
    """How many frames of `clips`, each (count, height, width, 3), are OTHER and FAR from right."""
    levels = [
        float(cv2.absdiff(frame, image).mean())
        for frames, images in zip(clips, expected, strict=True)
        for frame, image in zip(frames, images, strict=True)
    ]
    return sum(level > OTHER for level in levels), sum(level > FAR for level in levels)


def work(way: str, folder: Path, expected: Path, warm_up: Path) -> None:
    """Read every clip of `folder` one `way`; print what each took and the number of wrong frames.

    `warm_up` is a clip that is read first, so that what is set up once does not count.
    """
    read = WAYS[way]
    read(warm_up)
    if way == NEEDED:
        for clip in clips_of(folder):
            places(clip)
    cpu, wall, frames = [], [], []
    for clip in clips_of(folder):
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        frames.append(read(clip))
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    wrong = None if way in (BARE, NEEDED) else count_wrong(frames, np.load(expected, mmap_mode="r"))
    print(json.dumps([cpu, wall, wrong]))


def run(command: list[str]) -> str:
    """What `command` prints; RuntimeError with the last line of its error output if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    return done.stdout


def measure(way: str, folder: Path, expected: Path, warm_up: Path) -> Cost:
    """What one `way` costs, measured in a process of its own."""
    command = [sys.executable, __file__, way, str(folder), str(expected), str(warm_up)]
    cpu, wall, wrong = json.loads(run(command).splitlines()[-1])
    return Cost(np.array(cpu), np.array(wall), wrong)


def extract(folder: Path, output: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds of CPU, and seconds that pass, of the processes of stage extract for all clips.

    The least of some runs: to start processes takes now more, now less, by as much as some clips.
    """
    command = [sys.executable, "-m", "noctact", "extract", f"--clips={folder}"]
    command += ["--shard", "0", "--shards", "1", "--count", str(COUNT)]
    command += ["--height", str(HEIGHT), "--width", str(WIDTH)]
    command += ["--output", str(output), "--quarantine", str(output.with_suffix(".csv"))]
    command += ["--checksum", str(output.with_suffix(".sha256"))]
    cpu: list[float] = []
    wall: list[float] = []
    while sum(wall) < ENOUGH / 2:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        run(command)
        wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return np.array([min(cpu)]), np.array([min(wall)])


def measure_start(rubbish: Path) -> Cost:
    """What stage extract costs for files that are no videos."""
    return Cost(*extract(rubbish, rubbish / "start.h5"), None)


def measure_extract(folder: Path, expected: Path) -> Cost:
    """What stage extract costs for all clips, its start with it."""
    output = expected.with_suffix(".h5")
    cpu, wall = extract(folder, output)
    names = [f"{clip.parent.name}/{clip.name}" for clip in clips_of(folder)]
    frames = Shards([output]).read(names)
    return Cost(cpu, wall, count_wrong(frames, np.load(expected, mmap_mode="r")))


def least(costs: list[Cost]) -> Cost:
    """The least times of each clip over some runs."""
    cpu, wall = (
        np.min([getattr(cost, name) for cost in costs], axis=0) for name in ("cpu", "wall")
    )
    return Cost(cpu, wall, costs[-1].wrong)


def measure_all(
    ways: dict[str, Callable[[], Cost]],
) -> tuple[dict[str, Cost], dict[str, str]]:
    """What each of `ways` costs, run in turn, several times; and why some can't be run."""
    costs: dict[str, list[Cost]] = {way: [] for way in ways}
    faults: dict[str, str] = {}
    for _ in range(RUNS):
        for way, measure_once in ways.items():
            if way in faults or sum(cost.wall.sum() for cost in costs[way]) > ENOUGH:
                continue
            try:
                costs[way].append(measure_once())
            except (RuntimeError, OSError, NoctactError) as error:
                faults[way] = str(error)
    return {way: least(some) for way, some in costs.items() if some}, faults


def take_off_start(costs: dict[str, dict[str, Cost]], n_clips: dict[str, int]) -> str:
    """Turn END_TO_END of all `costs` into costs of each clip without the start; tell the start."""
    starts = [some.pop(START) for some in costs.values() if START in some]
    if not starts:
        return "start of stage extract: not measured"
    start = least(starts)
    for title, some in costs.items():
        if END_TO_END in some:
            n, total = n_clips[title], some[END_TO_END]
            cpu, wall = ((total.cpu - start.cpu) / n, (total.wall - start.wall) / n)
            some[END_TO_END] = Cost(cpu.repeat(n), wall.repeat(n), total.wrong)
    cpu, wall = start.cpu.sum(), start.wall.sum()
    return f"start of stage extract, left out below: {cpu:.2f} s CPU, {wall:.2f} s wall"


# Report


def rows(name: str, costs: dict[str, Cost]) -> Iterator[dict[str, object]]:
    """Rows of the table for one set."""
    for way, cost in costs.items():
        yield {
            "set": name,
            "way": way,
            "CPU ms a clip": f"{1000 * cost.cpu.mean():.1f}",
            "wall ms a clip": f"{1000 * cost.wall.mean():.1f}",
            "CPU / notebooks": f"{ratio(costs, way, NOTEBOOKS):.2f}",
            "CPU / in order": f"{ratio(costs, way, IN_ORDER):.2f}",
            "wrong frames": f"{cost.wrong[0]} of {COUNT * len(cost.cpu)}" if cost.wrong else "-",
            f"by > {FAR} levels": cost.wrong[1] if cost.wrong else "-",
        }


def ratio(costs: dict[str, Cost], way: str, other: str) -> float:
    """CPU time of one way in terms of another; NaN if one of them did not run."""
    if way not in costs or other not in costs:
        return float("nan")
    return float(costs[way].cpu.sum() / costs[other].cpu.sum())


def goals(name: str, costs: dict[str, Cost]) -> Iterator[dict[str, object]]:
    """Rows of the goals for one set."""
    in_order_goal = 0.35 if name.startswith("MPEG-4") else 1.0
    for way, other, goal in (
        (OURS, NOTEBOOKS, 0.25),
        (OURS, IN_ORDER, in_order_goal),
        (END_TO_END, NEEDED, 1.25),
    ):
        value = ratio(costs, way, other)
        yield {
            "set": name,
            "goal, CPU": f"{way} / {other} <= {goal}",
            "ratio": f"{value:.2f}",
            "": "reached" if value <= goal else "missed" if value > goal else "not measured",
        }


def markdown(table: list[dict[str, object]]) -> str:
    """`table` in Markdown."""
    lines = [list(table[0]), *([str(cell) for cell in row.values()] for row in table)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(widths[i]) for i, cell in enumerate(line)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def main() -> None:
    """Make the clips, measure, print the tables."""
    costs: dict[str, dict[str, Cost]] = {}
    n_clips: dict[str, int] = {}
    absent = [way for way in OPTIONAL if not find_spec(way)]
    notes = [f"{way}: not installed" for way in absent]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected, warm_up, rubbish = folder / "expected.npy", folder / "warm.mp4", folder / "none"
        encode(warm_up, Kind("libx264", "mp4", H264, [(320, 240)], 20), 0)
        make_rubbish(rubbish / "class0")
        make_rubbish(rubbish / "class1")
        for title, clips in make_clips(folder).items():
            np.save(expected, np.stack([right(clip) for clip in clips_of(clips)]))
            ways: dict[str, Callable[[], Cost]] = {
                way: partial(measure, way, clips, expected, warm_up)
                for way in WAYS
                if way not in absent
            }
            ways[START] = partial(measure_start, rubbish)
            ways[END_TO_END] = partial(measure_extract, clips, expected)
            costs[title], faults = measure_all(ways)
            n_clips[title] = len(clips_of(clips))
            notes += [f"{title}: {way} failed: {fault}" for way, fault in faults.items()]
    notes.append(take_off_start(costs, n_clips))
    print("\n".join(notes), end="\n\n")
    print(markdown([row for title in costs for row in rows(title, costs[title])]), end="\n\n")
    print(markdown([row for title in costs for row in goals(title, costs[title])]))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        work(sys.argv[1], *map(Path, sys.argv[2:]))
