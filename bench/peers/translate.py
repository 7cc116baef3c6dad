"""What a person would otherwise run: the networks of a bundle in PyTorch, or its graphs in ONNX Runtime's or OpenVINO's own API.

    translate.py burst --bundle DIR --how eager|compile|ort|openvino ...    time some calls, as one line of JSON
    translate.py outputs --bundle DIR --how ... FILE.npz                    what the networks say of fixed inputs
    translate.py export --bundle DIR --how eager FILE.onnx                  the U-Net, as PyTorch's exporter writes it

The networks of PyTorch are OpenAI's (package guided-diffusion-sdk), with the bundle's weights. A guided step is the U-Net, the
gradient of the classifier's log p(healthy) by autograd, and the update of Algorithm 1, all on the device. The gradient is
f32 always: in half precision it is wrong by a fifth.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy

T, FROM, TO, SCALE = 250, 0.5240853738253606, 0.5190853738253606, 100.0


def inputs(manifest, batch):
    """Any image, the same for all."""
    image = manifest["preset"]["image"]
    side, channels = image["size"], len(image["channels"])
    n, c, y, x = numpy.indices((batch, channels, side, side), dtype=numpy.float32)
    pixels = 0.5 + 0.4 * numpy.sin(0.11 * x + 0.07 * y + c + 0.3 * n)
    return {
        "x": pixels.astype(numpy.float32),
        "t": numpy.full(batch, T, dtype=numpy.int64),
        "y": numpy.zeros(batch, dtype=numpy.int64),
    }


class Torch:
    """The networks of OpenAI's package."""

    def __init__(self, args, manifest):
        import guided_diffusion.unet as networks
        import torch
        from safetensors.torch import load_file

        # It recomputes attention in the backward pass to save memory, which costs time and stops the compiler.
        networks.checkpoint = lambda function, inputs, parameters, flag: function(*inputs)
        self.torch = torch
        if args.threads:
            torch.set_num_threads(args.threads)
        self.device, self.precision = torch.device(args.device), args.precision
        tf32 = args.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        preset, side = manifest["preset"], manifest["preset"]["image"]["size"]
        weights = load_file(Path(args.bundle) / "weights.safetensors")
        channels = len(preset["image"]["channels"])
        common = lambda p: {
            "image_size": side,
            "in_channels": channels,
            "model_channels": p["model_channels"],
            "num_res_blocks": p["res_blocks"],
            "channel_mult": tuple(p["channel_mult"]),
            "attention_resolutions": tuple(side // at for at in p["attention_resolutions"]),
            "use_scale_shift_norm": p["conditioning"] == "scale-shift",
            "resblock_updown": p["resblock_updown"],
            "use_new_attention_order": p["qkv_order"] != "head-first",
        }
        u, c = preset["unet"], preset["classifier"]
        heads = {"channels": "num_head_channels", "count": "num_heads"}
        unet = networks.UNetModel(
            **common(u),
            out_channels=2 * channels,
            num_classes=u.get("classes"),
            use_fp16=args.precision == "f16",
            **{heads[kind]: number for kind, number in u["heads"].items()},
        )
        classifier = networks.EncoderUNetModel(
            **common(c), out_channels=c["classes"], num_head_channels=c["head_channels"], pool="attention"
        )
        self.unet, self.classifier = (
            self.ready(network, {k[len(name) + 1 :]: v.float() for k, v in weights.items() if k.startswith(name + ".")})
            for name, network in [("unet", unet), ("classifier", classifier)]
        )
        if args.precision == "f16":
            self.unet.convert_to_fp16()
        if args.channels_last:
            self.unet, self.classifier = (n.to(memory_format=torch.channels_last) for n in (self.unet, self.classifier))
        if args.how == "compile":
            mode = "max-autotune-no-cudagraphs" if args.autotune else None
            self.unet, self.classifier = (torch.compile(n, mode=mode) for n in (self.unet, self.classifier))

    def ready(self, network, weights):
        network.load_state_dict(weights)
        return network.to(self.device).eval().requires_grad_(False)

    def eps(self, x, t, y):
        with self.torch.no_grad(), self.torch.autocast(
            self.device.type, dtype=self.torch.bfloat16, enabled=self.precision == "bf16"
        ):
            return self.unet(x, t, y).float()

    def gradient(self, x, t, y):
        with self.torch.enable_grad():
            x = x.detach().requires_grad_(True)
            chosen = self.torch.log_softmax(self.classifier(x, t), dim=1)
            chosen = chosen[self.torch.arange(len(x), device=x.device), y].sum()
            return self.torch.autograd.grad(chosen, x)[0]

    def step(self, x, t, y, guided):
        eps = self.eps(x, t, y)[:, : x.shape[1]]
        if guided:
            eps = eps - SCALE * (1 - FROM) ** 0.5 * self.gradient(x, t, y)
        clean = (x - (1 - FROM) ** 0.5 * eps) / FROM**0.5
        return TO**0.5 * clean + (1 - TO) ** 0.5 * eps

    def take(self, arrays):
        return {name: self.torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

    def calls(self, given):
        x, t, y = given["x"], given["t"], given["y"]
        return {
            "unet": lambda: self.eps(x, t, y),
            "classifier_gradient": lambda: self.gradient(x, t, y),
            "encode_step": lambda: self.step(x, t, y, False),
            "guided_step": lambda: self.step(x, t, y, True),
        }

    def wait(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def host(self, found):
        return found.cpu().numpy()

    def memory(self):
        return self.torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


class OnnxRuntime:
    """The bundle's graphs, or others, by ONNX Runtime's Python API."""

    def __init__(self, args, manifest):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads or 0
        self.sessions = {
            name: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for name, path in graphs(args).items()
        }

    def take(self, arrays):
        return arrays

    def calls(self, given):
        def call(name):
            session = self.sessions[name]
            feed = {i.name: given[i.name] for i in session.get_inputs()}
            output = {"unet": "out", "classifier_gradient": "gradient"}[name]
            return lambda: session.run([output], feed)[0]

        return {name: call(name) for name in self.sessions}

    def wait(self):
        pass

    def host(self, found):
        return found

    def memory(self):
        return None


class OpenVino(OnnxRuntime):
    """The same graphs by OpenVINO, which compiles them for the shapes that come."""

    def __init__(self, args, manifest):
        import openvino

        core = openvino.Core()
        hint = {"f32": "f32", "bf16": "bf16"}[args.precision]
        settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        settings |= {"INFERENCE_NUM_THREADS": args.threads} if args.threads else {}
        self.sessions = {}
        for name, path in graphs(args).items():
            model = core.read_model(str(path))
            model.reshape({i: [args.batch, *[d.get_length() for d in list(i.partial_shape)[1:]]] for i in model.inputs})
            self.sessions[name] = core.compile_model(model, "CPU", settings)

    def calls(self, given):
        def call(name):
            session = self.sessions[name]
            feed = {i.any_name: given[i.any_name] for i in session.inputs}
            output = session.output({"unet": "out", "classifier_gradient": "gradient"}[name])
            return lambda: session(feed)[output]

        return {name: call(name) for name in self.sessions}


HOW = {"eager": Torch, "compile": Torch, "ort": OnnxRuntime, "openvino": OpenVino}


def graphs(args):
    """The bundle's, but for a U-Net that was named."""
    found = {name: Path(args.bundle) / f"{name}.onnx" for name in ("unet", "classifier_gradient")}
    if args.unet:
        found["unet"] = args.unet
    return {name: path for name, path in found.items() if path.is_file()}


def burst(args, peer, given):
    found = {}
    began = time.perf_counter()
    for name, call in peer.calls(given).items():
        if args.what and name not in args.what:
            continue
        for _ in range(args.warmup):
            call()
        peer.wait()
        times = []
        for _ in range(args.calls):
            start = time.perf_counter()
            call()
            peer.wait()
            times.append(1e3 * (time.perf_counter() - start))
        found[name] = times
    print(
        json.dumps(
            {
                "how": args.how,
                "precision": args.precision,
                "batch": args.batch,
                "graph_milliseconds": found,
                "seconds": time.perf_counter() - began,
                "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                "device_bytes": peer.memory(),
            }
        )
    )


def outputs(args, peer, given):
    calls = peer.calls(given)
    found = {name: peer.host(calls[name]()) for name in ("unet", "classifier_gradient") if name in calls}
    numpy.savez(args.file, **inputs(args.manifest, args.batch), **found)


def export(args, peer, given):
    names, torch = ["x", "t", "y"], peer.torch
    torch.onnx.export(
        peer.unet,
        tuple(given[name] for name in names),
        str(args.file),
        input_names=names,
        output_names=["out"],
        opset_version=18,
        dynamo=False,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    for name, run in [("burst", burst), ("outputs", outputs), ("export", export)]:
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--bundle", required=True, help="folder of a portable f32 bundle")
        command.add_argument("--how", choices=HOW, required=True)
        command.add_argument("--precision", choices=["f32", "tf32", "f16", "bf16"], default="f32", help="of the U-Net")
        command.add_argument("--device", default="cpu")
        command.add_argument("--batch", type=int, default=1)
        command.add_argument("--threads", type=int)
        command.add_argument("--channels-last", action="store_true", help="PyTorch: images as [N, H, W, C] in memory")
        command.add_argument("--autotune", action="store_true", help="torch.compile: look for the best kernels")
        command.add_argument("--unet", type=Path, help="another graph of the U-Net, for ort and openvino")
        if name == "burst":
            command.add_argument("--what", action="append", help="a network or a step; may be repeated [default: all]")
            command.add_argument("--warmup", type=int, default=2)
            command.add_argument("--calls", type=int, default=5)
        else:
            command.add_argument("file", type=Path)
    args = parser.parse_args()
    args.manifest = json.loads((Path(args.bundle) / "manifest.json").read_text())
    peer = HOW[args.how](args, args.manifest)
    args.run(args, peer, peer.take(inputs(args.manifest, args.batch)))


if __name__ == "__main__":
    main()
