"""Classifiers of torchvision with random weights, as PyTorch's exporter writes them, and their input gradients by autograd.

Writes below OUT, a folder each: model.onnx, and for each batch x, y, logits, and the gradient of each kind.
"""

import numpy as np
import torch
import torchvision
from common import run

CLASSES = 10


class Sundry(torch.nn.Module):
    """A layer for each operator that the networks of torchvision leave out."""

    def __init__(self, num_classes):
        super().__init__()
        nn = torch.nn
        self.first = nn.Conv2d(3, 8, (3, 2), (2, 1), padding=(1, 0), dilation=(1, 2))
        self.curves = nn.Sequential(
            nn.PReLU(8), nn.ELU(0.7), nn.GELU(), nn.GELU("tanh"), nn.LeakyReLU(0.2), nn.Hardsigmoid(), nn.Tanh()
        )
        self.up = nn.ConvTranspose2d(8, 8, 3, 2, padding=1, output_padding=1, groups=2)
        self.within = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.whole = nn.AvgPool2d(3, 2, 1)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.layer = nn.LayerNorm(8)
        self.last = nn.Linear(16, num_classes)

    def forward(self, x):
        x = self.up(self.curves(self.first(x)))
        x = self.instance(self.within(x) - 2.0 * self.whole(x))
        x = self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = (x.abs() + 0.1).log() + x.erf() + x.clamp(-0.5, 0.5) - x[:, :, 1:2]
        return self.last(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))


def make(case, folder):
    network = Sundry if case["model"] == "sundry" else getattr(torchvision.models, case["model"])
    model = network(num_classes=CLASSES).eval()
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
    # In f64: in f32, PyTorch 2.11 has given for a batch of one of Sundry a gradient that finite differences contradict.
    model.double()
    for batch in case["batches"]:
        x = torch.randn(batch, 3, size, size).double().requires_grad_()
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
            np.save(folder / f"{name}{batch}.npy", array.detach().float().contiguous().numpy())


run(make)
