"""One list of direct dependencies; the lock and the conda specs agree with it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "workflow/noctact"
LOCK = (ROOT / "envs/lock.txt").read_text(encoding="utf-8")
SPECS = {file.stem: yaml.safe_load(file.read_text()) for file in ROOT.glob("envs/*.yaml")}
# Which stages run in which environment, as their rules say.
RULES = {
    file.stem: re.findall(r"envs/(\w+)\.yaml", file.read_text())
    for file in ROOT.glob("workflow/rules/*.smk")
    if re.search(r"^ *(rule\b|checkpoint\b)", file.read_text(), re.M)
}


def pins(requirements: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"([\w-]+)==(\S+)", line).groups() for line in requirements)


def direct(part: str) -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return pins(project["optional-dependencies"][part] if part else project["dependencies"])


def conda(name: str) -> dict[str, str]:
    (pip,) = (part["pip"] for part in SPECS[name]["dependencies"] if isinstance(part, dict))
    return pins(pip)


def test_lock_holds_the_direct_dependencies_with_hashes_and_no_address():
    locked = re.findall(
        r"^([\w.-]+)==(\S+)([^#\n]*\\\n(?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", LOCK, re.M
    )
    assert len(locked) == len(re.findall(r"^[\w.-]+==", LOCK, re.M)), "a package without a hash"
    versions = {}
    for name, version, _ in locked:
        versions.setdefault(name, set()).add(version)
    for name, version in (direct("") | direct("dev")).items():
        assert versions[name] == {version}, name
    assert "://" not in LOCK
    assert "--index" not in LOCK


@pytest.mark.parametrize("name", SPECS)
def test_conda_spec_has_the_pins_of_the_list(name):
    listed = direct("")
    for package, version in conda(name).items():
        assert listed[package] == version, package


@pytest.mark.parametrize("name", SPECS)
def test_conda_python_is_one_that_the_project_takes(name):
    (python,) = (part for part in SPECS[name]["dependencies"] if str(part).startswith("python="))
    assert python.removeprefix("python=") in ("3.11", "3.12", "3.13")


def test_every_rule_names_its_environment():
    assert {name for names in RULES.values() for name in names} == set(SPECS)
    assert all(len(names) == 1 for names in RULES.values()), RULES


def imports(file: Path, seen: frozenset[Path] = frozenset()) -> set[str]:
    """Top-level packages that `file` imports, itself and through noctact's modules but `seen`."""
    found: set[str] = set()
    seen |= {file}
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in set(ast.walk(tree)) - for_types:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] != "noctact":
                found.add(parts[0])
                continue
            module = LIBRARY.joinpath(*parts[1:])
            for source in (module.with_suffix(".py"), module / "__init__.py"):
                if len(parts) > 1 and source.exists() and source not in seen:
                    found |= imports(source, seen)
    return found


@pytest.mark.parametrize("stage", RULES)
def test_environment_of_a_stage_holds_what_it_imports(stage):
    distributions = packages_distributions()
    needed = {
        distributions[package][0].lower()
        for package in imports(LIBRARY / f"{stage}.py") | imports(LIBRARY / "__main__.py")
        if package not in sys.stdlib_module_names
    }
    assert needed <= set(conda(RULES[stage][0])), stage
