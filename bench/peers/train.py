"""A training step of the demo's U-Net in plain PyTorch: the peer that bench/train measures anomalens-train against.

    train.py check FOLDER     the peer's numbers against those of trainer/tests/peer.rs, as one line of JSON
    train.py burst ...        time some steps, as one line of JSON

The step is anomalens-train's: batch from images.npy, noise, U-Net, MSE plus the variational bound with eps detached
(Nichol and Dhariwal 2021), backward, Adam, the parameters' average. Two things differ, both in the peer's favour: it
does not measure the gradient's norm, and its Adam is PyTorch's fused one.
"""

import argparse
import json
import math
import struct
import time
from pathlib import Path

import numpy
import torch

from unet import Unet

TIMESTEPS = 1000


class Diffusion:
    """The linear schedule's tables, one value a timestep: in f64, kept in f32."""

    def __init__(self, device="cpu"):
        beta = torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float64)
        alpha_bar = torch.cumprod(1 - beta, 0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
        variance = beta * (1 - before) / (1 - alpha_bar)
        # The posterior of the first step has no variance; the reference takes that of the second.
        variance[0] = variance[1]
        tables = {
            "x0": alpha_bar.sqrt(),
            "noise": (1 - alpha_bar).sqrt(),
            "recip": (1 / alpha_bar).sqrt(),
            "recip_minus_one": (1 / alpha_bar - 1).sqrt(),
            "mean_x0": beta * before.sqrt() / (1 - alpha_bar),
            "mean_xt": (1 - before) * (1 - beta).sqrt() / (1 - alpha_bar),
            "least": variance.log(),
            "most": beta.log(),
        }
        self.tables = {name: table.float().to(device) for name, table in tables.items()}

    def at(self, name, t):
        return self.tables[name][t][:, None, None, None]

    def noised(self, x0, t, noise):
        return self.at("x0", t) * x0 + self.at("noise", t) * noise

    def hybrid(self, x0, x_t, t, noise, out):
        """MSE and bound (bits a dimension), one value an image."""
        eps, v = out.chunk(2, dim=1)
        mse = (noise - eps).square().flatten(1).mean(1)
        predicted = self.at("recip", t) * x_t - self.at("recip_minus_one", t) * eps.detach()
        mean_from = lambda x: self.at("mean_x0", t) * x + self.at("mean_xt", t) * x_t
        true_mean, mean = mean_from(x0), mean_from(predicted)
        least, fraction = self.at("least", t), (v + 1) / 2
        log_variance = fraction * self.at("most", t) + (1 - fraction) * least
        kl = 0.5 * (
            log_variance - least - 1 + (least - log_variance).exp() + (true_mean - mean).square() * (-log_variance).exp()
        )
        likelihood = -discretised_log_likelihood(x0, mean, 0.5 * log_variance)
        bound = torch.where(t == 0, likelihood.flatten(1).mean(1), kl.flatten(1).mean(1)) / math.log(2)
        return mse, bound


def discretised_log_likelihood(x, mean, log_scale):
    cumulative = lambda z: 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    inverse, centred = (-log_scale).exp(), x - mean
    above, below = cumulative(inverse * (centred + 1 / 255)), cumulative(inverse * (centred - 1 / 255))
    log = lambda p: p.clamp(min=1e-12).log()
    return torch.where(x < -0.999, log(above), torch.where(x > 0.999, log(1 - below), log(above - below)))


def read_safetensors(path):
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", (name, entry["dtype"])
            first, last = entry["data_offsets"]
            flat = numpy.frombuffer(data, "<f4", (last - first) // 4, 8 + length + first)
            tensors[name] = torch.from_numpy(flat.copy()).reshape(entry["shape"])
    return tensors


def check(folder):
    """The largest differences from the numbers that anomalens computed for one batch."""
    weights, case = (read_safetensors(folder / f"{name}.safetensors") for name in ("model", "case"))
    model, diffusion = Unet(), Diffusion()
    model.load_state_dict(weights, strict=True)
    t, y = case["t"].long(), case["y"].long()
    x_t = diffusion.noised(case["x0"], t, case["noise"])
    out = model(x_t, t, y)
    mse, bound = diffusion.hybrid(case["x0"], x_t, t, case["noise"], out)
    (mse + bound).mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    largest = max(g.abs().max().item() for g in gradients.values())
    gradient = max((gradients[name] - case["grad." + name]).abs().max().item() for name in gradients)
    with torch.no_grad():
        wrong = model(x_t, t + 1, y)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "output": (out - case["out"]).abs().max().item(),
        "output_of_another_timestep": (wrong - case["out"]).abs().max().item(),
        "mse": abs(mse.mean().item() - case["mse"].item()),
        "bound": abs(bound.mean().item() - case["bound"].item()) / case["bound"].item(),
        "gradient": gradient / largest,
    }


class Batches:
    """Batches of a cohort, each epoch in an order of its own."""

    def __init__(self, folder, size):
        items = json.loads((folder / "cohort.json").read_text())["items"]
        self.labels = torch.tensor([int(item["diseased"]) for item in items])
        self.images = numpy.load(folder / "images.npy", mmap_mode="r")
        self.size, self.order = size, []

    def next(self):
        while len(self.order) < self.size:
            self.order += torch.randperm(len(self.labels)).tolist()
        chosen, self.order = self.order[: self.size], self.order[self.size :]
        images = torch.from_numpy(numpy.stack([self.images[i] for i in chosen]))
        return images, self.labels[chosen]


def burst(args):
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    model, diffusion = Unet().to(device), Diffusion(device)
    batches = Batches(args.cohort, args.batch)
    params = list(model.parameters())
    average = [p.detach().clone() for p in params]
    adam = torch.optim.Adam(params, lr=1e-4, fused=True)
    begun = loss = None
    for step in range(args.warmup + args.steps):
        if step == args.warmup:
            begun = time.perf_counter()
        images, labels = (part.to(device) for part in batches.next())
        t = torch.randint(TIMESTEPS, (args.batch,), device=device)
        noise = torch.randn_like(images)
        x_t = diffusion.noised(images, t, noise)
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            out = model(x_t, t, labels)
        mse, bound = diffusion.hybrid(images, x_t, t, noise, out.float())
        loss = (mse + bound).mean()
        adam.zero_grad()
        loss.backward()
        if not loss.item() < 100:
            raise SystemExit("the loss exploded")
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, params, 0.001)
    seconds = (time.perf_counter() - begun) / args.steps
    return {"seconds_a_step": seconds, "loss": loss.item(), "torch": torch.__version__, "threads": torch.get_num_threads()}


def main():
    parser = argparse.ArgumentParser(description="The peer of anomalens-train in plain PyTorch")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("folder", type=Path)
    timed = commands.add_parser("burst")
    timed.add_argument("--cohort", type=Path, required=True)
    timed.add_argument("--precision", choices=["f32", "bf16"], required=True)
    timed.add_argument("--batch", type=int, default=16)
    timed.add_argument("--warmup", type=int, default=5)
    timed.add_argument("--steps", type=int, default=20)
    timed.add_argument("--threads", type=int)
    timed.add_argument("--device", default="cpu")
    args = parser.parse_args()
    print(json.dumps(check(args.folder) if args.command == "check" else burst(args)))


if __name__ == "__main__":
    main()
