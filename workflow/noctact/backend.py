"""Set up the Keras backend. The one place that names TensorFlow; import before `keras`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what native code writes to stderr meanwhile.

    While it loads, TensorFlow 2.21 heeds no log level: its notes on its own build would bury the
    one line of a stage's error.
    """
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


with _silent_stderr():
    import keras


def configure(threads: int, seed: int) -> None:
    """Hold the arithmetic to `threads` CPU threads, and seed all random numbers with `seed`.

    Under TensorFlow the same seed and number of threads give the same bytes on one machine.
    Must come before the first operation.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415 - another backend may be in use without it

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def versions() -> dict[str, str]:
    """Versions of Keras and its backend."""
    backend = keras.backend.backend()
    module = __import__(backend)
    return {"keras": keras.__version__, backend: module.__version__}
