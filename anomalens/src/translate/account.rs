//! What is told of a translation: on the terminal, in the pictures, in the report and in the DICOM objects.

use std::path::PathBuf;

use anomalens_dicom_bridge::{MapOf, Provenance};
use anomalens_models::manifest::{CLASSIFIER_GRADIENT, Manifest};
use anomalens_runtime::engine::EngineChoice;
use image::RgbImage;

use super::Failed;
use super::fitness::Fits;
use super::input::Input;
use super::kept::Store;
use super::result::{Healthy, SliceResult};
use crate::TOOL;
use crate::args::TranslateArgs;
use crate::picture::Scene;
use crate::report::{Figures, Picture, Report, SliceRow};
use crate::translator::{Approach, Method};

/// What is told of a translation.
pub struct Account<'a> {
    input: &'a Input,
    manifest: &'a Manifest,
    source: PathBuf,
    out: PathBuf,
    trajectory: Option<PathBuf>,
    /// What computes, and why it was taken.
    engine: [String; 2],
    device: String,
    parameters: Vec<(String, String)>,
    method: Method,
    bundle: PathBuf,
    bundle_hash: String,
    warnings: Vec<String>,
    fits: Fits,
}

impl<'a> Account<'a> {
    /// Puts together what is known before the work.
    pub fn new(
        args: &TranslateArgs,
        manifest: &'a Manifest,
        bundle_hash: String,
        engine: String,
        approach: &Approach,
        input: &'a Input,
    ) -> Self {
        let why = match (&args.engine.tuned, args.engine.engine()) {
            (Some(tuned), _) => &format!("tuned: {tuned}"),
            (None, EngineChoice::Auto) if engine.starts_with("ort") => {
                "--engine auto: ONNX Runtime's library was found"
            }
            (None, EngineChoice::Auto) => {
                "--engine auto: ONNX Runtime cannot be used here, see anomalens doctor"
            }
            (None, EngineChoice::Ort) => "asked for by --engine ort",
            (None, EngineChoice::Tract) => "asked for by --engine tract",
        };
        let mut warnings = input.warnings.clone();
        if !manifest.verification.passed() {
            warnings.push(format!(
                "the bundle is not verified (gate '{}'), and was accepted by --unverified",
                manifest.verification.gate
            ));
        }
        let method = approach.method();
        if !method.heals() {
            let name = method.column();
            warnings.push(format!("{name} makes no healthy version: there are a map and a mask alone"));
        }
        if matches!(approach, Approach::Guided(_)) && !manifest.has(CLASSIFIER_GRADIENT) {
            warnings
                .push("the bundle has no classifier: nothing guides to the healthy class (--scale 0)".into());
        }
        let mut parameters = approach.describe();
        parameters.extend(input.brain.iter().map(|brain| ("brain mask".to_owned(), brain.parameter.clone())));
        Self {
            input,
            manifest,
            source: args.input.clone(),
            out: args.out.clone(),
            trajectory: args.trajectory.clone(),
            engine: [engine, why.to_owned()],
            device: args.engine.device().to_string(),
            parameters,
            method,
            bundle: args.bundle.clone(),
            bundle_hash,
            warnings,
            fits: Fits::default(),
        }
    }

    /// Takes in how the slices compare with the training cohort, and says on the terminal what a person should know of it.
    pub fn set_fits(&mut self, fits: Fits) {
        if let Some(warning) = &fits.warning {
            eprintln!("warning: {warning}");
            self.warnings.push(warning.clone());
        }
        self.fits = fits;
    }

    /// Says on the terminal what is about to be done, and what will be left out.
    pub fn beginning(&self, failed: &[Failed]) {
        let preset = &self.manifest.preset.name;
        eprintln!("engine: {} ({})", self.engine[0], self.engine[1]);
        eprintln!("bundle: {preset}, {}", self.manifest.provenance);
        let parameters: Vec<_> =
            self.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
        eprintln!("slices: {}; {}", self.input.slices.len(), parameters.join(", "));
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
        self.tell_failed(failed);
    }

    /// Says on the terminal what an earlier run has done of it.
    pub fn found(&self, store: &Store) {
        for damaged in &store.damaged {
            eprintln!("warning: {damaged}; this batch is made again");
        }
        if store.finished() > 0 {
            let (done, all) = (store.finished(), store.images());
            eprintln!("going on: {done} of {all} slices are done, and kept in '{}'", store.place().display());
        }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Says on the terminal what was done.
    pub fn end(&self, translated: usize, failed: &[Failed]) {
        let out = self.out.display();
        let mut text = format!("{translated} of {} slices translated to {out}\n", self.input.slices.len());
        text += &format!("open {}\n", self.out.join("report.html").display());
        if let Some(path) = &self.trajectory {
            text += &format!("every x_t is in {}\n", path.display());
        }
        text += "not for diagnostic use\n";
        crate::print(&text);
        if !failed.is_empty() {
            eprintln!("error: {} of {} slices failed:", failed.len(), self.input.slices.len());
            self.tell_failed(failed);
        }
    }

    fn tell_failed(&self, failed: &[Failed]) {
        for Failed { slice, why } in failed {
            eprintln!("slice {} failed: {why}", slice + 1);
        }
    }

    /// Draws one slice; `full_scale` is the largest map value of all slices.
    pub fn picture(&self, result: &SliceResult, healthy: Option<&Healthy>, full_scale: f32) -> RgbImage {
        let slice = &self.input.slices[result.slice];
        let method = match self.method {
            Method::Ours => String::new(),
            other => format!(", {}", other.column()),
        };
        let brain = self.input.brain.as_ref().map_or(String::new(), |brain| format!(", {}", brain.mark));
        let title = format!(
            "slice {} of {} - {TOOL}{method}{brain}, bundle {} {} - {}",
            result.slice + 1,
            self.input.slices.len(),
            self.manifest.preset.name,
            &self.bundle_hash[..12],
            self.manifest.provenance
        );
        Scene {
            title: &title,
            channels: &self.input.channels,
            input: slice.unit.view(),
            healthy: healthy.map(|healthy| healthy.pixels.view()),
            map: result.map.view(),
            mask: result.mask.view(),
            threshold: result.threshold,
            full_scale,
            aspect: slice.aspect,
        }
        .draw()
    }

    /// What the values of the map are.
    pub fn map_of(&self) -> MapOf {
        if self.method.heals() { MapOf::Difference } else { MapOf::Gradient }
    }

    /// What DICOM objects say of where they come from.
    pub fn provenance(&self) -> Provenance {
        let engine = self.engine[0].split(" (").next().unwrap_or_default();
        let mut parameters: Vec<_> =
            self.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
        parameters.push(format!("engine {engine} on {}", self.device));
        Provenance {
            tool: TOOL.to_owned(),
            bundle: self.manifest.preset.name.clone(),
            bundle_hash: self.bundle_hash.clone(),
            parameters: parameters.join(", "),
            note: self.manifest.provenance.clone(),
            created: Provenance::now(),
        }
    }

    /// The report.
    pub fn report(
        &self,
        results: &[SliceResult],
        failed: &[Failed],
        pictures: Vec<(usize, Vec<u8>)>,
        files: Vec<(String, Vec<String>)>,
        timings: Vec<(String, String)>,
    ) -> Report {
        let name = |slice: usize| self.input.slices[slice].name.clone();
        let figures = |r: &SliceResult| Figures {
            mean: r.mean(),
            maximum: r.maximum(),
            threshold: r.threshold,
            area: r.area(),
            pixels: r.map.len(),
            unlike: self.fits.of(r.slice),
        };
        let done = results.iter().map(|r| SliceRow {
            slice: r.slice + 1,
            name: name(r.slice),
            found: Ok(figures(r)),
        });
        let not = failed.iter().map(|f| SliceRow {
            slice: f.slice + 1,
            name: name(f.slice),
            found: Err(f.why.clone()),
        });
        let mut slices: Vec<_> = done.chain(not).collect();
        slices.sort_by_key(|row| row.slice);
        let mut parameters = self.parameters.clone();
        parameters.push(("engine".into(), self.engine.join("; ")));
        parameters.push(("device".into(), self.device.clone()));
        let caption = |slice| format!("slice {}: {}", slice + 1, name(slice));
        Report {
            title: format!("anomalens: {}", self.source.display()),
            subtitle: format!("Bundle {}: {}", self.manifest.preset.name, self.manifest.provenance),
            warnings: self.warnings.clone(),
            tables: vec![
                ("Bundle".into(), self.bundle_rows()),
                ("Parameters".into(), parameters),
                ("Written".into(), files.into_iter().map(|(word, files)| (word, listed(&files))).collect()),
                ("Timings".into(), timings),
            ],
            decisions: self.input.decisions.clone(),
            slices,
            brain: self
                .input
                .brain
                .as_ref()
                .map(|brain| Picture { caption: brain.decision.clone(), png: brain.outlines.clone() }),
            pictures: pictures
                .into_iter()
                .map(|(slice, png)| Picture { caption: caption(slice), png })
                .collect(),
        }
    }

    fn bundle_rows(&self) -> Vec<(String, String)> {
        let m = self.manifest;
        let gate = match m.verification.passed() {
            true => {
                format!("gate '{}' passed, by {}", m.verification.gate, m.verification.engines.join(" and "))
            }
            false => format!("NOT verified (gate '{}')", m.verification.gate),
        };
        [
            ("bundle", self.bundle.display().to_string()),
            ("SHA-256", self.bundle_hash.clone()),
            ("provenance", m.provenance.clone()),
            ("preset", format!("{}: {}", m.preset.name, m.preset.description)),
            ("verification", gate),
            ("written by", m.tool.clone()),
            ("translated by", TOOL.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// File names of one kind, in few words.
fn listed(files: &[String]) -> String {
    match files {
        [first, .., last] => format!("{} files, {first} to {last}", files.len()),
        files => files.concat(),
    }
}
