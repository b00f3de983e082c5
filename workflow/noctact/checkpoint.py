"""The checkpoint of a training: what it takes to go on after the last finished epoch."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from noctact.atomic import replacing

FACTS = "facts.json"

Arrays = Mapping[str, Sequence[Any]]


class Restored(NamedTuple):
    """What `read` gives: the facts, and by name the arrays that no variables were named for."""

    facts: dict[str, Any]
    rest: dict[str, list[NDArray[Any]]]


def write(file: Path, identity: str, facts: Mapping[str, Any], arrays: Arrays) -> None:
    """Write `facts` (JSON) and lists of arrays, or of Keras variables, to `file`, whole or not at
    all; `identity` names the training that they belong to.

    A zip file, for the checksum of each member. One array at a time is copied to memory.
    """
    with replacing(file) as partial, zipfile.ZipFile(partial, "w") as archive:
        archive.writestr(FACTS, json.dumps({"identity": identity} | dict(facts)))
        for name, values in arrays.items():
            for number, value in enumerate(values):
                with archive.open(f"{name}/{number}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def read(file: Path, identity: str, variables: Mapping[str, Sequence[Any]]) -> Restored | None:
    """Give the checkpoint in `file` to `variables`; None, and no change, when there is none for the
    training `identity`.

    One that is of another training, or damaged, is not used, and a line says so. One array at a
    time is in memory, but for those that are returned.
    """
    if not file.exists():
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} is not what was written")
            facts = json.loads(archive.read(FACTS))
            if facts.pop("identity") != identity:
                print(f"{file}: of other settings, data or code; begins anew", flush=True)
                return None
            rest: dict[str, list[NDArray[Any]]] = {}
            for member in archive.namelist():
                name, _, number = member.removesuffix(".npy").partition("/")
                if not number:
                    continue
                with archive.open(member) as stream:
                    array = np.lib.format.read_array(stream, allow_pickle=False)
                if name in variables:
                    variables[name][int(number)].assign(array)
                else:
                    rest.setdefault(name, []).append(array)  # in the order of writing
    except (zipfile.BadZipFile, OSError, EOFError, KeyError) as error:
        print(f"{file}: damaged ({error}); begins anew", flush=True)
        return None
    return Restored(facts, rest)
