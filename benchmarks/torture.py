"""What becomes of each of a folder of odd, broken and hostile files: extracted, or why not.

`python benchmarks/torture.py [FOLDER]` prints a Markdown table, and whether the numbers of frames
are those of the folder's expected.jsonl (made by decoding each file whole; `n` frames, `err` where
none can be opened). Decoded as stage extract does, in a guarded worker.
"""

import json
import sys
from functools import partial
from pathlib import Path

import pandas as pd

from noctact.extract import read_clip
from noctact.sampling import FrameSettings
from noctact.workers import Failure, guarded

FOLDER = Path(__file__).resolve().parents[2] / "shared/data/torture"


def main() -> None:
    """Print the table and the summary."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    if not folder.is_dir():
        print(f"{folder}: no such folder; give one with an expected.jsonl")
        return
    lines = (folder / "expected.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [json.loads(line) for line in lines]
    paths = [folder / entry["path"] for entry in expected]
    read = partial(read_clip, FrameSettings(10, 240, 320))
    rows = []
    for entry, reading in zip(expected, guarded(read, paths, 120, 2000), strict=True):
        row = {"file": entry["path"], "reference": entry.get("n", "-")}
        if isinstance(reading, Failure):
            rows.append(row | {"outcome": "quarantine", "reason or way": reading.reason})
        else:
            outcome = f"{reading.n_decoded} frames"
            rows.append(row | {"outcome": outcome, "reason or way": reading.decoding})
    table = pd.DataFrame(rows)
    print("| " + " | ".join(table.columns) + " |\n|" + "---|" * len(table.columns))
    for cells in table.astype(str).itertuples(index=False):
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    extracted = table["outcome"] != "quarantine"
    same = extracted & (table["outcome"] == table["reference"].astype(str) + " frames")
    print(
        f"\n{len(table)} files: {extracted.sum()} extracted, {same.sum()} of them with the number "
        f"of frames of the reference; {(~extracted).sum()} in quarantine"
    )


if __name__ == "__main__":
    main()
