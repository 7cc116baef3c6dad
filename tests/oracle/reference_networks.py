"""Outputs of OpenAI's own networks (package guided-diffusion-sdk), which the whole-chain tests compare with.

    python reference_networks.py CASES.json OUT

CASES.json is a list of {"name", "network": "unet" | "classifier", "arguments": {…}, "compute": true | false}; the
arguments are those of UNetModel or EncoderUNetModel. For each, OUT/NAME/ gets shapes.json (key: shape) and, if it is
computed, state_dict.pt, x.npy, t.npy, y.npy (class-conditional U-Nets, and classifiers: whose class the gradient is of)
and out.npy, or logits.npy and grad.npy: the gradient of the sum over n of log p(y_n | x_n, t_n) with respect to x.
"""

import json

import torch
from common import BATCH, randomise, run, save
from guided_diffusion.unet import EncoderUNetModel, UNetModel

CLASSES = {"unet": UNetModel, "classifier": EncoderUNetModel}


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
    save(folder, arrays)


def make(case, folder):
    shapes(case, folder)
    if case["compute"]:
        compute(case, folder)


if __name__ == "__main__":
    run(make)
