"""A training at full size on two threads: memory that the workflow reserves (mem_mb), memory that
is taken, seconds a step, and what the published protocol takes then on NoctACT-HAR.

Five steps of each model, each model in a process of its own, with the defaults of the config.
"""

import json
import math
import subprocess
import sys

import pandas as pd

from noctact.config import check, model_settings
from noctact.memory import training_mb

NOCTACT_TRAIN_CLIPS = round(6613 * 0.7)

STEPS = """
import json, sys, time
import numpy as np
from noctact import backend
from noctact.batches import Batches
from noctact.train import compiled_model, parse_settings, peak_memory_mb

import keras

name, settings = sys.argv[1], parse_settings(sys.argv[2])
backend.configure(2, 1)


class Frames:
    shape = (10, 240, 320)

    def read(self, names):
        return np.zeros((len(names), *self.shape, 3), "uint8")


ends = []
clock = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: ends.append(time.monotonic())
)
n = 5 * settings.batch_size
batches = Batches(Frames(), list(range(n)), [0] * n, 12, settings.batch_size, seed=1)
model = compiled_model(name, Frames.shape, 12, settings)
model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[clock])
print(json.dumps([peak_memory_mb(), (ends[-1] - ends[0]) / (len(ends) - 1)]))
"""


def main() -> None:
    """Print the table."""
    config = check({})
    rows = []
    for model in config["models"]:
        text = model_settings(config, model)
        command = [sys.executable, "-c", STEPS, model, text]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        taken, step = json.loads(done.stdout.splitlines()[-1])
        settings = json.loads(text)
        batch_size = settings["batch_size"]
        reserved = training_mb(model, (10, 240, 320), settings["units"], batch_size)
        steps = math.ceil(NOCTACT_TRAIN_CLIPS / batch_size) * settings["epochs"]
        rows.append((model, reserved, round(taken), taken / reserved, step, steps * step / 3600))
    columns = ["model", "reserved, MB", "taken, MB", "ratio", "s a step", "h for 50 epochs"]
    print(pd.DataFrame(rows, columns=columns).round(2).to_string(index=False))


if __name__ == "__main__":
    main()
