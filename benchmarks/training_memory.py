"""Memory of a training at full size: what the workflow reserves (mem_mb) and what is taken.

Three steps of each model, each in a process of its own, at the published frames and batch size.
"""

import json
import subprocess
import sys

import pandas as pd

from noctact.config import check, model_settings
from noctact.memory import training_mb

STEPS = """
import json, sys
import numpy as np
from noctact import backend
from noctact.batches import Batches
from noctact.train import compiled_model, parse_settings, peak_memory_mb

name, settings = sys.argv[1], parse_settings(sys.argv[2])
backend.configure(2, 1)


class Frames:
    shape = (10, 240, 320)

    def read(self, names):
        return np.zeros((len(names), *self.shape, 3), "uint8")


n = 3 * settings.batch_size
batches = Batches(Frames(), list(range(n)), [0] * n, 12, settings.batch_size, seed=1)
compiled_model(name, Frames.shape, 12, settings).fit(batches, epochs=1, shuffle=False, verbose=0)
print(json.dumps(peak_memory_mb()))
"""


def main() -> None:
    """Print the table."""
    config = check({})
    rows = []
    for model in config["models"]:
        settings = model_settings(config, model)
        command = [sys.executable, "-c", STEPS, model, settings]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        training = json.loads(settings)
        reserved = training_mb(model, (10, 240, 320), training["units"], training["batch_size"])
        rows.append((model, reserved, json.loads(done.stdout)))
    table = pd.DataFrame(rows, columns=["model", "reserved, MB", "taken, MB"])
    table["taken / reserved"] = (table["taken, MB"] / table["reserved, MB"]).round(2)
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
