"""2,000 damaged clips: none hangs, crashes a job, or gives other frames than a whole decode."""

import random
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from test_streams import SKIPPING, encode

from noctact.sampling import FrameSettings, by_index
from noctact.video import UndecodableError, letterbox, pixel_aspect, read_frames, upright
from noctact.workers import Failure, guarded

SETTINGS = FrameSettings(6, 48, 64)
PER_CLIP = 100


def damage(data: bytes, seed: str) -> bytes:
    """`data` with some of its bytes changed, lost, repeated or cut off."""
    choose = random.Random(seed)
    damaged = bytearray(data)
    place = choose.randrange(len(damaged))
    length = choose.choice([1, 7, 50, 700])
    match choose.choice(["bytes", "bytes", "bits", "front", "zero", "lose", "repeat", "cut"]):
        case "bytes":
            for _ in range(choose.choice([1, 2, 5, 20, 100])):
                damaged[choose.randrange(len(damaged))] = choose.randrange(256)
        case "bits":
            for _ in range(choose.choice([1, 3, 10])):
                damaged[choose.randrange(len(damaged))] ^= 1 << choose.randrange(8)
        case "front":
            for _ in range(4):
                damaged[choose.randrange(min(len(damaged), 4000))] = choose.randrange(256)
        case "zero":
            damaged[place : place + length] = bytes(len(damaged[place : place + length]))
        case "lose":
            del damaged[place : place + length]
        case "repeat":
            damaged[place:place] = damaged[place : place + length]
        case "cut":
            del damaged[place:]
    return bytes(damaged)


def whole_decode(path: Path) -> tuple[list[np.ndarray], bool]:
    """The frames, letterboxed, until the decoder gives up; and whether it patched any up."""
    frames = []
    with av.open(str(path)) as container, av.logging.Capture() as log, suppress(av.FFmpegError):
        stream = container.streams.video[0]
        stream.thread_count = 1
        for frame in container.decode(stream):
            frames.append(letterbox(upright(frame), 48, 64, pixel_aspect(stream)))
    return frames, any("concealing" in message for _, _, message in log)


def try_one(folder: Path, job: tuple[Path, str]) -> str:
    """Damage a clip, read it, compare with a whole decode; what came of it, in a word."""
    source, seed = job
    clip = folder / f"clip{source.suffix}"
    clip.write_bytes(damage(source.read_bytes(), seed))
    try:
        reading = read_frames(clip, SETTINGS)
    except UndecodableError as error:
        assert len(str(error).split()) > 2
        return "refused"
    frames, faults = whole_decode(clip)
    assert reading.n_decoded == len(frames)
    assert reading.frame_index == by_index("left", SETTINGS.count, len(frames))
    chosen = np.stack([frames[index] for index in reading.frame_index])
    if not np.array_equal(reading.frames, chosen):
        # FFmpeg takes state of a picture that it can't decode on to others, across key pictures
        # too: a whole decode can spoil a sound picture that comes after a damaged one.
        assert faults and reading.decoding == "skipping"
        return "spoilt"
    return reading.decoding.split(":")[0]


# See try_one: none of the real clips, and of the generated ones only this.
SPOILT = {"cavlc.mp4": 1}


def try_all(clips: list[Path], folder: Path) -> Counter[str]:
    """Try PER_CLIP damages of each clip in a guarded worker; what came of them."""
    jobs = [(clip, f"{clip.name} {number}") for clip in clips for number in range(PER_CLIP)]
    outcomes: Counter[str] = Counter()
    for job, outcome in zip(jobs, guarded(partial(try_one, folder), jobs, 30, 2000), strict=True):
        assert not isinstance(outcome, Failure), (job, outcome)
        outcomes[outcome] += 1
    assert outcomes["spoilt"] <= sum(SPOILT.get(clip.name, 0) for clip in clips)
    return outcomes


GENERATED = ["default.mp4", "gop12.mp4", "slices.mp4", "cavlc.mp4", "pyramid.mkv", "transport.ts"]
GENERATED += ["part2_b.avi", "part2.mp4", "part2_quarter.avi", "part2_packets.avi"]


@pytest.mark.parametrize("name", GENERATED)
def test_damaged_clips_give_the_frames_of_a_whole_decode_or_a_reason(tmp_path, name):
    codec, options, *more = SKIPPING[name]
    clip = encode(tmp_path / name, codec, options, **(more[0] if more else {}))
    assert try_all([clip], tmp_path).keys() >= {"refused", "whole"}


@pytest.mark.parametrize("folder", ["ut_interaction_set1", "ut_person_crops_set1"])
def test_damaged_real_clips_do_too(data, tmp_path, folder):
    clips = sorted((data / folder).rglob("*.*"))
    clips = clips[:: len(clips) // 5][:5]
    assert try_all(clips, tmp_path).keys() >= {"refused", "whole", "skipping"}
