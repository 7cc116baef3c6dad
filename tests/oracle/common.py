"""What the oracles share: a network's random parameters, and the folders that the whole-chain tests read."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

BATCH = 2


def randomise(model):
    """Random numbers in every layer, also in those that begin at zero: a layer that is left out must show."""
    for name, parameter in model.named_parameters():
        spread = 0.1 if parameter.dim() == 1 else parameter[0].numel() ** -0.5
        mean = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
        torch.nn.init.normal_(parameter, mean, spread)


def save(folder, arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array.detach().numpy())


def run(make):
    """`make(case, folder)` for each case of CASES.json, below OUT, with a seed of its own."""
    cases, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    for number, case in enumerate(json.loads(cases.read_text())):
        folder = out / case["name"]
        folder.mkdir(parents=True)
        torch.manual_seed(number)
        make(case, folder)
