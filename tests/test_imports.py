"""Quick imports: the garbage collector as before, and packages that are hidden meanwhile only."""

import gc
import sys

import pytest

from noctact.imports import quick_imports


@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_is_as_before(collects: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with pytest.raises(ZeroDivisionError), quick_imports():
            assert not gc.isenabled()
            _ = 1 / 0
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()
        gc.unfreeze()


def test_packages_are_hidden_meanwhile_only() -> None:
    sys.modules.pop("this", None)
    with quick_imports("this", "json"):
        assert json_is_there()
        with pytest.raises(ImportError):
            __import__("this")
    assert "this" not in sys.modules
    gc.unfreeze()


def json_is_there() -> bool:
    """What is loaded already stays."""
    return __import__("json").dumps([1]) == "[1]"
