"""Hashes of code: what changes them and what does not, and whose code belongs to which stage."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from noctact import sources
from noctact.sources import code, essence

LIBRARY = Path(sources.LIBRARY)
PLAIN = "def f(a, b=1):\n    return a + b\n"


def same(one: str, other: str) -> bool:
    return essence(ast.parse(one)) == essence(ast.parse(other))


@pytest.mark.parametrize(
    "other",
    [
        "# a comment\ndef f(a, b=1):  # another\n\n    return a + b\n",
        '"""A module."""\ndef f(a, b=1):\n    """Add."""\n    return a + b\n',
        "def f(\n    a,\n    b=1,\n):\n    return (\n        a\n        + b\n    )\n",
        "\n\n\ndef f(a, b=0x1):\n        return a + b",
    ],
)
def test_comments_docstrings_and_layout_do_not_count(other: str) -> None:
    assert same(PLAIN, other)


@pytest.mark.parametrize(
    "other",
    [
        "def f(a, b=2):\n    return a + b\n",
        "def f(a, b=1.0):\n    return a + b\n",
        "def f(a, b=True):\n    return a + b\n",
        "def f(a, b='1'):\n    return a + b\n",
        "def f(a, b=b'1'):\n    return a + b\n",
        "def f(a, b=1):\n    return b + a\n",
        "def f(a, b=1):\n    return a - b\n",
        "def f(a, c=1):\n    return a + c\n",
        "def f(a, *, b=1):\n    return a + b\n",
        "def f(a, b=1):\n    return a + b\nf(1)\n",
        "async def f(a, b=1):\n    return a + b\n",
        "@g\ndef f(a, b=1):\n    return a + b\n",
        "def f(a, b=1):\n    'text'\n    'not a docstring'\n    return a + b\n",
    ],
)
def test_what_the_code_does_counts(other: str) -> None:
    assert not same(PLAIN, other)


def test_an_fstring_counts() -> None:
    assert not same("f'{a:.1f}'", "f'{a:.2f}'")
    assert not same("f'{a}'", "f'{a!r}'")


def test_the_two_branches_of_a_condition_are_not_one() -> None:
    assert not same("if a:\n    b\nelse:\n    c\n", "if a:\n    b\n    c\n")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library in place of ours."""
    files = {
        "__init__": "",
        "stage": "from noctact.inner import tool\n",
        "lazy": "def run():\n    from noctact import other\n",
        "plain": "import noctact.other as o, json\n",
        "other": "x = 1\n",
        "alone": "import numpy\nfrom pathlib import Path\n",
        "inner/__init__": "",
        "inner/tool": "from . import part\nfrom ..other import x\n",
        "inner/part": "from .tool import a\n",
    }
    for name, text in files.items():
        file = tmp_path / "noctact" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(sources, "LIBRARY", tmp_path)
    return tmp_path / "noctact"


def names(*modules: str) -> list[str]:
    return [entry.split()[0].removeprefix("noctact/") for entry in code(*modules)]


def test_imports_are_followed_wherever_they_stand(library: Path) -> None:
    inner = ["inner/__init__.py", "inner/part.py", "inner/tool.py"]
    assert names("stage") == ["__init__.py", *inner, "other.py", "stage.py"]
    assert names("lazy") == ["__init__.py", "lazy.py", "other.py"]
    assert names("plain") == ["__init__.py", "other.py", "plain.py"]
    assert names("alone") == ["__init__.py", "alone.py"]
    assert names("lazy", "alone") == ["__init__.py", "alone.py", "lazy.py", "other.py"]
    assert names("inner.part") == ["__init__.py", *inner, "other.py"]


def test_one_edit_shows_in_one_entry(library: Path) -> None:
    before = code("stage")
    sources.read_source.cache_clear()
    (library / "other.py").write_text("x = 2\n")
    changed = set(before) ^ set(code("stage"))
    assert {entry.split()[0] for entry in changed} == {"noctact/other.py"}


def test_a_model_is_the_code_of_its_own_training_only() -> None:
    gru = {entry.split()[0] for entry in code("train", "models.gru")}
    assert "noctact/models/gru.py" in gru
    assert {"noctact/models/layers.py", "noctact/training.py", "noctact/backend.py"} <= gru
    assert not gru & {"noctact/models/lstm.py", "noctact/compare.py", "noctact/video.py"}
    for stage in ("extract", "audit", "split", "survey", "evaluate", "compare", "report"):
        found = {entry.split()[0] for entry in code(stage)}
        assert f"noctact/{stage}.py" in found
        models = {name for name in found if name.startswith("noctact/models/")}
        assert models <= {"noctact/models/__init__.py", "noctact/models/layers.py"}, stage


def test_hashes_are_the_same_in_another_process() -> None:
    again = "import json; from noctact.sources import code; print(json.dumps(code('training')))"
    done = subprocess.run(
        [sys.executable, "-c", again], check=True, capture_output=True, cwd=LIBRARY, text=True
    )
    assert json.loads(done.stdout) == code("training")
