"""Where the trainings of one model with several seeds lie, and what their jobs are called.

Standard library only: the Snakefile imports this.
"""

from collections.abc import Sequence


def folder_of(model: str, seed: int, seeds: Sequence[int]) -> str:
    """The folder in models/ of a training: the first of `seeds` has the model's own."""
    return model if seed == seeds[0] else f"{model}/seed-{seed}"


def training_job(folder: str) -> str:
    """The rule that trains what lies in `folder`, which names its log too."""
    return "train_" + folder.replace("/", "_").replace("-", "_")
