"""Outputs of MONAI's DiffusionModelUNet and diffusers' UNet2DModel, which the whole-chain tests compare with.

    python package_networks.py CASES.json OUT

CASES.json is a list of {"name", "package": "monai" | "diffusers", "size", "arguments": {…}, "as": …, "scale"}; the arguments
are those of the class. For each, OUT/NAME/ gets the weights as the package or a person saves them, x.npy, t.npy, y.npy
(class-conditional networks) and out.npy. "scale" multiplies the image and the first convolution's bias, so that the
variances are small and what is added to them shows. "as" says how the weights are saved:

    monai      "plain": model.pt, a state_dict(); "nested": the same in a training's file, behind a wrapper's prefix;
               "generative": by the names of MONAI Generative, which MONAI's own load_old_state_dict reads back
    diffusers  "safetensors", "bin": as save_pretrained does; "old": by the names before 0.15, which from_pretrained reads back
"""

import torch
from common import BATCH, randomise, run, save


def monai(case, folder):
    from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

    def new():
        return DiffusionModelUNet(spatial_dims=2, **case["arguments"])

    model = ready(new(), case["scale"], "conv_in.conv.bias")
    state, file = model.state_dict(), folder / "model.pt"
    if case["as"] == "nested":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
        torch.save({"epoch": 7, "network": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}}, file)
    elif case["as"] == "generative":
        olds = [(".attn.out_proj.", ".proj_attn."), (".attn.to_", ".to_"), (".postconv.", ".conv.")]
        old = {}
        for name, tensor in state.items():
            for now, then in olds:
                name = name.replace(now, then)
            old[name] = tensor
        torch.save(old, file)
        model = new().eval()
        model.load_old_state_dict(dict(old))
    else:
        torch.save(state, file)
    return model


def diffusers(case, folder):
    from diffusers import UNet2DModel
    from safetensors.torch import load_file, save_file

    model = UNet2DModel(sample_size=case["size"], **case["arguments"])
    model = ready(model, case["scale"], "conv_in.bias")
    model.save_pretrained(folder, safe_serialization=case["as"] != "bin")
    if case["as"] == "old":
        file = folder / "diffusion_pytorch_model.safetensors"
        olds = [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")]
        old = {}
        for name, tensor in load_file(file).items():
            for now, then in olds:
                name = name.replace(now, then)
            old[name] = tensor
        save_file(old, file, metadata={"format": "pt"})
        model = UNet2DModel.from_pretrained(folder).eval()
    return model


def ready(model, scale, first):
    randomise(model)
    with torch.no_grad():
        model.get_parameter(first).mul_(scale)
    return model.eval()


def make(case, folder):
    arguments, size = case["arguments"], case["size"]
    model = {"monai": monai, "diffusers": diffusers}[case["package"]](case, folder)
    x = case["scale"] * torch.randn(BATCH, arguments["in_channels"], size, size)
    arrays = {"x": x, "t": torch.tensor([999, 20])}
    classes = arguments.get("num_class_embeds")
    if classes is not None:
        arrays["y"] = torch.arange(BATCH) % classes
    with torch.no_grad():
        out = model(x, arrays["t"], class_labels=arrays.get("y"))
    arrays["out"] = getattr(out, "sample", out)
    save(folder, arrays)


if __name__ == "__main__":
    run(make)
