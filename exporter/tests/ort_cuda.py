"""A second reading of a graph for the target ort-cuda, without a GPU.

usage: python3 ort_cuda.py UNET.onnx FOLDER TOLERANCE

ONNX's evaluator runs it, with ONNX Runtime's own operators written here in NumPy from their documented contracts, on
x.npy, t.npy and y.npy of FOLDER. The output must be within TOLERANCE of PyTorch's, out.npy; with the activation of every
group norm left out it must not be. Exit status: 0 both hold, 1 something does not.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


def group_norm(x, gamma, beta, groups, epsilon, activation):
    """x [N, H, W, C]; statistics over the image and the C / groups channels of a group, in f32."""
    n, h, w, c = x.shape
    grouped = x.astype(np.float32).reshape(n, h * w, groups, c // groups)
    mean = grouped.mean(axis=(1, 3), keepdims=True)
    variance = grouped.var(axis=(1, 3), keepdims=True)
    y = ((grouped - mean) / np.sqrt(variance + epsilon)).reshape(x.shape) * gamma + beta
    return (y / (1 + np.exp(-y)) if activation else y).astype(x.dtype)


def operators(with_activation):
    class GroupNorm(OpRun):
        op_domain = "com.microsoft"

        def _run(self, x, gamma, beta, activation=None, channels_last=None, epsilon=None, groups=None):
            assert channels_last == 1
            return (group_norm(x, gamma, beta, groups, epsilon, activation and with_activation),)

    class SkipGroupNorm(OpRun):
        op_domain = "com.microsoft"

        def _run(self, x, gamma, beta, skip, activation=None, channels_last=None, epsilon=None, groups=None):
            assert channels_last == 1
            total = x + (skip[:, None, None, :] if skip.ndim == 2 else skip)
            y = group_norm(total, gamma, beta, groups, epsilon, activation and with_activation)
            return (y, total)[: len(self.onnx_node.output)]

    class NhwcConv(OpRun):
        op_domain = "com.microsoft"

        def _run(self, x, weight, bias, kernel_shape=None, pads=None, strides=None):
            """x [N, H, W, I], weight [O, k, k, I]: for each place of the kernel, the image seen from there."""
            (down, right), (rows, cols) = strides, weight.shape[1:3]
            x = np.pad(x, ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]), (0, 0))).astype(np.float32)
            h, w = (x.shape[1] - rows) // down + 1, (x.shape[2] - cols) // right + 1
            y = sum(
                x[:, r : r + h * down : down, c : c + w * right : right][:, :h, :w] @ weight[:, r, c].astype(np.float32).T
                for r in range(rows)
                for c in range(cols)
            )
            return ((y + bias.astype(np.float32)).astype(bias.dtype),)

    return [GroupNorm, SkipGroupNorm, NhwcConv]


def main():
    model, folder, tolerance = onnx.load(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    x, t, y, out = (np.load(folder / f"{name}.npy") for name in ("x", "t", "y", "out"))
    for with_activation in (True, False):
        evaluator = ReferenceEvaluator(model, new_ops=operators(with_activation))
        found = evaluator.run(None, {"x": x, "t": t, "y": y})[0]
        apart = float(np.abs(found - out).max())
        print(f"{sys.argv[1]}: max abs {apart:.1e}, tolerance {tolerance:.1e}, activation {with_activation}")
        if found.dtype != np.float32 or (apart <= tolerance) != with_activation:
            sys.exit("the graph does not compute what PyTorch does, or leaving out the activation changes nothing")


main()
