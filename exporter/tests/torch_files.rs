//! Files that PyTorch itself writes, and ours that it reads. Needs a Python with torch and guided-diffusion-sdk:
//! ANOMALENS_PYTHON_TORCH names it.

mod support;

use std::path::Path;

use anomalens_exporter::checkpoint::{Checkpoint, CheckpointError};
use anomalens_models::nets;
use anomalens_models::preset::Preset;
use ndarray_npy::read_npy;
use support::{listing, program, python, python_with_torch, run};

/// Beside each file, the numbers that torch has for it: all tensors in the order of their names, as f32.
const WRITE: &str = r#"
import argparse, collections, sys
import numpy as np, torch
from pathlib import Path
place = Path(sys.argv[1])
torch.manual_seed(5)
base = torch.randn(6, 8)
layer = torch.nn.Linear(3, 2)
cases = {
    "dict": ({"b": base.clone(), "a": torch.randn(())}, {}),
    "ordered": (torch.nn.Sequential(layer, torch.nn.Conv2d(2, 3, 3)).state_dict(), {}),
    "parameters": ({"w": torch.nn.Parameter(base.clone()), "b": torch.nn.Buffer(torch.randn(3))}, {}),
    "f16": ({"a": torch.randn(7).half(), "b": torch.randn(7)}, {}),
    "bf16": ({"a": torch.randn(7).bfloat16()}, {}),
    "f64": ({"a": torch.randn(7).double(), "third": torch.tensor(1.0, dtype=torch.float64) / 3}, {}),
    "transposed": ({"a": base.t(), "b": base.permute(1, 0).unsqueeze(1)}, {}),
    "channels last": ({"a": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)}, {}),
    "expanded": ({"a": torch.randn(3, 1).expand(3, 4), "b": torch.randn(1).expand(2, 2)}, {}),
    "sliced": ({"a": base[1:5:2, 2:7:3], "b": base[3], "c": base[:, 4]}, {}),
    "tied": ({"a": base, "b": base, "c": base.view(-1)[5:9]}, {}),
    "empty": ({"a": torch.randn(0, 3), "b": torch.randn(2)}, {}),
    "protocol 4": ({"a": base.clone(), "é": torch.randn(2)}, {"pickle_protocol": 4}),
}
for name, (state, options) in cases.items():
    torch.save(state, place / f"{name}.pt", **options)
    parts = [state[key].detach().float().contiguous().numpy().ravel() for key in sorted(state)]
    np.save(place / f"{name}.npy", np.concatenate(parts).astype(np.float32))

# All that a training puts into a file, and one network in it.
model = torch.nn.Sequential(torch.nn.Linear(3, 2))
adam = torch.optim.Adam(model.parameters())
model(torch.randn(4, 3)).sum().backward()
adam.step()
state = {"net.module." + k: v for k, v in model.state_dict().items()}
torch.save({"state_dict": state, "optimizer": adam.state_dict(), "epoch": 3, "loss": [0.5] * 10, "best": None,
            "large": 1 << 80, "args": argparse.Namespace(lr=1e-4), "np": np.float64(0.5), "rng": torch.get_rng_state(),
            "f8": torch.randn(3).to(torch.float8_e4m3fn), "sparse": torch.eye(2).to_sparse()}, place / "training.pt")
np.save(place / "training.npy", np.concatenate([model.state_dict()[k].numpy().ravel() for k in ("0.bias", "0.weight")]))

torch.save({"a": base}, place / "legacy.pt", _use_new_zipfile_serialization=False)
torch.jit.save(torch.jit.script(layer), place / "script.pt")
torch.save(layer, place / "module.pt")
torch.save({"a": torch.tensor([[0.0, 1.0], [float("nan"), 1.0]])}, place / "nan.pt")
torch.save({"a": torch.tensor([1.0, float("-inf")]).half()}, place / "inf.pt")
torch.save({"a": torch.tensor([1e300], dtype=torch.float64)}, place / "beyond.pt")
torch.save({"a": torch.eye(2).to_sparse()}, place / "sparse.pt")
torch.save({"a": torch.randn(2, dtype=torch.complex64)}, place / "complex.pt")
"#;

const NAMES: [&str; 13] = [
    "dict",
    "ordered",
    "parameters",
    "f16",
    "bf16",
    "f64",
    "transposed",
    "channels last",
    "expanded",
    "sliced",
    "tied",
    "empty",
    "protocol 4",
];

/// Every number of a checkpoint, in the order of the names.
fn numbers(checkpoint: &Checkpoint) -> Vec<f32> {
    let tensors = checkpoint.tensors().unwrap();
    tensors.iter().flat_map(|tensor| checkpoint.read_f32(&tensor.name).unwrap()).collect()
}

fn expected(place: &Path, name: &str) -> Vec<f32> {
    let array: ndarray::Array1<f32> = read_npy(place.join(format!("{name}.npy"))).unwrap();
    array.to_vec()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn what_pytorch_writes_is_read() {
    let Some(interpreter) = python_with_torch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    python(&interpreter, WRITE, &[place]);
    for name in NAMES {
        let checkpoint = Checkpoint::open(&place.join(format!("{name}.pt")), None).unwrap();
        assert_eq!(bits(&numbers(&checkpoint)), bits(&expected(place, name)), "{name}");
    }
    let training = place.join("training.pt");
    let checkpoint = Checkpoint::open(&training, Some("state_dict.net.module")).unwrap();
    assert_eq!(bits(&numbers(&checkpoint)), bits(&expected(place, "training")));

    for (name, expected) in [
        ("legacy", "torch.save(torch.load("),
        ("script", "torch.save(torch.jit.load("),
        ("module", "a torch.nn.modules.linear.Linear itself, not its state_dict()"),
        ("nan", "'a' holds NaN at [1, 0]"),
        ("inf", "'a' holds -inf at [1]"),
        ("beyond", "'a' holds a number beyond f32 at [0]"),
        ("sparse", "'a' is written by torch._utils._rebuild_sparse_tensor"),
        ("complex", "'a' is of type complexfloat"),
    ] {
        let read = Checkpoint::open(&place.join(format!("{name}.pt")), None).and_then(|c| {
            let tensors = c.tensors()?;
            tensors.iter().map(|tensor| c.read(&tensor.name)).collect::<Result<Vec<_>, CheckpointError>>()
        });
        let text = read.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn what_is_written_pytorch_reads() {
    let Some(interpreter) = python_with_torch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    python(&interpreter, WRITE, &[place]);
    let convert = |input: &Path, output: &Path, options: &[&str]| {
        let (code, text) = run(program().arg("convert").args([input, output]).args(options));
        assert_eq!(code, 0, "{}: {text}", input.display());
        text
    };
    for name in NAMES {
        let file = |kind: &str| place.join(format!("{name}{kind}"));
        convert(&file(".pt"), &file(".safetensors"), &[]);
        convert(&file(".safetensors"), &file("-back.pt"), &[]);
        convert(&file(".pt"), &file("-f32.pt"), &["--dtype", "f32"]);
        // A second time, the same bytes.
        convert(&file("-back.pt"), &file("-again.safetensors"), &[]);
        let [first, again] =
            ["", "-again"].map(|n| std::fs::read(file(&format!("{n}.safetensors"))).unwrap());
        assert!(first == again, "{name}");
    }
    let checked = python(
        &interpreter,
        r#"
import collections, sys, torch
from pathlib import Path
place, checked = Path(sys.argv[1]), 0
for path in sorted(place.glob("*-back.pt")):
    # Our own file, and of protocol 4 weights_only does not read what torch.save wrote.
    want = torch.load(place / path.name.replace("-back", ""), weights_only=False)
    for mapped in (False, True):
        got = torch.load(path, weights_only=True, mmap=mapped)
        assert type(got) is collections.OrderedDict and set(got) == set(want), path
        for key, tensor in want.items():
            assert got[key].dtype == tensor.dtype and got[key].shape == tensor.shape, (path, key)
            assert torch.equal(got[key], tensor), (path, key)
            assert got[key].is_contiguous() and not got[key].requires_grad
            assert not mapped or got[key].data_ptr() % 64 == 0
    f32 = torch.load(path.parent / path.name.replace("-back", "-f32"), weights_only=True)
    for key, tensor in want.items():
        assert torch.equal(f32[key], tensor.float()), (path, key)
    checked += 1
print(checked)
"#,
        &[place],
    );
    assert_eq!(checked.trim(), NAMES.len().to_string());

    let text = convert(&place.join("f64.pt"), &place.join("rounded.pth"), &["--dtype", "f32"]);
    assert!(text.contains("2 tensors of f64: rounded to f32"), "{text}");
    let options = ["--key", "state_dict", "--strip", "net.module."];
    let text = convert(&place.join("training.pt"), &place.join("chosen.safetensors"), &options);
    assert!(text.contains("tensors that stand elsewhere in the file were left out"), "{text}");
    let chosen = Checkpoint::open(&place.join("chosen.safetensors"), None).unwrap();
    assert_eq!(
        chosen.tensors().unwrap().iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["0.bias", "0.weight"]
    );
}

/// guided-diffusion's own fp16 networks, as its trainer saves them: into a bundle, and back into its modules.
#[test]
fn guided_diffusions_networks_go_there_and_back() {
    let Some(interpreter) = python_with_torch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    // The two networks of preset tiny.
    let modules = r#"
import sys, torch
from pathlib import Path
from guided_diffusion.unet import EncoderUNetModel, UNetModel
place = Path(sys.argv[1])
def networks(half):
    common = dict(image_size=32, in_channels=4, model_channels=32, num_res_blocks=1, attention_resolutions=(2,),
                  channel_mult=(1, 2), use_fp16=half)
    unet = UNetModel(out_channels=8, num_classes=2, num_head_channels=16, **common)
    classifier = EncoderUNetModel(out_channels=2, num_head_channels=64, use_scale_shift_norm=True,
                                  resblock_updown=True, pool="attention", **common)
    for network in (unet, classifier):
        if half:
            network.convert_to_fp16()
    return {"unet": unet, "classifier": classifier}
"#;
    let write = r#"
torch.manual_seed(1)
for name, network in networks(True).items():
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    torch.save(network.state_dict(), place / f"{name}.pt")
    ema = {"module." + key: value for key, value in network.state_dict().items()}
    torch.save({"ema": ema, "step": 7}, place / f"{name}-ema.pt")
"#;
    python(&interpreter, &format!("{modules}{write}"), &[place]);
    let preset = Preset::load("tiny").unwrap();
    for (name, graph) in
        [("unet", nets::unet(&preset).unwrap()), ("classifier", nets::classifier(&preset).unwrap())]
    {
        let checkpoint = Checkpoint::open(&place.join(format!("{name}-ema.pt")), None).unwrap();
        assert_eq!(checkpoint.found(), Some("ema.module"));
        checkpoint.check(name, graph.params()).unwrap();
        for (from, to) in [("-ema.pt", ".safetensors"), (".safetensors", "-back.pt")] {
            let [from, to] = [from, to].map(|kind| place.join(format!("{name}{kind}")));
            let (code, text) = run(program().arg("convert").args([&from, &to]));
            assert_eq!(code, 0, "{text}");
            let found = text.contains("found under 'ema.module'");
            assert_eq!(found, from.extension().unwrap() == "pt", "{text}");
        }
    }
    let read = r#"
for name, network in networks(True).items():
    state = torch.load(place / f"{name}-back.pt", weights_only=True)
    network.load_state_dict(state, strict=True)
    want = torch.load(place / f"{name}.pt", weights_only=True)
    halves = sum(tensor.dtype == torch.float16 for tensor in want.values())
    assert 0 < halves < len(want)
    for key, tensor in network.state_dict().items():
        assert state[key].dtype == want[key].dtype and torch.equal(tensor, want[key]), key
    print(name, halves, len(want))
"#;
    let said = python(&interpreter, &format!("{modules}{read}"), &[place]);
    let halves: Vec<&str> = said.lines().collect();

    let output = place.join("bundle");
    let mut command = program();
    command.args(["bundle", "--preset", "tiny", "--gate", "quick", "-o"]).arg(&output);
    command.arg("--unet").arg(place.join("unet.pt")).arg("--classifier").arg(place.join("classifier-ema.pt"));
    let (code, text) = run(&mut command);
    assert_eq!(code, 0, "{text}");
    for line in halves {
        let fields: Vec<&str> = line.split(' ').collect();
        let said = format!("{} of {} tensors are f16, widened to f32, exactly", fields[1], fields[2]);
        assert!(text.contains(&said), "{said}: {text}");
    }
    assert!(text.contains("classifier-ema.pt': found under 'ema.module'"), "{text}");
    assert!(listing(&output).contains(&"unet.onnx".to_owned()));
}
