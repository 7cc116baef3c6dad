//! Whether the images are like those that the bundle's networks were trained on.

use anomalens_method::fitness::{Judgement, Sketch, judge};
use anomalens_models::fitness::Fitness;
use anomalens_models::image::UnitImage;
use anomalens_models::manifest::Manifest;
use anyhow::{Result, bail};
use clap::Args;

use super::input::Input;
use crate::args::TranslateArgs;
use crate::translator::Translator;

/// What is done about images that are not.
#[derive(Debug, Args)]
pub struct FitnessArgs {
    /// Refuse images that are unlike those that the bundle was trained on, and bundles that do not say what these look like
    /// [default: warn]
    #[arg(long)]
    pub strict: bool,
}

/// How each slice compares with the cohort that the bundle was trained on.
#[derive(Debug, Default)]
pub struct Fits {
    /// Slices, from 0, in increasing order; none where the bundle does not say what its cohort looks like.
    slices: Vec<(usize, Judgement)>,
    /// What a person should look at.
    pub warning: Option<String>,
}

impl Fits {
    /// How far out a slice is: above 1 it is unlike the cohort.
    pub fn of(&self, slice: usize) -> Option<f64> {
        let place = self.slices.binary_search_by_key(&slice, |(slice, _)| *slice).ok()?;
        Some(self.slices[place].1.distance)
    }
}

/// Compares `images`, which are the slices `kept` of the input. `on_step` is told how many of how many are compared.
///
/// Errors: with `--strict`, for images that are unlike the cohort, and where nothing is known of it; those of the networks.
pub fn examine(
    args: &TranslateArgs,
    manifest: &Manifest,
    translator: &mut Translator,
    input: &Input,
    (kept, images): (&[usize], &[UnitImage]),
    on_step: &mut dyn FnMut(&str, usize, usize),
) -> Result<Fits> {
    let (bundle, strict) = (args.bundle.display(), args.fitness.strict);
    let Some(fitness) = Fitness::read(&args.bundle, manifest)? else {
        let unknown = format!(
            "bundle '{bundle}' does not say what its training cohort looks like, so nobody knows whether the input is like it"
        );
        if strict {
            bail!(
                "{unknown}; expected a fitness.json by --strict: write it with anomalens-export fitness, or leave --strict out"
            );
        }
        return Ok(Fits { slices: Vec::new(), warning: Some(unknown) });
    };
    let noised = fitness.noise.as_ref().map(|noise| &noise.noised);
    let errors = noised.map(|noised| translator.noise_errors(images, noised, args.batch(), on_step));
    let errors = errors.transpose()?.flatten();
    let judged = images.iter().enumerate().map(|(i, image)| {
        let errors = errors.as_ref().map(|errors| errors.row(i).to_vec());
        judge(&fitness, &Sketch::of(image), errors.as_deref())
    });
    let slices: Vec<_> = kept.iter().copied().zip(judged).collect();
    let warning = warning(&slices, &|slice| input.slices[slice].name.clone());
    match warning {
        Some(warning) if strict => bail!(
            "{warning}; --strict refuses it: choose a bundle that was trained on such images, or leave --strict out to see what comes of it"
        ),
        warning => Ok(Fits { slices, warning }),
    }
}

/// One sentence on all slices that are unlike the cohort: how many, and the one that is furthest out.
fn warning(slices: &[(usize, Judgement)], name: &dyn Fn(usize) -> String) -> Option<String> {
    let unlike: Vec<_> = slices.iter().filter(|(_, judgement)| !judgement.fits()).collect();
    let (worst, judgement) = unlike.iter().max_by(|a, b| a.1.distance.total_cmp(&b.1.distance))?;
    let Judgement { statistic, found, expected: [low, high], distance } = judgement;
    Some(format!(
        "{} of {} slice(s) are unlike what the bundle was trained on, most of all slice {} ({}): {statistic} is {found:.3}, \
         expected {low:.3} to {high:.3}, {distance:.1} times as far out as the limit: {}? The result may mean nothing",
        unlike.len(),
        slices.len(),
        worst + 1,
        name(*worst),
        judgement.meaning(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(distance: f64, statistic: &str) -> Judgement {
        Judgement { distance, statistic: statistic.into(), found: -1.0, expected: [0.5, 1.5] }
    }

    #[test]
    fn one_warning_speaks_of_all_slices_and_of_the_worst() {
        let name = |slice: usize| format!("file {slice}");
        let slices = vec![
            (0, judgement(0.4, "filled")),
            (2, judgement(1.2, "layout")),
            (3, judgement(2.5, "upright")),
        ];
        let text = warning(&slices, &name).unwrap();
        for part in [
            "2 of 3 slice(s)",
            "slice 4 (file 3): upright is -1.000, expected 0.500 to 1.500",
            "2.5 times",
            ": upside down?",
        ] {
            assert!(text.contains(part), "no '{part}' in {text}");
        }
        assert_eq!(warning(&slices[..1], &name), None);
        let fits = Fits { slices, warning: None };
        assert_eq!((fits.of(2), fits.of(1)), (Some(1.2), None));
    }
}
