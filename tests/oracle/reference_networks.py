"""Outputs of OpenAI's own networks (package guided-diffusion-sdk), which the whole-chain tests compare with.

    python reference_networks.py CASES.json OUT

CASES.json is a list of {"name", "network": "unet" | "classifier", "arguments": {…}, "compute": true | false}; the
arguments are those of UNetModel or EncoderUNetModel. For each, OUT/NAME/ gets shapes.json (key: shape) and, if it is
computed, state_dict.pt, x.npy, t.npy, y.npy (class-conditional U-Nets, and classifiers: whose class the gradient is of)
and out.npy, or logits.npy and grad.npy: the gradient of the sum over n of log p(y_n | x_n, t_n) with respect to x.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from guided_diffusion.unet import EncoderUNetModel, UNetModel

CLASSES = {"unet": UNetModel, "classifier": EncoderUNetModel}
BATCH = 2


def randomise(model):
    """Random numbers in every layer, also in those that begin at zero: a layer that is left out must show."""
    for name, parameter in model.named_parameters():
        spread = 0.1 if parameter.dim() == 1 else parameter[0].numel() ** -0.5
        mean = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
        torch.nn.init.normal_(parameter, mean, spread)


def shapes(case, folder):
    with torch.device("meta"):
        model = CLASSES[case["network"]](**case["arguments"])
    found = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    (folder / "shapes.json").write_text(json.dumps(found))


def compute(case, folder):
    arguments = case["arguments"]
    model = CLASSES[case["network"]](**arguments)
    randomise(model)
    model.eval()
    side = arguments["image_size"]
    x = torch.randn(BATCH, arguments["in_channels"], side, side)
    t = torch.tensor([999, 20])
    arrays = {"x": x, "t": t}
    if case["network"] == "classifier":
        x.requires_grad_(True)
        y = arrays["y"] = torch.arange(BATCH) % arguments["out_channels"]
        logits = arrays["logits"] = model(x, t)
        chosen = torch.log_softmax(logits, dim=1)[torch.arange(BATCH), y].sum()
        arrays["grad"] = torch.autograd.grad(chosen, x)[0]
    else:
        classes = arguments.get("num_classes")
        if classes is not None:
            arrays["y"] = torch.arange(BATCH) % classes
        with torch.no_grad():
            arrays["out"] = model(x, t, arrays.get("y"))
    torch.save(model.state_dict(), folder / "state_dict.pt")
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array.detach().numpy())


def main():
    cases, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    for number, case in enumerate(json.loads(cases.read_text())):
        folder = out / case["name"]
        folder.mkdir(parents=True)
        shapes(case, folder)
        if case["compute"]:
            torch.manual_seed(number)
            compute(case, folder)


if __name__ == "__main__":
    main()
