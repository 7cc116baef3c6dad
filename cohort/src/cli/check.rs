//! `anomalens-cohort split` and `check`.

use std::path::PathBuf;

use super::Progress;
use crate::arrays::splits::NAMES;
use crate::{Cohort, CohortError, Shares, Splits, check, sheet};

/// Rows of the contact sheet.
const ROWS: usize = 16;

#[derive(Debug, clap::Args)]
pub(super) struct Split {
    /// The cohort
    #[arg(value_name = "DIR")]
    cohort: PathBuf,
    /// Share of the subjects that training is watched by
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    validation: f64,
    /// Share of the subjects that are kept for the end
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    test: f64,
    /// The split follows from it
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The cohort
    #[arg(value_name = "DIR")]
    cohort: PathBuf,
    /// Look at this split alone: train, validation or test
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Draw a contact sheet of 16 images, spread over the cohort; replaced if it is there
    #[arg(short, long, value_name = "FILE.png")]
    output: Option<PathBuf>,
}

pub(super) fn split(args: &Split) -> Result<(), CohortError> {
    let &Split { validation, test, seed, .. } = args;
    let cohort = Cohort::open(&args.cohort)?;
    let splits = Splits::draw(cohort.items(), Shares { validation, test }, seed)?;
    let path = splits.write(&args.cohort)?;
    println!("{}:", path.display());
    for name in NAMES {
        let subjects = splits.subjects.iter().filter(|(_, split)| split == name).count();
        if subjects > 0 {
            let part = Cohort::open_split(&args.cohort, Some(name))?;
            let counts = part.counts();
            println!(
                "{name}: {subjects} subjects, {} healthy and {} diseased images",
                counts.healthy, counts.diseased
            );
        }
    }
    Ok(())
}

pub(super) fn check(args: &Check) -> Result<(), CohortError> {
    let mut progress = Progress::start("images");
    let result = check::check(&args.cohort, args.split.as_deref(), |done, total| progress.step(done, total));
    progress.finish();
    let (cohort, report) = result?;
    println!("{report}");
    if let Some(file) = args.output.as_ref().filter(|_| !report.readable.is_empty()) {
        // Not those whose mask is wrong: they cannot be drawn.
        let drawn: Vec<usize> = report.readable.iter().copied().filter(|&i| cohort.mask(i).is_ok()).collect();
        let rows = ROWS.min(drawn.len());
        let spread: Vec<usize> = (0..rows).map(|row| drawn[row * drawn.len() / rows]).collect();
        sheet::draw(&cohort, &spread, file)?;
    }
    match report.errors.len() {
        0 => Ok(()),
        errors => Err(CohortError::Checked { path: args.cohort.clone(), errors }),
    }
}
