//! The model card: what a person should know before using a bundle.

use std::fmt::Write;

use anomalens_models::manifest::{Manifest, ParityCheck, WEIGHTS};
use anomalens_models::preset::{Guided, Method, Solver};
use anomalens_models::stats::Training;
use serde_json::{Map, Value};

use super::Network;
use crate::gate::Subject;
use crate::parts::Part;

pub(super) fn text(
    manifest: &Manifest,
    networks: &[Network<'_>],
    steps: &[Subject<'_>],
    more: Option<&str>,
) -> String {
    let preset = &manifest.preset;
    let channels: Vec<&str> = preset.image.channels.iter().map(|c| c.name.as_str()).collect();
    let size = preset.image.size;
    let mut text = format!(
        "# {name}\n\n{description}.\n\n\
         {method}\n\n\
         **For research. Not a medical device, not for diagnostic use.**\n\n\
         ## Where it comes from\n\n{provenance}\n\nWritten by {tool}.\n\n\
         ## What goes in\n\n\
         - {size} x {size} pixels, channels in this order: {channels}\n\
         - normalised to [0, 1]: min(x, q) / q, q = percentile {percentile} of the series' non-zero pixels\n\
         {process}\n\
         ## Networks\n\n",
        name = preset.name,
        description = preset.description.trim_end_matches('.'),
        method = method(&preset.method),
        provenance = manifest.provenance,
        tool = manifest.tool,
        channels = channels.join(", "),
        percentile = preset.image.percentile,
        process = preset.guided().map_or(String::new(), |guided| process(guided, &manifest.step_convention)),
    );
    for network in networks {
        let Part { file, graph, .. } = &network.part;
        let _ = writeln!(text, "- `{file}`: the {}, {} parameters", graph.name(), graph.param_count());
    }
    for step in steps {
        let _ = writeln!(
            text,
            "- `{}`: of a step whose images stay on the device, with the same parameters",
            step.file
        );
    }
    if preset.method.is_one_pass() {
        let _ = writeln!(text, "\nThe parameters are in `{WEIGHTS}` (f32); the graph points into it.");
    } else {
        if networks.len() < 2 {
            text.push_str(
                "\nOnly one of the two networks is in this bundle: it cannot translate with guidance.\n",
            );
        }
        let _ = writeln!(
            text,
            "\nThe parameters are in `{WEIGHTS}` (U-Net {}, classifier f32); the graphs point into it. The U-Net is for \
             the target `{}`.",
            manifest.precision, manifest.target
        );
    }
    for training in &manifest.training {
        recipe(&mut text, training);
    }
    text.push_str("\n## Verification\n\n");
    verification(&mut text, manifest);
    if let Some(more) = more {
        let _ = write!(text, "\n{}\n", more.trim());
    }
    text
}

/// What the networks do with an image, and whose method that is.
fn method(method: &Method) -> String {
    let paper = "Wolleb et al., *Diffusion Models for Medical Anomaly Detection*, MICCAI 2022";
    let compared = format!(
        "What changed is the anomaly map. This is a method that the paper's own is compared with ({paper}), not that method."
    );
    match method {
        Method::Guided(_) => format!(
            "Finds anomalies without pixel labels: an image is encoded to noise by a diffusion model and decoded under the \
             guidance of a classifier towards the healthy class; what changed is the anomaly map ({paper})."
        ),
        Method::Vae(_) => format!(
            "Finds anomalies without pixel labels: a variational autoencoder that has seen healthy images alone gives back of an \
             image what it knows (Chen and Konukoglu, *Unsupervised Detection of Lesions in Brain MRI using Constrained \
             Adversarial Auto-encoders*, 2018). {compared}"
        ),
        Method::FixedPointGan(gan) => format!(
            "Finds anomalies without pixel labels: the generator of a Fixed-Point GAN is asked for the image's version in the \
             healthy domain, {} of 0..{} (Siddiquee et al., *Learning Fixed Points in Generative Adversarial Networks*, ICCV \
             2019). {compared}",
            gan.healthy_class,
            gan.classes - 1
        ),
    }
}

/// The diffusion process, and what is done with it where nobody says otherwise.
fn process(guided: &Guided, steps: &str) -> String {
    let Guided { schedule, translate, .. } = guided;
    format!(
        "- noise schedule: {schedule:?}, T = {timesteps}; the networks are given {steps} for a noise level\n\
         - unless told otherwise: noise level {level}, {visits}, gradient scale {scale}, healthy class {class}\n",
        schedule = schedule.kind,
        timesteps = schedule.timesteps,
        level = translate.noise_level,
        visits = match (translate.steps, translate.spacing) {
            (None, _) => "every level on the way".to_owned(),
            (Some(n), spacing) => format!("{n} steps a loop at the levels L (j/{n})^{spacing}"),
        } + match translate.solver {
            Solver::Euler => "",
            Solver::Ab2 => " by the second-order method of Adams and Bashforth",
        },
        scale = translate.scale,
        class = translate.healthy_class,
    )
}

fn recipe(text: &mut String, training: &Training) {
    let Training { network, tool, cohort, iterations, batch, learning_rate, .. } = training;
    let average = training.ema.map_or("none".to_owned(), |rate| rate.to_string());
    let fall = match training.cosine {
        0.0 => "constant".to_owned(),
        share => format!("falling to 0 along half a cosine over the last {:.0} %", 100.0 * share),
    };
    let _ = write!(
        text,
        "\n## How the {network} was trained\n\n\
         - images: {kind}, {healthy} healthy and {diseased} diseased slices (fingerprint {fingerprint}). {note}\n\
         - recipe: {iterations} steps of {batch} images, Adam at {learning_rate} ({fall}), average of the parameters: \
         {average}, {levels}seed {seed}, {precision}, by {tool}\n\n",
        kind = cohort.kind,
        healthy = cohort.healthy,
        diseased = cohort.diseased,
        fingerprint = cohort.fingerprint.get(..12).unwrap_or(&cohort.fingerprint),
        note = cohort.note,
        levels = training.max_level.map_or(String::new(), |most| format!("noise levels up to {most}, ")),
        seed = training.seed,
        precision = training.precision,
    );
    curve(text, &training.curve);
}

/// The loss on the way, one column a figure.
fn curve(text: &mut String, lines: &[Map<String, Value>]) {
    let Some(last) = lines.last() else { return };
    let names: Vec<&String> =
        last.keys().filter(|name| !matches!(name.as_str(), "images_per_second" | "learning_rate")).collect();
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text.push_str(&row(names.iter().map(|name| name.replace('_', " ")).collect()));
    text.push_str(&row(names.iter().map(|_| "---".to_owned()).collect()));
    for line in lines {
        let cell = |name: &&String| match line.get(*name) {
            Some(Value::Number(n)) if n.is_f64() => format!("{:.4}", n.as_f64().unwrap_or(f64::NAN)),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        text.push_str(&row(names.iter().map(cell).collect()));
    }
}

fn verification(text: &mut String, manifest: &Manifest) {
    let verification = &manifest.verification;
    if !verification.passed() {
        text.push_str(
            "**Not verified** when this card was written: no engine had run all graphs of this bundle as it is meant to. \
             `manifest.json` says whether `anomalens-export verify` has done so since.\n",
        );
    } else {
        let engines = verification.engines.join(" and ");
        let _ = writeln!(text, "Parity gate `{}`, run by {engines}.", verification.gate);
    }
    if !verification.wanting.is_empty() {
        let _ = writeln!(text, "Wanting: {}.", verification.wanting.join("; "));
    }
    if !verification.note.is_empty() {
        let _ = writeln!(text, "Note: {}.", verification.note);
    }
    if let Some(trajectory) = &verification.trajectory {
        let _ = writeln!(text, "\nTranslations: {trajectory}.");
    }
    if verification.checks.is_empty() {
        return;
    }
    text.push_str("\n| output | between | batch | max abs | tolerance |\n|---|---|---|---|---|\n");
    for ParityCheck { output, between, batch, max_abs, tolerance, .. } in &verification.checks {
        let _ = writeln!(text, "| {output} | {between} | {batch} | {max_abs:.1e} | {tolerance:.1e} |");
    }
}
