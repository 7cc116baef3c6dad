//! A bundle of MONAI: metadata, and a configuration that is the whole method, over ONNX Runtime.
//!
//! ```text
//! configs/metadata.json     what goes in and out, by MONAI's specification
//!         inference.json    the method: image.npy -> healthy.npy, anomaly_map.npy
//! models/                   the bundle's graphs and weights
//! docs/README.md            how to run it; the model card
//!      manifest.json        of the bundle
//! LICENSE
//! ```
//!
//! MONAI's configurations have no loops, but Python expressions: each way of Algorithm 1 is one `functools.reduce` over its
//! steps [t, ᾱ, cx, ce, cp, guided], which stand in the configuration as numbers: `x + cx x + ce e + cp e_previous`.

use anomalens_method::ddim::{Coefficients, Step};
use anomalens_method::translate::{Options, TranslateError};
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, MODEL_CARD, UNET};
use anomalens_models::preset::Guided;
use anomalens_models::schedule::Schedule;
use serde_json::{Map, Value, json};

use super::{Package, PackageError};

/// What the layout and the configuration were tried with.
const MONAI: &str = "1.6.1";
const PYTORCH: &str = "2.11.0";
const NUMPY: &str = "2.0.0";
const ONNX_RUNTIME: &str = "1.24.0";
/// The version of the package's own layout.
const VERSION: &str = "0.1.0";
/// MONAI's schema of metadata.json.
const SCHEMA: &str = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json";

pub(super) fn write(package: &Package<'_>) -> Result<(), PackageError> {
    let manifest = &package.manifest;
    if !manifest.has(UNET) {
        let method = manifest.preset.method.name();
        return Err(PackageError::NoUnet { bundle: package.bundle.display().to_string(), method });
    }
    for folder in ["configs", "models", "docs"] {
        package.make(folder)?;
    }
    let text = |value: Value| format!("{value:#}\n");
    package.write("configs/metadata.json", &text(metadata(package)))?;
    package.write("configs/inference.json", &text(inference(package)?))?;
    for file in package.graphs() {
        package.copy(file, &format!("models/{file}"))?;
    }
    package.copy_weights("models")?;
    package.copy(MODEL_CARD, "docs/README.md")?;
    let card = package.folder.path().join("docs/README.md");
    let card = std::fs::read_to_string(&card).map_err(|e| package.folder.error("docs/README.md", e))?;
    package.write("docs/README.md", &format!("{}\n{card}", usage(package)))?;
    package.copy_manifest("docs")?;
    package.write("LICENSE", &license(package))
}

/// metadata.json, by MONAI's specification of bundles.
fn metadata(package: &Package<'_>) -> Value {
    let manifest = &package.manifest;
    let preset = &manifest.preset;
    let size = preset.image.size;
    let named = |names: &mut dyn Iterator<Item = &str>| -> Map<String, Value> {
        names.enumerate().map(|(i, name)| (i.to_string(), plain(name).into())).collect()
    };
    let channels = || preset.image.channels.iter();
    let modality: Vec<&str> = channels().flat_map(|c| c.modality.iter().map(String::as_str)).collect();
    let modality = modality.first().copied().unwrap_or("n/a");
    let image = |channel_def: Map<String, Value>, value_range: Value| {
        json!({
            "type": "image",
            "format": "magnitude",
            "modality": plain(modality),
            "num_channels": channel_def.len(),
            "spatial_shape": [size, size],
            "dtype": "float32",
            "value_range": value_range,
            "is_patch_data": false,
            "channel_def": channel_def,
        })
    };
    let images = || named(&mut channels().map(|c| c.name.as_str()));
    json!({
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": { VERSION: format!("bundle {} of {}", package.hash, manifest.tool) },
        "monai_version": MONAI,
        "pytorch_version": PYTORCH,
        "numpy_version": NUMPY,
        "required_packages_version": { "onnxruntime": ONNX_RUNTIME },
        "name": plain(&preset.name),
        "task": "unsupervised anomaly detection: a healthy version of an image, and a map of what was changed",
        "description": plain(&preset.description),
        "authors": plain(&manifest.provenance),
        "copyright": "with whoever trained the weights; see LICENSE",
        "intended_use": "research; not a medical device, not for diagnostic use",
        "references": [
            "Wolleb et al., Diffusion Models for Medical Anomaly Detection, MICCAI 2022. https://arxiv.org/abs/2203.04306",
        ],
        "network_data_format": {
            "inputs": { "image": image(images(), json!([0, 1])) },
            "outputs": {
                "pred": image(named(&mut ["anomaly"].into_iter()), json!([])),
                "healthy": image(images(), json!([])),
            },
        },
    })
}

/// A person's words as no more than words: what begins with one of these, MONAI evaluates.
fn plain(text: &str) -> String {
    if text.starts_with(['$', '@', '%']) { format!(" {text}") } else { text.to_owned() }
}

/// inference.json: L, s, healthy class and steps of the preset; every value may be overridden where it is run.
fn inference(package: &Package<'_>) -> Result<Value, PackageError> {
    let Guided { schedule, unet, translate, .. } = package.manifest.preset.guided()?;
    let options = Options::defaults(&package.manifest.preset).map_err(TranslateError::from)?;
    let plan = options.plan(&Schedule::new(schedule)?)?;
    let steps = |steps: &[Step]| -> Value {
        let step = |s: &Step| {
            let Coefficients { x, slope, previous } = s.coefficients();
            json!([s.unet.get(), s.from_alpha_bar, x, slope, previous, s.guided])
        };
        steps.iter().map(step).collect()
    };
    let session = |file: &str| {
        json!({
            "_target_": "onnxruntime.InferenceSession",
            "path_or_bytes": format!("$@bundle_root + '/models/{file}'"),
            "providers": "@providers",
        })
    };
    let given = "'x': x.astype(numpy.float32), 't': numpy.full(len(x), t, numpy.int64)";
    let label = "'y': numpy.full(len(x), @healthy_class, numpy.int64)";
    let to_unet =
        if unet.classes.is_some() { format!("{{{given}, {label}}}") } else { format!("{{{given}}}") };
    let guided = package.manifest.has(CLASSIFIER_GRADIENT);
    let down = if guided {
        "@eps(v[0], s[0]) - (@scale * numpy.sqrt(1 - s[1]) * @gradient(v[0], s[0]) if s[5] else 0)"
    } else {
        "@eps(v[0], s[0])"
    };
    let mut config = json!({
        "imports": ["$import functools", "$import os", "$import numpy", "$import onnxruntime"],
        "bundle_root": ".",
        "image_file": "$@bundle_root + '/image.npy'",
        "output_dir": "$@bundle_root + '/eval'",
        "providers": ["CPUExecutionProvider"],
        "healthy_class": translate.healthy_class,
        "unet": session(UNET),
    });
    let entries = config.as_object_mut().expect("it was made one above");
    if guided {
        entries.insert("scale".into(), json!(translate.scale));
        entries.insert("classifier_gradient".into(), session(CLASSIFIER_GRADIENT));
        let run = format!("@classifier_gradient.run(['gradient'], {{{given}, {label}}})[0]");
        entries.insert("gradient".into(), format!("$lambda x, t: {run}.astype(numpy.float64)").into());
    }
    let channels = package.manifest.preset.channels();
    let eps = format!("@unet.run(['out'], {to_unet})[0][:, :{channels}]");
    let save = |name: &str, value: &str| {
        format!("$numpy.save(@output_dir + '/{name}.npy', {value}.astype(numpy.float32))")
    };
    for (key, value) in [
        ("image", json!("$numpy.load(@image_file).astype(numpy.float32)[None]")),
        ("eps", format!("$lambda x, t: {eps}.astype(numpy.float64)").into()),
        ("step", "$lambda v, e, s: (v[0] + (s[2] * v[0] + s[3] * e + s[4] * v[1]), e)".into()),
        (
            "encoded",
            "$functools.reduce(lambda v, s: @step(v, @eps(v[0], s[0]), s), @encode_steps, (@image, 0))[0]"
                .into(),
        ),
        (
            "healthy",
            format!("$functools.reduce(lambda v, s: @step(v, {down}, s), @decode_steps, (@encoded, 0))[0]")
                .into(),
        ),
        ("anomaly_map", "$numpy.abs(@image - @healthy).sum(axis=1)".into()),
        (
            "run",
            json!([
                "$os.makedirs(@output_dir, exist_ok=True)",
                save("healthy", "@healthy[0]"),
                save("anomaly_map", "@anomaly_map[0]"),
            ]),
        ),
        ("encode_steps", steps(plan.encode())),
        ("decode_steps", steps(plan.decode())),
    ] {
        entries.insert(key.into(), value);
    }
    Ok(config)
}

fn usage(package: &Package<'_>) -> String {
    let preset = &package.manifest.preset;
    let (channels, size) = (preset.channels(), preset.image.size);
    format!(
        "# {name}, as a MONAI bundle\n\n\
         Made of the anomalens bundle {hash}, whose `manifest.json` is in this folder. The networks are ONNX graphs, run by \
         ONNX Runtime; there is no `model.pt`.\n\n\
         ```python\n\
         import monai.bundle\n\n\
         monai.bundle.run(\n    \
         bundle_root=\".\", config_file=\"configs/inference.json\", meta_file=\"configs/metadata.json\",\n    \
         image_file=\"image.npy\", output_dir=\"eval\",\n\
         )\n\
         ```\n\n\
         `image.npy` is f32 [{channels}, {size}, {size}], normalised as said below. In `eval` appear `healthy.npy`, of the same \
         shape, and `anomaly_map.npy` [{size}, {size}]. On a GPU, add `providers=[\"CUDAExecutionProvider\"]`.\n",
        name = preset.name,
        hash = package.hash,
    )
}

fn license(package: &Package<'_>) -> String {
    format!(
        "The weights in models/ belong to whoever trained them; their terms are not known to the program that made this \
         package. What it was told of their origin:\n\n    {}\n\n\
         Replace this file by their licence before you pass the package on.\n\n\
         The graphs and the configuration were written by {}, which is licensed under MIT or Apache-2.0 at the user's choice.\n",
        package.manifest.provenance, package.manifest.tool,
    )
}
