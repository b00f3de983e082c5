"""Set up the Keras backend. The one place that names TensorFlow; import before `keras`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from noctact.imports import quick_imports

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


# Keras and TensorFlow load these where they find them, for uses that are not ours.
UNUSED = {"jax", "matplotlib", "sklearn"} - {os.environ["KERAS_BACKEND"]}

with _silent_stderr(), quick_imports(*UNUSED):
    import keras


def configure(threads: int, seed: int) -> None:
    """Hold the arithmetic to `threads` CPU threads, and seed all random numbers with `seed`.

    Under TensorFlow the same seed and number of threads give the same bytes on one machine, and a
    GPU's memory is taken as it is needed; under another backend only the seed counts. Must come
    before the first operation.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415 - another backend may be in use without it

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    keras.utils.set_random_seed(seed)


def has_gpu() -> bool:
    """Whether the backend sees a GPU."""
    return bool(keras.distribution.list_devices("gpu"))


def out_of_memory() -> tuple[type[Exception], ...]:
    """The errors that say that memory, of the machine or of a GPU, has run out."""
    if keras.backend.backend() != "tensorflow":
        return (MemoryError,)
    import tensorflow as tf  # noqa: PLC0415 - as above

    return (MemoryError, tf.errors.ResourceExhaustedError)


def adam(learning_rate: Any, **options: Any) -> keras.optimizers.Optimizer:
    """Keras's Adam; under TensorFlow updated by its one kernel for it, which takes a third of the
    time and memory of the dozen operations of `keras.optimizers.Adam`, and gives the same numbers
    but for the last digits.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.optimizers.Adam(learning_rate, **options)
    import tensorflow as tf  # noqa: PLC0415 - as above

    class Adam(keras.optimizers.Adam):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            steps = tf.cast(self.iterations + 1, variable.dtype)
            number = self._get_variable_index(variable)
            weights, mean, square = (
                # Keras's variables hold TensorFlow's, which alone have a handle.
                (each.value if isinstance(each, keras.Variable) else each).handle
                for each in (variable, self._momentums[number], self._velocities[number])
            )
            tf.raw_ops.ResourceApplyAdam(
                var=weights,
                m=mean,
                v=square,
                beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), steps),
                beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), steps),
                lr=tf.cast(learning_rate, variable.dtype),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=tf.cast(gradient, variable.dtype),
            )

    return Adam(learning_rate, **options)


def versions() -> dict[str, str]:
    """Versions of Keras and its backend."""
    backend = keras.backend.backend()
    module = __import__(backend)
    return {"keras": keras.__version__, backend: module.__version__}
