"""The page of a run in a real browser, its numbers, and what is written for machines."""

import functools
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from made_runs import write_model
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rocrate.rocrate import ROCrate

from noctact import readable
from noctact.__main__ import main
from noctact.provenance import in_order, missing_models, stage_times
from noctact.report import SHOWN_IN_QUARANTINE, report
from noctact.tables import GROUPS, QUARANTINE, SPLIT, write_csv

ROOT = Path(__file__).parents[1]
HOSTILE = ["<img src=x onerror=alert(1)>", '"quotes" & $x$', "{{ 7 * 7 }}", "Übung " + "x" * 90]
MODELS = {"simple_rnn": 0.25, "gru": 0.75, "cnn_gru": 0.5}
CONFIG: dict[str, Any] = {
    "run": "small",
    "models": [*MODELS],
    "seeds": [1],
    "split": {"strategy": "group"},
    "path": "</pre><script>alert(2)</script>",
}
RULES = [
    *(("index", "split"), ("split", "train_gru"), ("train_gru", "evaluate")),
    ("evaluate", "report"),
]
METRICS = ("accuracy", "macro_f1", "top3_accuracy", "log_loss", "ece")


def summary_row(model: str, accuracy: float, seed: int = 1) -> dict[str, Any]:
    """A model of summary.json; all its scores are its accuracy, give or take a tenth."""
    row: dict[str, Any] = {"model": model, "seed": seed, "parameters": 1234567, "flops": None}
    row |= {"model_mb": 4.9, "seconds_per_step": 0.25, "train_seconds": 3600.5}
    row |= {"peak_memory_mb": 2048.5, "inference_ms_1": 8.5, "inference_ms_32": None}
    for split in ("val", "test"):
        row |= {f"{split}_clips": 8, f"{split}_groups": 4}
        for metric in METRICS:
            key = f"{split}_{metric}"
            row |= {key: accuracy, f"{key}_low": accuracy - 0.1, f"{key}_high": accuracy + 0.1}
    return row


def write_run(folder: Path, classes: list[str], bad: int = 0) -> Path:
    """Write what a finished run leaves: tables, blank pictures of usual sizes, no errors of gru.

    `bad` is the number of files in the quarantine, all of the first class.
    """
    for model in MODELS:
        write_model(folder / "models" / model, [("test", *classes[:1] * 2)], classes[:2], seed=1)
        layer = {"layer": "<i>a</i>", "kind": "GRU", "output": "10 x 4", "parameters": 9}
        cost = {"flops": None, "model_mb": 4.9, "inference_ms": {"1": 8.5, "32": 0.5}}
        cost["layers"] = [layer | {"flops": None}]
        (folder / "models" / model / "cost.json").write_text(json.dumps(cost))
    clips = [
        (f"{name}/{n}.mp4", name, f"{name}{n}", ("train", "val", "test")[n % 3])
        for name in classes
        for n in range(6)
    ]
    write_csv(folder / "split" / "split.csv", SPLIT, clips)
    groups = [(clip, group, "single") for clip, _, group, _ in clips]
    write_csv(folder / "dataset" / "groups.csv", GROUPS, groups)
    write_survey(folder / "dataset", classes)
    wrong = [(f"{classes[0]}/bad{n}.mp4", "path", f"<b>{n % 2}</b>") for n in range(bad)]
    write_csv(folder / "dataset" / "quarantine.csv", QUARANTINE, wrong)
    (folder / "benchmarks").mkdir()
    for job, seconds in {
        "split": "0.5",
        "train_gru": "61",
        "evaluate_gru": "NA",
        "report": "1",
    }.items():
        text = f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{seconds}\n"
        (folder / "benchmarks" / f"{job}.tsv").write_text(text)
    comparison = folder / "comparison"
    pictures = {"ranking": (1000, 600), "confusion_with_cnn": (1700, 700), "recall": (700, 900)}
    pictures |= {f"curves/{model}": (1100, 600) for model in MODELS}
    pictures |= {"errors/cnn_gru": (800, 400), "parameters": (800, 500)}
    for stem, size in pictures.items():
        file = comparison / f"{stem}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "#cde").save(file)
    pair = {"model": "simple_rnn", "other": "gru", "seed": 1, "only_model": 0, "only_other": 4}
    pair |= {"p": 0.0001, "p_holm": 0.0003, "difference": -0.5, "low": -0.7, "high": -0.0001}
    unclear = pair | {"other": "cnn_gru", "p_holm": 1.0, "clear": False}
    control = {"accuracy": 0.1, "low": 0.0, "high": 0.2}
    nothing = dict.fromkeys(("difference", "difference_low", "difference_high"))
    gap = {"difference": -0.6, "difference_low": -0.7, "difference_high": -0.5}
    summary = {
        "split": "test",
        "clips": 8,
        "groups": 4,
        "classes": classes,
        "missing": ["lstm"],
        "best": "gru",
        "models": [summary_row(model, accuracy) for model, accuracy in MODELS.items()],
        "significance": [pair | {"clear": True}, unclear],
        "controls": [
            {"control": "majority", "model": None} | control | nothing,
            {"control": "shuffled", "model": "gru"} | control | gap,
        ],
        "verdict": [f"gru is best at {classes[0]}.", "That is all."],
        "warnings": ["One seed <only>.", "</ul><script>alert(3)</script>"],
    }
    (comparison / "summary.json").write_text(json.dumps(summary))
    return folder


def write_survey(folder: Path, classes: list[str]) -> None:
    """Write what stage survey leaves: figures without the sheet of doubtful pairs, and all faults.

    Of the splits one is impossible, and one has no test clips.
    """
    for stem, size in {
        "clips": (900, 600),
        "light": (1300, 600),
        "sheet_recordings": (1700, 900),
    }.items():
        file = folder / "figures" / f"{stem}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "#dec").save(file)
    row = {"clips": 6, "share": 0.5, "train": 2, "val": 2, "test": 2, "groups": 6}
    row |= {"largest_group": 1, "length_min": 1.5, "length_median": 2.5, "length_max": 61.0}
    row |= {"size": "320 x 240", "sizes": 3, "rate": "25 fps", "rates": 1, "brightness": 20.25}
    unknown = dict.fromkeys(("length_min", "length_median", "length_max", "brightness"))
    leak = {"in_use": "no", "impossible": "", "held_out": "test", "clips": 8}
    for kind in ("recording", "alike"):
        leak |= {f"{kind}_clips": 4, f"{kind}_share": 0.5}
        leak |= {f"{kind}_train_test": 1234, f"{kind}_train_val": 5}
    none = dict.fromkeys([key for key in leak if key not in ("in_use", "impossible")])
    no_test = {"held_out": "val", "recording_train_test": None, "alike_train_test": None}
    conflict = {"video_id": f"{classes[0]}/1.mp4", "label": classes[0], "evidence": "content"}
    conflict |= {"other": f"{classes[1]}/1.mp4", "other_label": classes[1]}
    survey = {
        "verdict": [f"12 clips; the largest is {classes[0]}.", "A second sentence."],
        "warnings": ["The split <leaks>.", "</ul><script>alert(4)</script>"],
        "notes": ["One {{ note }}."],
        "scarce_classes": [classes[0], "<i>scarce</i>"],
        "classes": [
            row | {"label": name, "salt": 0.015} | (unknown if n else {})
            for n, name in enumerate(classes)
        ],
        "leaks": [
            leak | {"strategy": "group", "in_use": "yes"},
            leak | none | {"strategy": "random", "impossible": "too <few>"},
            leak | {"strategy": "published"} | no_test,
        ],
        "sources": {"told": 0.28, "measure": "U", "blocks": [], "strays": 0},
        "conflicts": {"number": 60, "shown": [conflict] * 12},
        "sheets": {"sheet_recordings": [f"recording {classes[0]}: 3 clips"], "sheet_doubtful": []},
    }
    (folder / "survey.json").write_text(json.dumps(survey))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose names do their worst, with its page."""
    run = write_run(tmp_path_factory.mktemp("hostile") / "<b>run", HOSTILE, bad=13)
    report(run, CONFIG, RULES)
    return run


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 101 classes, with its page."""
    classes = [f"class number {n}" for n in range(101)]
    run = write_run(tmp_path_factory.mktemp("many") / "many", classes)
    report(run, CONFIG, RULES)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run without a page."""
    return write_run(tmp_path / "small", ["kick", "wave"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium: one on the PATH, or Playwright's own."""
    names = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = next(filter(None, map(shutil.which, names)), own)
        if not Path(path).exists():
            pytest.skip("no Chromium; `playwright install chromium-headless-shell` gets one")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the page of a run; afterwards nothing must have been said, asked for or run."""
    contexts, faults = [], []

    def open_page(run: Path, width: int = 1280, script: bool = True) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:")) else faults.append(request.url)
            ),
        )
        page.goto((run / "report.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["hostile", "many"])
def test_page_fits_and_loads(name, width, visit, request):
    page = visit(request.getfixturevalue(name), width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    widths = page.eval_on_selector_all("img", "images => images.map(each => each.naturalWidth)")
    assert len(widths) == 12
    assert min(widths) > 0


@pytest.mark.parametrize("width", [1280, 390])
def test_page_is_accessible(hostile, width, visit):
    page = visit(hostile, width)
    for details in page.locator("summary").all():
        details.click()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    levels = [
        int(name[1])
        for name in page.eval_on_selector_all("h1,h2,h3,h4", "all => all.map(h => h.tagName)")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    alts = page.eval_on_selector_all("img", "images => images.map(each => each.alt)")
    assert all(len(alt) > 20 for alt in alts)
    assert "gru 75.0% (65\u201385), cnn_gru 50.0% (40\u201360)" in alts[0]


def test_names_are_text_not_markup(hostile, visit):
    page = visit(hostile)
    text = page.locator("body").inner_text()
    said = ["One seed <only>.", "<script>alert(3)", "The split <leaks>.", "<script>alert(4)"]
    for name in [
        *HOSTILE,
        "<b>run",
        "<i>a</i>",
        *said,
        "One {{ note }}.",
        "too <few>",
        "<i>scarce",
    ]:
        assert name in text
    assert page.locator("script").count() == 1
    assert page.locator("b, i").count() == 0


def column(page: Page, name: str) -> list[str]:
    """The texts below the head `name` of the first table."""
    table = page.locator("table").first
    place = [head.split("\n")[0] for head in table.locator("thead th").all_inner_texts()].index(
        name
    )
    return [
        row.locator("th, td").nth(place).inner_text().split("\n")[0]
        for row in table.locator("tbody tr").all()
    ]


def test_table_is_sorted_by_click_and_key(hostile, visit):
    page = visit(hostile)
    table = page.locator("table").first
    assert column(page, "Model") == ["gru", "cnn_gru", "simple_rnn"]
    head = table.get_by_role("columnheader", name="Accuracy")
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "Model") == ["simple_rnn", "cnn_gru", "gru"]
    assert "ascending" in page.get_by_role("status").first.inner_text()
    table.get_by_role("button", name="Model").focus()
    page.keyboard.press("Enter")
    assert column(page, "Model") == ["cnn_gru", "gru", "simple_rnn"]
    assert head.get_attribute("aria-sort") is None


def test_page_is_whole_without_script(hostile, visit):
    page = visit(hostile, script=False)
    assert page.locator("table button").count() == 0
    titles = ["Verdict", "Figures", "Which model recognises most", "Tables", "Models", "Data"]
    titles += ["Errors", "Clips", "What leaks", "Quarantine", "How it was made"]
    titles += ["What the words mean"]
    found = page.locator("h2, h3").all_inner_texts()
    assert [title for title in found if title in titles] == titles
    text = page.locator("main").inner_text()
    assert "lstm: not among the models of the config" in text
    page.locator("summary").nth(1).click()
    assert page.get_by_text("bad9.mp4").is_visible()


def test_what_is_not_there_is_left_out(hostile, visit):
    page = visit(hostile)
    assert page.get_by_role("heading", name="Most confident errors of cnn_gru").count() == 1
    assert page.get_by_role("heading", name="Most confident errors of gru").count() == 0
    assert page.get_by_role("heading", name="What is taken for what: without CNN").count() == 0


def test_quarantine_is_counted_by_reason(hostile, visit):
    page = visit(hostile)
    text = page.locator("section[aria-labelledby=data]").inner_text()
    assert "13 files had to be left out" in text
    assert "7 \u00d7 <b>0</b>" in text
    assert "6 \u00d7 <b>1</b>" in text
    assert page.locator("summary").nth(1).inner_text() == f"The other {13 - SHOWN_IN_QUARANTINE}"


def test_data_are_told(hostile, visit):
    page = visit(hostile)
    section = page.locator("section[aria-labelledby=data]")
    assert section.locator(".verdict strong").inner_text().startswith("12 clips; the largest is")
    assert section.get_by_role("list", name="Warnings about the data").locator("li").count() == 2
    link = page.locator("section[aria-labelledby=verdict]").get_by_role("link")
    assert link.inner_text() == "2 warnings about the data"
    assert "60 clips are the same as a clip of another class" in section.inner_text()
    assert page.locator("summary").first.inner_text() == "2 more"
    rows = [
        [cell.replace("\n", " ").replace("\u202f", " ").strip() for cell in row]
        for row in section.locator("table tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
        )
    ]
    assert [cell.split() for cell in rows[rows.index(next(r for r in rows if "25 fps" in r)) + 1]][
        1:
    ] == [
        *(["6", "50.0%"], ["6", "1"], ["\u2013"], ["320", "x", "240", "2", "more"], ["25", "fps"]),
        *(["\u2013"], ["1.5%"]),
    ]
    own, impossible, published = (
        r for r in rows if r[0].startswith(("by rec", "at ran", "as pub"))
    )
    halves = ["4 of 8 50.0%"] * 2
    assert own == ["by recording (in use)", *halves, "1,234", "5", "1,234", "5"]
    assert impossible == ["at random", "not possible: too <few>"]
    assert published == ["as published", *halves, "\u2013", "5", "\u2013", "5"]
    assert section.get_by_role("heading", name="The largest recordings").count() == 1
    assert section.get_by_role("heading", name="The most doubtful pairs").count() == 0
    assert "No pair of clips is in doubt" in section.inner_text()


@pytest.mark.parametrize("strategy", ["group", "random", "published", "column"])
def test_every_strategy_has_its_words(run, strategy):
    file = run / "dataset" / "survey.json"
    survey = json.loads(file.read_text())
    survey["leaks"].append(survey["leaks"][0] | {"strategy": "column"})
    file.write_text(json.dumps(survey))
    report(run, CONFIG | {"split": {"strategy": strategy}}, RULES)
    page = (run / "report.html").read_text()
    assert "your own" in page


def test_page_without_faults_in_the_data_has_none(run):
    file = run / "dataset" / "survey.json"
    nothing = {
        "warnings": [],
        "notes": [],
        "scarce_classes": [],
        "conflicts": {"number": 0, "shown": []},
    }
    nothing |= {"sheets": {"sheet_recordings": [], "sheet_doubtful": []}}
    file.write_text(json.dumps(json.loads(file.read_text()) | nothing))
    report(run, CONFIG, RULES)
    page = (run / "report.html").read_text()
    assert "Errors</h3>" not in page
    assert "about the data" not in page
    assert "clip by clip" not in page
    assert "The largest recordings</h3>" not in page
    assert "No recording has more than one clip" in page


def test_run_json_says_how_it_was_made(hostile):
    facts = json.loads((hostile / "run.json").read_text())
    assert facts["config"] == CONFIG
    assert facts["seeds"] == [1]
    assert facts["data"]["clips"][HOSTILE[0]] == {"train": 2, "val": 2, "test": 2, "quarantine": 13}
    assert facts["data"]["recordings"] == {"train": 8, "val": 8, "test": 8}
    assert facts["jobs"] == [
        {"rule": "split", "job": "split", "seconds": 0.5, "max_rss_mb": 0.5},
        {"rule": "train_gru", "job": "train_gru", "seconds": 61.0, "max_rss_mb": 61.0},
        {"rule": "evaluate", "job": "evaluate_gru", "seconds": None, "max_rss_mb": None},
    ]
    assert facts["commit"] is None or re.fullmatch("[0-9a-f]{40}", facts["commit"])
    assert set(facts["versions"]) >= {"matplotlib", "pandas"}


def test_crate_names_the_workflow_and_each_result(run):
    (run / "models" / "gone").mkdir()
    (run / "models" / "gone" / "model.keras").touch()  # of a model that is compared no longer
    report(run, CONFIG, RULES)
    crate = ROCrate(run)
    workflow = crate.mainEntity
    assert workflow["programmingLanguage"].id.endswith("#snakemake")
    text = (run / workflow.id).read_text()
    assert "rule all:" in text
    assert "rule compare:" in text
    assert 'include: "' not in text
    (action,) = [each for each in crate.contextual_entities if each.type == "CreateAction"]
    assert action["instrument"] == workflow
    assert json.loads(action["object"]["value"]) == CONFIG
    results = {entity.id for entity in action["result"]}
    assert {"report.html", "run.json", "models/gru/predictions.csv"} <= results
    assert {"comparison/ranking.png", "comparison/summary.json", "split/split.csv"} <= results
    assert {"dataset/survey.json", "dataset/figures/clips.png", "dataset/groups.csv"} <= results
    assert all((run / name).is_file() for name in results)
    assert not any("gone" in name for name in results)


def test_same_inputs_give_the_same_bytes(run):
    names = ["report.html", "run.json", "ro-crate-metadata.json"]
    report(run, CONFIG, RULES)
    first = [(run / name).read_bytes() for name in names]
    report(run, CONFIG, RULES)
    assert [(run / name).read_bytes() for name in names] == first


def test_several_seeds_are_told_apart(run):
    config = CONFIG | {"seeds": [1, 7]}
    write_model(
        run / "models/gru/seed-7", [("test", "kick", "kick")], ["kick", "wave"], None, "gru", 7
    )
    file = run / "comparison" / "summary.json"
    summary = json.loads(file.read_text())
    summary["models"].append(summary_row("gru", 0.6, seed=7))
    nothing = dict.fromkeys(("seed", "only_model", "only_other", "p", "p_holm"))
    summary["significance"][0] |= {"seed": 1234}
    summary["significance"][1] |= nothing  # two models that share no seed
    file.write_text(json.dumps(summary))
    report(run, config, RULES)
    page = (run / "report.html").read_text()
    assert "gru, seed 7 60.0% (50\u201370)" in page
    assert page.count('<h3 id="model-') == 3
    pair = r'simple_rnn</th><td>\w+</td><td class="n" data-value="(.*?)">(.*?)</td>'
    seeds = re.findall(pair, page)
    assert seeds == [("1234", "1234"), ("", readable.NONE)]
    missing = json.loads((run / "run.json").read_text())["missing"]
    assert [(one["model"], one["seed"]) for one in missing] == [
        ("simple_rnn", 7),
        ("cnn_gru", 7),
        ("lstm", None),
    ]


@pytest.mark.parametrize(("classes", "shown"), [(3, False), (4, True)])
def test_top_3_of_three_classes_is_left_out(tmp_path, classes, shown):
    run = write_run(tmp_path / "run", [str(n) for n in range(classes)])
    report(run, CONFIG)
    page = (run / "report.html").read_text()
    assert ("Top-3" in page) == shown
    (head,) = re.findall(r"<thead>.*?Macro F1.*?</thead>", page, re.DOTALL)
    (row,) = re.findall(r'<tr class="best"><th scope="row">gru</th>.*?</tr>', page)
    assert head.count("<th ") == row.count("<td ") + 1 == 13 + shown


@pytest.mark.parametrize(
    ("width", "on_desktop", "on_phone"),
    [
        (1250, 800, 350),  # pixels of the file: 150 an inch, of the screen 96
        (1500, 960, 576),
        (2500, 1112, 896),
        (5000, 3200, 3200),
    ],
)
def test_pictures_stay_large_enough_to_read(run, visit, width, on_desktop, on_phone):
    Image.new("RGB", (width, 600), "#cde").save(run / "comparison" / "ranking.png")
    report(run, CONFIG)
    for screen, expected in ((1280, on_desktop), (390, on_phone)):
        page = visit(run, screen)
        assert page.locator("img").first.bounding_box()["width"] == pytest.approx(expected, abs=1)
        assert page.evaluate("document.documentElement.scrollWidth") == screen


def test_missing_models_are_explained(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/train_gru.log").write_text("epoch 1\nnoctact train: the loss is NaN\n\n")
    (tmp_path / "logs/train_lstm.log").write_text("epoch 20\n")
    (tmp_path / "logs/evaluate_lstm.log").write_text("noctact evaluate: no memory\n")
    (tmp_path / "models/lstm").mkdir(parents=True)
    (tmp_path / "models/lstm/model.keras").touch()
    config = {"models": ["cnn_gru", "cnn_lstm", "gru", "lstm"], "seeds": [1]}
    summary = {"models": [{"model": "cnn_gru", "seed": 1}], "missing": ["gru", "lstm", "other"]}
    reasons = {one["model"]: one["reason"] for one in missing_models(tmp_path, config, summary)}
    assert reasons == {
        "cnn_lstm": "in the config, but without results: not run yet",
        "gru": "failed: see logs/train_gru.log, which ends in: noctact train: the loss is NaN",
        "lstm": "failed: see logs/evaluate_lstm.log, which ends in: noctact evaluate: no memory",
        "other": "not among the models of the config",
    }


def test_times_of_an_earlier_config_are_passed_over(tmp_path):
    jobs = ["extract-000", "evaluate_gru", "evaluate_gru/seed-2", "evaluate_lstm", "train_lstm"]
    for job in jobs:
        file = tmp_path / "benchmarks" / f"{job}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("s\tmax_rss\n1.5\t20.0\n")
    found = stage_times(tmp_path, ["extract", "evaluate"], ["gru", "gru/seed-2"])
    assert [job["job"] for job in found] == ["extract-000", "evaluate_gru", "evaluate_gru/seed-2"]


def test_rules_are_linked_by_their_files(tmp_path, make_tree):
    names = [f"{n}.mp4" for n in range(3)]
    clips = make_tree(tmp_path / "clips", {"kick": names, "wave": names})
    shutil.copytree(ROOT / "config", tmp_path / "config")
    command = [Path(sys.executable).with_name("snakemake"), "-np", "-s", ROOT / "Snakefile"]
    command += ["--workflow-profile", "none", "--config", "source=folder", f"path={clips}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    rules = re.search(r"--rules '(.*?)'", done.stdout)
    assert rules, done.stderr
    edges = [(one, other) for one, other in json.loads(rules[1])]
    assert len(edges) == len(set(edges))
    expected = {
        ("index", "audit"),
        ("extract", "audit"),
        ("audit", "split"),
        ("extract", "train_gru"),
        ("split", "survey"),
        ("audit", "survey"),
        ("survey", "report"),
    }
    expected |= {("split", "train_gru"), ("train_gru", "evaluate"), ("evaluate", "compare")}
    assert expected | {("compare", "report")} <= set(edges)
    assert not {"acquire", "all"} & {rule for edge in edges for rule in edge}
    order = in_order(edges)
    assert order[:4] == ["index", "extract", "audit", "split"]
    assert order[-1] == "report"
    assert order.index("split") < order.index("survey")
    assert order.index("evaluate") < order.index("compare")


def test_faults_are_one_line(run, capsys):
    config = json.dumps(CONFIG)
    words = ["report", str(run), "--config", config]
    summary = run / "comparison" / "summary.json"
    text = summary.read_text()

    def fault(*arguments: str) -> str:
        assert main(list(arguments or words)) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert not (run / "report.html").exists()
        return line

    assert "--config: not JSON" in fault("report", str(run), "--config", "{")
    assert "--config: no key 'seeds'" in fault("report", str(run), "--config", '{"models": []}')
    assert "--rules: not pairs of rules" in fault(*words, "--rules", '["one"]')
    assert "--rules: a circle, b -> a -> b" in fault(*words, "--rules", '[["a", "b"], ["b", "a"]]')
    (run / "comparison" / "ranking.png").write_bytes(b"GIF89a")
    assert "ranking.png: not a PNG picture" in fault()
    (run / "comparison" / "ranking.png").unlink()
    summary.write_text(text.replace("train_seconds", "seconds"))
    assert "summary.json: " in fault()
    summary.write_text(text.replace('"verdict"', '"said"'))
    assert "summary.json: no key 'verdict'; run stage compare again" in fault()
    summary.unlink()
    assert "summary.json: missing; run stage compare first" in fault()
    summary.write_text(text)
    survey = run / "dataset" / "survey.json"
    said = survey.read_text()
    survey.write_text(said.replace('"sheets"', '"pages"'))
    assert "survey.json: no key 'sheets'; run stage survey again" in fault()
    survey.write_text(said.replace('"share"', '"part"'))
    assert "survey.json; run stages survey and compare again" in fault()
    survey.unlink()
    assert "survey.json: missing; run stage survey first" in fault()
    survey.write_text(said)
    (run / "models/gru/cost.json").unlink()
    assert "cost.json: missing" in fault()


@pytest.mark.parametrize(
    ("words", "number", "text"),
    [
        (readable.percent, 0.8409, "84.1%"),
        (readable.percent, None, "\u2013"),
        (readable.count, 1234567, "1,234,567"),
        (readable.short, 999_999, "1 M"),
        (readable.short, 859_852, "860 k"),
        (readable.short, 1_234_567, "1.23 M"),
        (readable.short, 396, "396"),
        (readable.short, 0, "0"),
        (readable.duration, 0.0811, "81 ms"),
        (readable.duration, 0.0042, "4.2 ms"),
        (readable.duration, 3.21, "3.2 s"),
        (readable.duration, 35.1, "35 s"),
        (readable.duration, 59.7, "1 min 00 s"),
        (readable.duration, 125, "2 min 05 s"),
        (readable.duration, 3599.8, "1 h 00 min"),
        (readable.duration, 11_550, "3 h 12 min"),
        (readable.megabytes, 933.9, "934 MB"),
        (readable.megabytes, 4400, "4.4 GB"),
        (readable.probability, 0.0001, "< 0.001"),
        (readable.probability, 0.0123, "0.012"),
        (readable.listed, ["a", 2, "c"], "a, 2 and c"),
        (readable.listed, [1], "1"),
        (functools.partial(readable.shortened, most=7), "abc\ndefg", "abc\u2026efg"),
        (functools.partial(readable.shortened, most=8), "abc\ndefg", "abc defg"),
        (functools.partial(readable.shortened, most=6), "abcdefgh", "abc\u2026gh"),
    ],
)
def test_numbers_read_well(words, number, text):
    assert words(number).replace("\u202f", " ") == text


def test_estimates_and_differences_carry_their_interval():
    row = {"a": 0.841, "a_low": 0.728, "a_high": 0.931, "b": 0.5}
    assert readable.estimate(row, "a") == "84.1% (73\u201393)"
    assert readable.estimate(row, "b") == "50.0%"
    pair = {"d": -0.0004, "low": -0.123, "high": 0.004}
    assert readable.points(pair, "d", "low", "high") == "0.0 (\u221212 to 0)"
