"""Peak memory of extraction, and of one epoch of reading, with 200 and with 2,000 clips.

Of the two processes of an extraction the larger counts.

Each measurement is a process of its own. The clips are copies of a few generated ones; frames have
the published size.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from noctact.synthetic import generate

MEASURE = """
import json, resource, sys
def peak():
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024
"""

EXTRACT = f"""{MEASURE}
from pathlib import Path
from noctact.extract import extract
root, output = map(Path, sys.argv[1:])
from noctact.sampling import FrameSettings
settings = FrameSettings(10, 240, 320)
extract(root, 0, 1, settings, output, output.with_suffix(".csv"), 120, 1000)
print(json.dumps(peak()))
"""

READ = f"""{MEASURE}
from pathlib import Path
from noctact import backend
import keras
from noctact.batches import Batches
from noctact.shards import Shards
import h5py
file = Path(sys.argv[1])
with h5py.File(file) as shard:
    names = list(shard["video_id"].asstr()[:])
batches = Batches(Shards([file]), names, [0] * len(names), 2, 64, seed=1)
for _ in batches.epoch():
    pass
print(json.dumps(peak()))
"""


def measure(program: str, *words: Path) -> float:
    """Peak resident memory, MiB, that `program` prints on its last line."""
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return float(json.loads(done.stdout.splitlines()[-1]))


def copies(source: list[Path], n: int, folder: Path) -> None:
    """Fill `folder` with `n` clips of two classes."""
    for i in range(n):
        clip = source[i % len(source)]
        target = folder / f"class{i % 2}" / f"{i:05}{clip.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, target)


def main() -> None:
    """Print the table and the ratios."""
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "source", recordings=1, variants=1, seed=1)
        source = sorted(folder.glob("source/*/*"))
        for n in (200, 2000):
            copies(source, n, folder / f"clips{n}")
            shard = folder / f"{n}.h5"
            extraction = measure(EXTRACT, folder / f"clips{n}", shard)
            rows[n] = {"extract": extraction, "read one epoch": measure(READ, shard)}
    table = pd.DataFrame(rows).rename(columns="{} clips, MiB".format)
    table["ratio"] = table.iloc[:, 1] / table.iloc[:, 0]
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
