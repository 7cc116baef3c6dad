//! `inspect`: what a bundle holds; what would be done with an image, and why.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anomalens_dicom_bridge::read::scan;
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, FileEntry, MANIFEST, Manifest, NETWORK, UNET};
use anomalens_models::preset::{ChannelSpec, Guided, Preset, TranslateDefaults};
use anyhow::Result;

use crate::args::InspectArgs;
use crate::failure::{Outcome, describe};
use crate::translate::{BrainArgs, Input, is_array, read_array};
use crate::tune;

/// Looks, and tells. Bad if `translate` would refuse what was looked at.
///
/// Errors: what cannot be looked at.
pub fn run(args: &InspectArgs) -> Result<(String, Outcome)> {
    if args.path.join(MANIFEST).exists() {
        return bundle(&args.path);
    }
    match &args.bundle {
        Some(folder) => {
            let manifest = Manifest::read(folder)?;
            with_bundle(&args.path, &manifest.preset, &args.channels)
        }
        None => Ok((alone(&args.path)?, Outcome::Done)),
    }
}

/// An image without a bundle: what it is.
fn alone(path: &Path) -> Result<String> {
    if is_array(path) {
        let images = read_array(path)?;
        let (n, c, h, w) = images.pixels().dim();
        return Ok(format!("{}: {n} image(s) of {c} channel(s), {h} x {w}\n{HINT}", path.display()));
    }
    let inventory = scan(path)?;
    let mut text = format!("{}\n{inventory}", path.display());
    for (file, reason) in &inventory.skipped {
        let _ = writeln!(text, "  {}: {reason}", file.display());
    }
    Ok(text + HINT)
}

const HINT: &str = "to see what a bundle would do with it: anomalens inspect PATH --bundle DIR\n";

/// An image with a bundle: what would be done with it and why.
fn with_bundle(path: &Path, preset: &Preset, channels: &[(String, PathBuf)]) -> Result<(String, Outcome)> {
    let input = Input::read(path, preset, channels, &BrainArgs::default())?;
    let mut text =
        format!("{}: {} slice(s) for bundle '{}'\n", path.display(), input.slices.len(), preset.name);
    for decision in &input.decisions {
        let _ = writeln!(text, "  {decision}");
    }
    for warning in &input.warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
    let mut refused = 0;
    for (i, slice) in input.slices.iter().enumerate() {
        if let Err(why) = slice.framed() {
            refused += 1;
            let _ = writeln!(text, "  slice {} would fail: {}", i + 1, describe(&why.into()));
        }
    }
    let _ =
        writeln!(text, "{} of {} slices can be translated", input.slices.len() - refused, input.slices.len());
    Ok((text, if refused == 0 { Outcome::Done } else { Outcome::Bad }))
}

fn bundle(folder: &Path) -> Result<(String, Outcome)> {
    let manifest = Manifest::read(folder)?;
    let preset = &manifest.preset;
    let mut text = format!("bundle '{}'\n", folder.display());
    let has = |file, name: &str| if manifest.has(file) { name.to_owned() } else { format!("no {name}") };
    let networks = match preset.method.is_one_pass() {
        true => has(NETWORK, "one-pass network"),
        false => format!("{}, {}", has(UNET, "U-Net"), has(CLASSIFIER_GRADIENT, "classifier gradient")),
    };
    let mut rows = vec![
        ("preset", format!("{}: {}", preset.name, preset.description)),
        ("provenance", manifest.provenance.clone()),
        ("written by", manifest.tool.clone()),
        ("SHA-256", Manifest::bundle_hash(folder)?),
        ("method", preset.method.name().to_string()),
        ("networks", networks),
        ("image", format!("{} channel(s), {1} x {1}", preset.channels(), preset.image.size)),
        ("pixels", format!("min(x, q) / q, q the percentile {} of the series", preset.image.percentile)),
        ("graphs", format!("{}, {}", manifest.target, manifest.precision)),
    ];
    rows.extend(tuned(folder).map(|tuned| ("tuned", tuned)));
    if let Ok(Guided { schedule, translate, .. }) = preset.guided() {
        rows.extend([
            (
                "schedule",
                format!("{}, T = {}", format!("{:?}", schedule.kind).to_lowercase(), schedule.timesteps),
            ),
            ("steps", manifest.step_convention.clone()),
            ("clamp", manifest.clamp.clone()),
            ("defaults", defaults(translate)),
        ]);
    }
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<12} {value}");
    }
    text.push_str("channels\n");
    for channel in &preset.image.channels {
        let _ = writeln!(text, "  {:<12} {}", channel.name, rule(channel));
    }
    verification(&mut text, &manifest);
    let sound = files(&mut text, folder, &manifest);
    let outcome = if sound && manifest.verification.passed() { Outcome::Done } else { Outcome::Bad };
    if !manifest.verification.passed() {
        text.push_str("translate wants --unverified for this bundle\n");
    }
    if !sound {
        text.push_str("translate refuses this bundle: copy it again\n");
    }
    Ok((text, outcome))
}

/// What `tune` has found for it here, if it has.
fn tuned(folder: &Path) -> Option<String> {
    match tune::Place::of(Manifest::bundle_hash(folder).ok()?).ok()?.read() {
        Ok(found) => Some(found?.0.describe()),
        Err(error) => Some(error.to_string()),
    }
}

/// The options that translate takes where it is given none.
fn defaults(translate: &TranslateDefaults) -> String {
    let TranslateDefaults { noise_level, scale, healthy_class, steps, spacing, solver, guidance_interval } =
        translate;
    let steps = match steps {
        None => "--steps every".to_owned(),
        Some(n) => format!("--steps {n} --spacing {spacing}"),
    };
    let interval = guidance_interval.map_or(String::new(), |i| format!(" --guidance-interval {i}"));
    format!(
        "--noise-level {noise_level} --scale {scale} --healthy-class {healthy_class} {steps} --solver {solver}{interval}"
    )
}

fn rule(channel: &ChannelSpec) -> String {
    let modality = match channel.modality.as_slice() {
        [] => "any modality".to_owned(),
        names => names.join(" or "),
    };
    let words = |words: &[String]| words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(", ");
    let mut rule = modality;
    if !channel.any_of.is_empty() {
        rule += &format!("; description or protocol contains one of {}", words(&channel.any_of));
    }
    if !channel.none_of.is_empty() {
        rule += &format!("; and none of {}", words(&channel.none_of));
    }
    rule
}

fn verification(text: &mut String, manifest: &Manifest) {
    let v = &manifest.verification;
    let passed = if v.passed() { "passed" } else { "NOT verified" };
    let _ = writeln!(text, "verification\n  gate '{}': {passed}; engines: {}", v.gate, v.engines.join(", "));
    for wanting in &v.wanting {
        let _ = writeln!(text, "  wanting: {wanting}");
    }
    if !v.note.is_empty() {
        let _ = writeln!(text, "  {}", v.note);
    }
    if let Some(trajectory) = &v.trajectory {
        let _ = writeln!(text, "  translations: {trajectory}");
    }
    if !v.checks.is_empty() {
        let _ = writeln!(
            text,
            "  {:<42} {:<20} {:>5} {:>10} {:>10} {:>10}",
            "output", "between", "batch", "max abs", "max rel", "tolerance"
        );
    }
    for c in &v.checks {
        let _ = writeln!(
            text,
            "  {:<42} {:<20} {:>5} {:>10.1e} {:>10.1e} {:>10.1e}",
            c.output, c.between, c.batch, c.max_abs, c.max_rel, c.tolerance
        );
    }
}

/// Lists the files and compares each with the manifest; whether all are as it says.
fn files(text: &mut String, folder: &Path, manifest: &Manifest) -> bool {
    text.push_str("files\n");
    let mut sound = true;
    for (name, expected) in &manifest.files {
        let state = match FileEntry::of(&folder.join(name)) {
            Ok(found) if found == *expected => "as written".to_owned(),
            Ok(found) => format!("CHANGED: now {} bytes, sha256 {}", found.bytes, found.sha256),
            Err(error) => format!("MISSING: {error}"),
        };
        sound &= state == "as written";
        let _ =
            writeln!(text, "  {name:<26} {:>12} bytes, sha256 {}, {state}", expected.bytes, expected.sha256);
    }
    sound
}
