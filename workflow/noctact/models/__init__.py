"""The models: one file each, with `build(frames, classes, units, dropout) -> keras.Model`.

A new model is a new file here and its name in the config key `models`.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from noctact.errors import NoctactError

if TYPE_CHECKING:
    import keras

NOT_MODELS = {"__init__", "layers"}


def model_names() -> list[str]:
    """The models that can be named in the config: the files of this folder."""
    return sorted({file.stem for file in Path(__file__).parent.glob("*.py")} - NOT_MODELS)


def build_model(
    name: str, frames: tuple[int, int, int], classes: int, units: list[int], dropout: float
) -> "keras.Model":
    """Build the model `name`; `frames` is (count, height, width).

    Input: uint8 (clips, count, height, width, 3), 0 to 255, RGB. Output: float32 (clips, classes),
    softmax. Raises NoctactError for an unknown name.
    """
    if name not in model_names():
        raise NoctactError(f"no model {name!r}; there are {', '.join(model_names())}")
    # Imported by name, so that a model's code is an input of its own training only.
    model = import_module(f"noctact.models.{name}").build(frames, classes, units, dropout)
    model.name = name
    return model
