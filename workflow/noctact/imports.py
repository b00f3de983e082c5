"""Import large packages in half the time: a job's start is a quarter of the work of a short run."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports(*without: str) -> Iterator[None]:
    """Import meanwhile without collecting garbage, and as if packages `without` were missing.

    What an import makes stays: the collector looks through all of it again and again, and once more
    when Python ends. `benchmarks/overhead.py` has the figures.
    """
    hidden = [name for name in without if name not in sys.modules]
    # None: the import fails as that of a missing package does.
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        if collects:
            gc.enable()
