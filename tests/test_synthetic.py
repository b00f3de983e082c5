"""The generated clips: what truth.csv says is true, the seed decides all, the class only motion."""

import re
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from noctact import synthetic
from noctact.errors import NoctactError
from noctact.figure_motion import CLASSES, MOTIONS, Timing, poses, progress, skeleton

RECORDINGS, VARIANTS, SEED = 2, 2, 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("synthetic") / "clips"
    synthetic.generate(output, RECORDINGS, VARIANTS, SEED)
    return output


@pytest.fixture(scope="module")
def truth(folder):
    return pd.read_csv(folder / "truth.csv").set_index("video_id")


@pytest.fixture(scope="module")
def decoded(folder, truth):
    return {video_id: decode(folder / video_id) for video_id in truth.index}


def decode(path: Path) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def film(label, number, seed=SEED):
    """What a clip is made of, and its frames as they go to the encoder."""
    recording = synthetic.draw_recording(synthetic.random_stream(seed, number))
    rng = synthetic.random_stream(seed, number, 0)
    variant = synthetic.draw_variant(rng)
    return variant, synthetic.film(synthetic.render(label, recording), variant, rng)


def test_the_classes_are_those_of_noctact_har():
    published = Path(__file__).parents[1] / "resources/published/confusion.csv"
    if not published.exists():
        pytest.skip("resources/published/confusion.csv is not there")
    assert sorted(pd.read_csv(published)["true"].unique()) == list(CLASSES)


def test_files_and_truth_agree(folder, truth):
    files = {str(path.relative_to(folder)) for path in folder.glob("*/*")}
    assert files == set(truth.index)
    assert sorted(truth.index) == list(truth.index)
    assert {path.name for path in folder.iterdir()} == {*CLASSES, "truth.csv"}
    assert (truth.groupby("label").size() == RECORDINGS * VARIANTS).all()
    assert (truth.groupby("recording").size() == VARIANTS).all()
    for video_id, row in truth.iterrows():
        label, name = video_id.split("/")
        assert label == row.label
        assert int(re.match(r"^r(?P<group>\d+)_", name)["group"]) == row.recording


def test_every_clip_decodes_as_truth_says(folder, truth, decoded):
    for video_id, row in truth.iterrows():
        assert decoded[video_id].shape == (row.frames, row.height, row.width, 3)
        with av.open(folder / video_id) as container:
            stream = container.streams.video[0]
            assert float(stream.average_rate) == row.rate
            assert stream.codec_context.name == row.codec


def test_sizes_codecs_and_containers_vary(truth):
    assert set(truth.codec) == {"h264", "mpeg4"}
    assert {Path(video_id).suffix for video_id in truth.index} == {".mp4", ".avi"}
    assert (truth.width > truth.height).any()
    assert (truth.width < truth.height).any()
    assert truth.rate.nunique() > 3
    assert set(truth.mirror) == {True, False}


def test_scenes_are_dark_under_the_salt(decoded):
    for frames in decoded.values():
        scene = np.stack([cv2.medianBlur(frame, 3) for frame in frames[::5]])
        assert 3 <= np.median(scene) <= 9


def test_the_figure_survives_the_encoder(decoded):
    for frames in decoded.values():
        scene = np.stack([cv2.medianBlur(frame, 3) for frame in frames[::5]])
        assert 0.03 < (scene.max(axis=3) > 20).mean() < 0.3


def test_salt_covers_1_to_4_percent_and_is_fresh_in_every_frame():
    for number in range(6):
        variant, frames = film("Run", number)
        salted = (frames == 255).all(axis=3)
        assert 0.01 <= salted.mean() <= 0.04
        assert salted.mean() == pytest.approx(variant.salt, abs=0.001)
        # Independent frames share salt where both have it by chance only.
        assert (salted[1:] & salted[:-1]).mean() < 2 * variant.salt**2


def test_most_of_the_salt_survives_the_encoder(truth, decoded):
    for video_id, row in truth.iterrows():
        bright = (decoded[video_id].min(axis=3) > 100).mean()
        assert 0.5 * row.salt < bright < 2 * row.salt


def test_the_same_seed_gives_the_same_files_whatever_the_workers(folder, tmp_path):
    synthetic.generate(tmp_path / "again", RECORDINGS, VARIANTS, SEED, workers=2)
    for path in folder.rglob("*.*"):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_another_seed_gives_other_clips(truth, tmp_path):
    synthetic.generate(tmp_path / "other", recordings=1, variants=1, seed=SEED + 1)
    other = pd.read_csv(tmp_path / "other/truth.csv").set_index("recording")
    first = truth.drop_duplicates("recording").set_index("recording").loc[other.index]
    assert (other.gamma != first.gamma).all()
    assert (other.frames != first.frames).any()


def test_more_recordings_leave_the_others_as_they_were(truth, tmp_path):
    synthetic.generate(tmp_path / "fewer", recordings=1, variants=1, seed=SEED)
    fewer = pd.read_csv(tmp_path / "fewer/truth.csv").set_index("video_id")
    pd.testing.assert_frame_equal(fewer, truth.loc[fewer.index])


def test_streams_of_recordings_and_variants_are_all_different():
    keys = [(number, *rest) for number in range(5) for rest in [(), (0,), (1,)]]
    assert len({synthetic.random_stream(SEED, *key).random() for key in keys}) == len(keys)


def test_variants_of_a_recording_differ(truth):
    assert (truth.groupby("recording").gamma.nunique() == VARIANTS).all()
    assert (truth.groupby("recording").rate.nunique() == 1).all()


def test_only_the_figure_depends_on_the_class():
    """The same recording and variant in every class: equal but for where the figure is."""
    _, walk = film("walking with flashlight", 3)
    for label in CLASSES:
        _, frames = film(label, 3)
        assert frames.shape == walk.shape
        assert (frames == walk).mean() > 0.6
        corner = np.s_[:, :16, :16]
        np.testing.assert_array_equal(frames[corner], walk[corner])


@pytest.mark.parametrize("forth, back", [("Picking", "stand"), ("receiving the phone", "Drink")])
def test_reversed_pairs_show_the_same_poses_in_reverse_order(forth, back):
    timing = Timing(lead=0.1, rest=0.2, tempo=0.5, phase=0.5)
    turned = Timing(lead=0.2, rest=0.1, tempo=0.5, phase=0.5)
    there = skeleton(poses(MOTIONS[forth], progress(MOTIONS[forth], timing, 40)))
    back_again = skeleton(poses(MOTIONS[back], progress(MOTIONS[back], turned, 40)))
    np.testing.assert_allclose(there, back_again[::-1], atol=1e-9)
    assert np.abs(there[0] - there[-1]).max() > 0.2


def test_run_shows_the_poses_of_walking_at_twice_the_speed():
    def shown(label, frames):
        motion = MOTIONS[label]
        return skeleton(poses(motion, progress(motion, timing, frames)))

    timing = Timing(lead=0.1, rest=0.1, tempo=0.5, phase=0.25)
    cycle = shown("walking with flashlight", 41)
    np.testing.assert_allclose(shown("Run", 81), [*cycle, *cycle[1:]], atol=1e-9)


def test_motions_are_smooth_and_stand_on_the_floor():
    timing = Timing(lead=0.1, rest=0.1, tempo=1, phase=0.3)
    for motion in MOTIONS.values():
        places = skeleton(poses(motion, progress(motion, timing, 120)))
        assert np.abs(np.diff(places, axis=0)).max() < 0.08
        np.testing.assert_allclose(places[:, :, 1].max(axis=1), 0, atol=0.01)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ({"recordings": 0}, "recordings is 0: give 1 or more"),
        ({"variants": -1}, "variants is -1: give 1 or more"),
        ({"seed": -1}, "seed is -1: give 0 or more"),
        ({"workers": 0}, "workers is 0: give 1 or more"),
    ],
)
def test_nonsense_is_refused(tmp_path, arguments, complaint):
    with pytest.raises(NoctactError, match=f"^{complaint}$"):
        synthetic.generate(
            tmp_path / "clips", **{"recordings": 1, "variants": 1, "seed": 0} | arguments
        )
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_after_a_failure(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(synthetic, "encode", fail)
    with pytest.raises(OSError, match="disk full"):
        synthetic.generate(tmp_path / "clips", recordings=1, variants=1, seed=0)
    assert not list(tmp_path.iterdir())
