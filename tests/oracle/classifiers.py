"""Classifiers with random weights, as PyTorch's two exporters write them, and their input gradients by autograd in f64.

In f32 autograd's own gradient can be wrong by some per cent: near a kink, e.g. a Relu at nearly 0, rounding decides between
two slopes. So images are drawn until the gradient is steady, i.e. the same where the image is changed by as much as rounding.

Writes below OUT, a folder each: model.onnx, and for each batch x, y, logits, and the gradient of each kind.
"""

import sys
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from common import run
from torch import nn

CLASSES = 10
NOISE = 1e-6
STEADY = 2e-5


class Curves(nn.Module):
    """Norms, poolings and everything that works value by value, on odd sides."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.PReLU(8),
            nn.InstanceNorm2d(8, affine=True),
            nn.Conv2d(8, 8, 3, groups=2, padding=1, dilation=1),
            nn.ELU(0.7),
            nn.AvgPool2d(3, 2, 1, count_include_pad=False),
            nn.GELU(),
            nn.GroupNorm(4, 8),
            nn.AvgPool2d((2, 3), (1, 2), (1, 1), ceil_mode=True),
            nn.Conv2d(8, 6, (3, 1), padding=(1, 0)),
            nn.GELU(approximate="tanh"),
            nn.Hardswish(),
            nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            nn.ConvTranspose2d(6, 6, 3, stride=2, groups=3, output_padding=1, dilation=1),
        )
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.norm(self.body(x).permute(0, 2, 3, 1))
        x = x + F.leaky_relu(x, 0.2) * torch.erf(x) + F.hardsigmoid(x) * F.relu6(x + 1)
        x = x + (1.5 + x.abs()).log() + (2 + x * x) ** -1.5 + torch.sqrt(1 + x.square()) + x.clamp(-0.4, 0.6) ** 3
        x = torch.tanh(x) - torch.sin(x) * torch.cos(x) / (1 + torch.sigmoid(x)) + x.exp().reciprocal()
        return self.head(x.mean((1, 2)) + x.amax((1, 2)) - 0.1 * x.sum((1, 2)))


class Moves(nn.Module):
    """Everything that moves values, attention, and a batch in other places than the first, on odd sides."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2)
        self.layer = nn.TransformerEncoderLayer(8, 4, 16, batch_first=True)
        self.weight = nn.Parameter(torch.randn(8, CLASSES))
        self.bias = nn.Parameter(torch.randn(CLASSES))

    def forward(self, x):
        x = F.pad(self.stem(x), (1, 2, 0, -1), value=0.3)
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        x = F.interpolate(x, size=(9, 7), mode="nearest")
        x = F.interpolate(x, size=(6, 9), mode="bilinear", align_corners=True)
        a, b = x.chunk(2, 1)
        x = torch.cat([torch.where(a > b, a, 0.3 * b), torch.maximum(a, 0.5 * b), torch.minimum(a, b)], 1)
        x = F.normalize(x, dim=1).index_select(1, torch.tensor([3, 0, 1, 7, 5, 2, 9, 11]))[:, :, ::2, 1:]
        scores = torch.einsum("nchw,ncij->nhwij", x, x).flatten(3).softmax(-1)
        x = torch.einsum("nhwk,nck->nchw", scores, x.flatten(2)) + x
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1)
        first = x.transpose(0, 1)
        x = x + self.attention(first, first, first, need_weights=False)[0].transpose(0, 1)
        x = self.layer(x)
        rows, rest = x.split([1, x.shape[1] - 1], 1)
        mask = torch.arange(rest.shape[1]) % 3 == 1
        rest = rest.masked_fill(mask[:, None], 0.0).mean(1)
        return torch.addmm(self.bias, rows[:, 0] + rest, self.weight, beta=0.5, alpha=2.0)


def network(case):
    name, options = case["model"], case.get("options", {})
    if name in ("Curves", "Moves"):
        return globals()[name]()
    if name == "monai.DenseNet121":
        from monai.networks.nets import DenseNet121

        return DenseNet121(spatial_dims=2, in_channels=3, out_channels=CLASSES)
    import torchvision

    if options:
        return torchvision.models.VisionTransformer(num_classes=CLASSES, **options)
    return getattr(torchvision.models, name)(num_classes=CLASSES)


def gradient(model, x, y, kind):
    """The logits and the gradient of a kind, in f64."""
    x = x.double().requires_grad_()
    logits = model(x)
    chosen = {
        "log-prob": lambda: logits.log_softmax(1).gather(1, y[:, None]),
        "logit": lambda: logits.gather(1, y[:, None]),
        "sum": lambda: logits,
    }
    return logits.detach(), torch.autograd.grad(chosen[kind]().sum(), x)[0]


def steady_image(model, size, y):
    """One image near which the gradient has no kink."""
    for _ in range(50):
        x = torch.randn(1, 3, size, size)
        expected = gradient(model, x, y, "log-prob")[1]
        apart = (
            (gradient(model, x.double() + NOISE * torch.randn(x.shape), y, "log-prob")[1] - expected).abs().max()
            for _ in range(4)
        )
        if all(off <= STEADY * expected.abs().max() for off in apart):
            return x
    sys.exit("no image with a steady gradient in 50")


def export(model, case, path):
    example = (torch.randn(2, 3, case["size"], case["size"]),)
    names = {"input_names": ["x"], "output_names": ["logits"]}
    if case["exporter"] == "trace":
        axes = {"x": {0: "N"}, "logits": {0: "N"}}
        torch.onnx.export(model, example, path, dynamic_axes=axes, dynamo=False, **names)
    else:
        shapes = ({0: torch.export.Dim("N")},)
        torch.onnx.export(model, example, path, dynamic_shapes=shapes, dynamo=True, verbose=False, **names)


def make(case, folder):
    model = network(case).eval()
    for module in model.modules():
        # Statistics as after training: none of them 0 or 1.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for parameter in model.parameters():
        # Nor may a layer begin with nothing.
        if not parameter.any():
            nn.init.normal_(parameter, 0.0, 0.1)
    export(model, case, folder / "model.onnx")
    model = deepcopy(model).double()
    for batch in case["batches"]:
        y = torch.randint(CLASSES, (batch,))
        x = torch.cat([steady_image(model, case["size"], y[n : n + 1]) for n in range(batch)])
        arrays = {"x": x}
        for kind in case["kinds"]:
            arrays["logits"], arrays[kind] = gradient(model, x, y, kind)
        np.save(folder / f"y{batch}.npy", y.numpy())
        for name, array in arrays.items():
            np.save(folder / f"{name}{batch}.npy", array.float().numpy())


run(make)
