//! The command line of `anomalens-cohort`, which `anomalens-train cohort` is too. Exit codes: 0 done, 1 failed, 2
//! wrong usage.

mod check;
mod import;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::synthetic::{self, Format, Settings, Source};
use crate::{Cohort, CohortError, sheet};

/// Time between two lines of progress where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// Makes labelled images to train and to measure on. Not for diagnostic use.
#[derive(Debug, Parser)]
#[command(
    name = "anomalens-cohort",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make synthetic brains (T1, T1ce, T2, FLAIR) or radiographs of the chest, half of them with a lesion
    #[command(after_help = "\
Examples:
  anomalens-cohort synthetic -o cohort --slices 2000 --seed 1
  anomalens-cohort synthetic -o held-out --slices 200 --seed 2
  anomalens-cohort synthetic -o study --slices 8 --seed 3 --format dicom
  anomalens-cohort synthetic -o tiny --slices 20 --seed 4 --size 32 --anatomy phantom
  anomalens-cohort synthetic -o chests --slices 2000 --seed 1 --anatomy chest

The same seed gives the same bytes, on every machine. ANOMALENS_MNI152 names the folder of the template's maps: `make
deps` fetches them, scripts/with-deps sets it. All subjects deform one template: docs/synthetic.md says what that means.")]
    Synthetic(Synthetic),
    /// Draw a contact sheet of a cohort of arrays: a row a slice, its channels, the lesion's outline
    #[command(after_help = "\
Examples:
  anomalens-cohort sheet cohort -o cohort.png
  anomalens-cohort sheet cohort -o more.png --first 100 --rows 20")]
    Sheet(Sheet),
    /// Make a cohort of images in other layouts: BRATS, CheXpert, folders of one's own
    Import(import::Import),
    /// Divide a cohort by subject into training, validation and test: splits.json in its folder
    #[command(after_help = "\
Examples:
  anomalens-cohort split brats
  anomalens-cohort split brats --validation 0.05 --test 0.15 --seed 3")]
    Split(check::Split),
    /// Count, draw histograms, and look for what cannot be right
    #[command(after_help = "\
Examples:
  anomalens-cohort check brats -o brats.png
  anomalens-cohort check brats --split test

Errors (exit code 1): values outside [0, 1] or not a number, a mask without a label or a label without a mask, a subject in two
splits, the same image twice with different labels or in different splits. Warnings: a constant channel, the same image twice,
a class without images.")]
    Check(check::Check),
}

#[derive(Debug, clap::Args)]
struct Synthetic {
    /// The cohort's folder: new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How many slices: as arrays half of them diseased, else whole subjects with at least so many
    #[arg(long, value_name = "N")]
    slices: usize,
    /// Everything random follows from it
    #[arg(long, value_name = "S")]
    seed: u64,
    /// Height and width, pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 64)]
    size: usize,
    /// How it is written
    #[arg(long, value_enum, default_value_t = FormatArg::Arrays)]
    format: FormatArg,
    /// What the images show
    #[arg(long, value_enum, default_value_t = Anatomy::Mni152)]
    anatomy: Anatomy,
    /// Number of the first subject
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    first: u64,
}

#[derive(Debug, clap::Args)]
struct Sheet {
    /// The cohort
    #[arg(value_name = "DIR")]
    cohort: PathBuf,
    /// The picture; replaced if it is there
    #[arg(short, long, value_name = "FILE.png")]
    output: PathBuf,
    /// Draw this split alone: train, validation or test
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// The first item
    #[arg(long, value_name = "ITEM", default_value_t = 0)]
    first: usize,
    /// How many items
    #[arg(long, value_name = "N", default_value_t = 16)]
    rows: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// images.npy, masks.npy, cohort.json: what training and evaluation read
    Arrays,
    /// As BRATS: a folder a subject, a volume a contrast, a volume for the mask
    Nifti,
    /// A study a subject, a series a contrast; the masks as arrays under truth/
    Dicom,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Anatomy {
    /// The MNI ICBM152 template: the folder named by ANOMALENS_MNI152
    Mni152,
    /// Ellipsoids, for tests: needs no file
    Phantom,
    /// No brain: chest radiographs, half of them with a pleural effusion; needs no file
    Chest,
}

/// Does what the command line says. [`CohortError::Setting`] is wrong usage.
///
/// Errors: [`CohortError`].
pub fn run(args: &Args) -> Result<(), CohortError> {
    match &args.command {
        Command::Synthetic(args) => make(args),
        Command::Sheet(args) => {
            let cohort = Cohort::open_split(&args.cohort, args.split.as_deref())?;
            sheet::write(&cohort, args.first, args.rows, &args.output)
        }
        Command::Import(args) => import::run(args),
        Command::Split(args) => check::split(args),
        Command::Check(args) => check::check(args),
    }
}

fn make(args: &Synthetic) -> Result<(), CohortError> {
    let source = match args.anatomy {
        Anatomy::Mni152 => Source::mni152_from_environment()?,
        Anatomy::Phantom => Source::Phantom,
        Anatomy::Chest => Source::Chest,
    };
    let format = match args.format {
        FormatArg::Arrays => Format::Arrays,
        FormatArg::Nifti => Format::Nifti,
        FormatArg::Dicom => Format::Dicom,
    };
    let &Synthetic { slices, seed, size, first, .. } = args;
    let settings = Settings { slices, seed, size, source, first };
    let mut progress = Progress::start("slices");
    let result = synthetic::write(&args.output, format, &settings, |done, total| progress.step(done, total));
    progress.finish();
    result?;
    println!("{}: {}", args.output.display(), settings.source.note());
    Ok(())
}

/// Whether Ctrl-C was pressed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A bar on a terminal, now and then a line elsewhere; from its start on Ctrl-C stops the work at the next step.
struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    began: Instant,
    told: Instant,
}

impl Progress {
    fn start(what: &'static str) -> Self {
        // Where no handler can be set, an interrupt ends the program at once; the folder is then left, hidden.
        let caught = ctrlc::set_handler(|| {
            eprintln!("interrupted: stopping after this step");
            INTERRUPTED.store(true, Ordering::SeqCst);
        });
        if let Err(error) = caught {
            eprintln!("warning: {error}; an interrupt may leave a hidden folder behind");
        }
        let bar = stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("[{bar:30}] {pos}/{len} {msg}, {elapsed} gone, {eta} left")
                    .expect("a constant template");
            ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_message(what)
        });
        let now = Instant::now();
        Self { what, bar, began: now, told: now }
    }

    /// Shows how many of how many there are; false if the work shall stop.
    fn step(&mut self, done: usize, total: usize) -> bool {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        } else if done == total || self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            let left = self.began.elapsed().mul_f64((total - done) as f64 / done.max(1) as f64);
            eprintln!("{done}/{total} {}, {} left", self.what, HumanDuration(left));
        }
        !INTERRUPTED.load(Ordering::SeqCst)
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
