//! The model card: what a person should know before using a bundle.

use std::fmt::Write;

use anomalens_models::manifest::{Manifest, ParityCheck, WEIGHTS};

use super::Network;

pub(super) fn text(manifest: &Manifest, networks: &[Network<'_>]) -> String {
    let preset = &manifest.preset;
    let channels: Vec<&str> = preset.image.channels.iter().map(|c| c.name.as_str()).collect();
    let (size, translate) = (preset.image.size, &preset.translate);
    let mut text = format!(
        "# {name}\n\n{description}.\n\n\
         Finds anomalies without pixel labels: an image is encoded to noise by a diffusion model and decoded under the \
         guidance of a classifier towards the healthy class; what changed is the anomaly map (Wolleb et al., \
         *Diffusion Models for Medical Anomaly Detection*, MICCAI 2022).\n\n\
         **For research. Not a medical device, not for diagnostic use.**\n\n\
         ## Where it comes from\n\n{provenance}\n\nWritten by {tool}.\n\n\
         ## What goes in\n\n\
         - {size} x {size} pixels, channels in this order: {channels}\n\
         - normalised to [0, 1]: min(x, q) / q, q = percentile {percentile} of the series' non-zero pixels\n\
         - noise schedule: {schedule:?}, T = {timesteps}; the networks are given {steps} for a noise level\n\
         - unless told otherwise: noise level {level}, gradient scale {scale}, healthy class {class}\n\n\
         ## Networks\n\n",
        name = preset.name,
        description = preset.description.trim_end_matches('.'),
        provenance = manifest.provenance,
        tool = manifest.tool,
        channels = channels.join(", "),
        percentile = preset.image.percentile,
        schedule = preset.schedule.kind,
        timesteps = preset.schedule.timesteps,
        steps = manifest.step_convention,
        level = translate.noise_level,
        scale = translate.scale,
        class = translate.healthy_class,
    );
    for network in networks {
        let params = network.graph.param_count();
        let _ = writeln!(text, "- `{}`: the {}, {params} parameters", network.file, network.graph.name());
    }
    let both = networks.len() == 2;
    if !both {
        text.push_str(
            "\nOnly one of the two networks is in this bundle: it cannot translate with guidance.\n",
        );
    }
    let _ = writeln!(
        text,
        "\nThe parameters are in `{WEIGHTS}` ({}); the graphs point into it.",
        manifest.precision
    );
    text.push_str("\n## Verification\n\n");
    verification(&mut text, manifest);
    text
}

fn verification(text: &mut String, manifest: &Manifest) {
    let verification = &manifest.verification;
    if !verification.passed() {
        text.push_str("**Not verified**: the graphs were never compared between engines.\n");
        return;
    }
    let _ =
        writeln!(text, "Parity gate `{}`, run by {}.", verification.gate, verification.engines.join(" and "));
    if !verification.note.is_empty() {
        let _ = writeln!(text, "Note: {}.", verification.note);
    }
    text.push_str("\n| output | between | batch | max abs | tolerance |\n|---|---|---|---|---|\n");
    for ParityCheck { output, between, batch, max_abs, tolerance, .. } in &verification.checks {
        let _ = writeln!(text, "| {output} | {between} | {batch} | {max_abs:.1e} | {tolerance:.1e} |");
    }
}
