"""Classifiers of torchvision with random weights, as PyTorch's exporter writes them, and their input gradients by autograd.

Writes below OUT, a folder each: model.onnx, and for each batch x, y, logits, and the gradient of each kind.
"""

import numpy as np
import torch
import torchvision
from common import run

CLASSES = 10


def make(case, folder):
    model = getattr(torchvision.models, case["model"])(num_classes=CLASSES).eval()
    # Statistics as after training: none of them 0 or 1.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    size = case["size"]
    torch.onnx.export(
        model,
        (torch.randn(2, 3, size, size),),
        folder / "model.onnx",
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}},
        dynamo=False,
    )
    for batch in case["batches"]:
        x = torch.randn(batch, 3, size, size, requires_grad=True)
        y = torch.randint(CLASSES, (batch,))
        logits = model(x)
        chosen = {
            "log-prob": logits.log_softmax(1)[torch.arange(batch), y].sum(),
            "logit": logits[torch.arange(batch), y].sum(),
            "sum": logits.sum(),
        }
        arrays = {"x": x, "logits": logits}
        for kind, value in chosen.items():
            (arrays[kind],) = torch.autograd.grad(value, x, retain_graph=True)
        np.save(folder / f"y{batch}.npy", y.numpy())
        for name, array in arrays.items():
            np.save(folder / f"{name}{batch}.npy", array.detach().numpy())


run(make)
