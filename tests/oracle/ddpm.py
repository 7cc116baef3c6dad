"""DDPM sampling by OpenAI's own sampler (package guided-diffusion-sdk), which tests/tests/ddpm.rs compares with.

    python ddpm.py CASES.json OUT

CASES.json is a list of {"name", "levels": noise levels upwards without 0, "learned": true | false, "scale": s}. For each, OUT/NAME/ gets
images.npy [N, C, H, W], noise.npy [steps, N, C, H, W] in the order of its use, and states.npy [steps + 1, N, C, H, W]: x_L, …, x_0.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from guided_diffusion import gaussian_diffusion as gd
from guided_diffusion.respace import SpacedDiffusion

SHAPE = (2, 3, 4, 5)


def column(t):
    return t.float()[:, None, None, None]


def network(x, t):
    eps = 0.4 * x + 0.5 * torch.cos(0.01 * column(t))
    return torch.cat([eps, torch.sin(2 * x + 0.02 * column(t))], 1)


def run(case, folder):
    learned = case["learned"]
    diffusion = SpacedDiffusion(
        use_timesteps={level - 1 for level in case["levels"]},
        betas=gd.get_named_beta_schedule("linear", 1000),
        model_mean_type=gd.ModelMeanType.EPSILON,
        model_var_type=gd.ModelVarType.LEARNED_RANGE if learned else gd.ModelVarType.FIXED_LARGE,
        loss_type=gd.LossType.MSE,
    )
    model = network if learned else lambda x, t: network(x, t)[:, : SHAPE[1]]
    pull = lambda x, t: case["scale"] * (0.3 - x + 0.001 * column(t))
    images = torch.rand(SHAPE)
    steps = len(case["levels"])
    noise = torch.randn((steps, *SHAPE))
    last = torch.full((SHAPE[0],), steps - 1)
    x = diffusion.q_sample(images, last, noise=noise[0])
    states = [x]
    for used, k in enumerate(reversed(range(steps)), start=1):
        drawn = noise[used] if k > 0 else torch.zeros(SHAPE)
        with mock.patch.object(torch, "randn_like", lambda _: drawn):
            out = diffusion.p_sample(model, x, torch.full((SHAPE[0],), k), clip_denoised=False, cond_fn=pull, model_kwargs={})
        x = out["sample"]
        states.append(x)
    for name, value in [("images", images), ("noise", noise), ("states", torch.stack(states))]:
        np.save(folder / f"{name}.npy", value.numpy())


def main(cases, out):
    for number, case in enumerate(json.loads(Path(cases).read_text())):
        torch.manual_seed(number)
        folder = Path(out) / case["name"]
        folder.mkdir()
        run(case, folder)


main(*sys.argv[1:])
