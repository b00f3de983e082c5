"""What a comparison says: each sentence and each warning where it applies, and nowhere else."""

import re
from pathlib import Path

import pandas as pd
import pytest
from made_runs import CLASSES, repeated, write_model, write_run

from noctact import verdict
from noctact.compare import weigh

THIRTY = [f"recording {n // 2}" for n in range(60)]  # 60 clips, two a recording


def said(run: Path) -> tuple[str, list[str]]:
    """The verdict as one text, and the warnings."""
    evidence, _ = weigh(run)
    return " ".join(verdict.sentences(evidence)), verdict.warnings(evidence)


def warned(run: Path, words: str) -> list[str]:
    """The warnings with `words` in them."""
    return [text for text in said(run)[1] if words in text]


def test_the_best_and_how_sure_that_is(tmp_path: Path) -> None:
    models = {"gru": repeated(60, 30), "cnn_gru": repeated(60, 54), "cnn_lstm": repeated(60, 52)}
    text, _ = said(write_run(tmp_path / "run", models, THIRTY))
    assert re.match(
        r"cnn_gru gives 90\.0% \(95% interval \d\d to \d\d+%\) of the 60 test clips "
        r"\(30 recordings\) their true class: the best of 3 models\. "
        r"It is clearly better than gru\. "
        r"These clips don't tell it apart from cnn_lstm: against cnn_lstm the difference is "
        r"\+3\.3 points \(interval 0\.0 to \+\d\d?\.\d\)\. "
        r"The per-frame CNN changes the accuracy by \+40\.0 points \(interval \+\d\d\.\d to "
        r"\+\d\d\.\d\) for gru\. ",
        text,
    )
    # Of six mistakes two are the third class and two the fourth one; the first of them is told.
    assert text.endswith(
        f"Its most frequent mistake: {CLASSES[2]!r} taken for {CLASSES[3]!r}, 2 of 15 times."
    )


def test_one_model_alone(tmp_path: Path) -> None:
    text, _ = said(write_run(tmp_path / "run", {"gru": repeated(60, 60)}, THIRTY))
    assert text.startswith(
        "gru gives 100.0% (95% interval 100 to 100%) of the 60 test clips (30 recordings) their "
        "true class. From frames in random order gru gets 100.0%"
    )
    assert text.endswith("It makes no mistake on them.")


def test_a_smaller_model_that_is_as_good_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"gru": repeated(60, 50)}, THIRTY)
    write_model(run / "models" / "lstm", repeated(60, 49), parameters=1000)
    assert "Of these lstm is the smallest: 1,000 parameters, not 1,234,567." in said(run)[0]


def test_one_seed_of_some_models(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"gru": repeated(60, 50), "lstm": repeated(60, 40)}, THIRTY)
    write_model(run / "models" / "gru" / "seed-2", repeated(60, 45), model="gru", seed=2)
    (text,) = warned(run, "seed")
    assert text.startswith("One seed of lstm: this ranks these trained models")


def test_of_equal_models_the_smaller_one_is_best(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"gru": repeated(60, 50)}, THIRTY)
    write_model(run / "models" / "lstm", repeated(60, 50), parameters=1000)
    text, _ = said(run)
    assert text.startswith("lstm gives")
    assert "their true class: others of 2 models are as accurate." in text


def test_an_encoder_of_open_use(tmp_path: Path) -> None:
    models = {"gru": repeated(60, 50), "cnn_gru": repeated(60, 50)}
    text, _ = said(write_run(tmp_path / "run", models, THIRTY))
    assert "by 0.0 points (interval 0.0 to 0.0) for gru, so that its use stays open." in text


def test_several_seeds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"gru": repeated(60, 60)}, THIRTY)
    write_model(run / "models" / "gru" / "seed-2", repeated(60, 30), model="gru", seed=2)
    text, warnings = said(run)
    assert text.startswith("gru gives 75.0% (95% interval ")
    assert (
        "Only 2 seeds: where another seed changes much, the intervals are too narrow." in warnings
    )
    assert "their true class, on average over 2 seeds." in text
    assert "8 of 30 times" in text
    assert not any("One seed" in warning for warning in warnings)


def test_a_sound_run_has_only_the_warnings_that_apply_to_it(tmp_path: Path) -> None:
    models = {
        name: repeated(60, right)
        for name, right in zip(
            ["simple_rnn", "lstm", "gru", "cnn_simple_rnn", "cnn_lstm", "cnn_gru"],
            [40, 42, 44, 46, 48, 50],
            strict=True,
        )
    }
    run = write_run(tmp_path / "run", models, THIRTY, altered=repeated(60, 0))
    (warning,) = said(run)[1]
    assert warning.startswith("One seed: this ranks these trained models, not the architectures.")


def test_order_and_motion_that_add_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"gru": repeated(60, 50)}, THIRTY)
    write_model(run / "models" / "lstm", repeated(60, 50), altered=repeated(60, 20))
    assert warned(run, "adds nothing") == [
        "On these clips the order of the frames adds nothing measurable to gru.",
        "On these clips all that comes after the first frame adds nothing measurable to gru.",
    ]


def test_metadata_that_give_the_class_away(tmp_path: Path) -> None:
    models = {"gru": repeated(60, 50)}
    run = write_run(tmp_path / "leak", models, THIRTY, {"metadata": repeated(60, 30)})
    (warning,) = warned(run, "metadata give the class away")
    assert "50.0% (95% interval" in warning
    by_chance = write_run(tmp_path / "fine", models, THIRTY, {"metadata": repeated(60, 2)})
    assert not warned(by_chance, "metadata")


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (30, None),
        (
            49,
            "These clips don't tell gru apart from a logistic regression on the mean frame: the "
            "difference is +1.7 points",
        ),
        (60, "A logistic regression on the mean frame is clearly better than gru, the best model"),
    ],
)
def test_a_mean_frame_that_is_as_good(tmp_path: Path, right: int, words: str | None) -> None:
    models = {"gru": repeated(60, 50)}
    run = write_run(tmp_path / "run", models, THIRTY, {"mean_frame": repeated(60, right)})
    assert [text.startswith(words or "") for text in warned(run, "mean frame")] == [True] * bool(
        words
    )


def test_a_model_no_better_than_chance(tmp_path: Path) -> None:
    """Of 60 clips 30 are of the second class, which is never the majority of the training clips."""
    halves = [("test", CLASSES[n % 2], CLASSES[0]) for n in range(60)]
    good = [(split, true, true) for split, true, _ in halves]
    run = write_run(tmp_path / "run", {"gru": good, "lstm": halves}, THIRTY, altered=halves)
    (text,) = warned(run, "naming one class")
    assert re.match(
        r"Not clearly better than always naming one class, "
        r"50\.0% \(95% interval 50 to 50%\): lstm\.",
        text,
    )
    # And not a second time for its frames, which can't add what it does not have.
    assert not any("lstm" in text for text in warned(run, "adds nothing"))


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (None, ["60 of these 60 clips are not known to share their recording"]),
        # A copy of one clip tells nothing of the others.
        (["0", "0", *map(str, range(58))], ["57 of these 60 clips are not known to share"]),
        (["one"] * 60, ["Only 1 recording to test on: the intervals are too narrow"]),
        ([str(n // 4) for n in range(60)], ["Only 15 recordings to test on"]),
        (THIRTY, []),
    ],
)
def test_recordings(tmp_path: Path, groups: list[str] | None, words: list[str]) -> None:
    run = write_run(tmp_path / "run", {"gru": repeated(60, 50)}, groups)
    texts = warned(run, "recording")
    assert [text.startswith(start) for text, start in zip(texts, words, strict=True)] == [
        True for _ in words
    ]


def test_no_interval_where_all_are_right(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"gru": repeated(60, 60), "lstm": repeated(60, 50)}, THIRTY)
    (text,) = warned(run, "no interval can be drawn for gru.")
    assert "up to 10% may go the other way" in text  # 3 of 30 recordings


def test_a_recording_on_both_sides_of_the_split(tmp_path: Path) -> None:
    groups = [f"train {CLASSES[0]}", *THIRTY[1:]]
    run = write_run(tmp_path / "run", {"gru": repeated(60, 50)}, groups)
    assert warned(run, "1 recording on both sides of the split")


def test_no_test_split(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"gru": repeated(60, 50, "val")}, THIRTY)
    assert warned(run, "There is no test split")
    assert "of the 60 validation clips" in said(run)[0]


def test_still_improving_when_the_training_ended(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"lstm": repeated(60, 50)}, THIRTY)
    columns = {"epoch": [1, 2, 3], "loss": 0.5, "accuracy": 0.5, "val_accuracy": 0.4}
    for name, losses in {"gru": [0.5, 0.4, 0.3], "cnn_gru": [0.5, 0.3, None]}.items():
        history = pd.DataFrame(columns | {"val_loss": losses})
        write_model(run / "models" / name, repeated(60, 50), history=history)
    (warning,) = warned(run, "Still improving")
    assert warning.startswith("Still improving when the training ended: gru. ")
