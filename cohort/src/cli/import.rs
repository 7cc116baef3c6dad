//! `anomalens-cohort import`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::Progress;
use crate::CohortError;
use crate::import::{self, Imported, Settings, brats, brats_slices, chexpert, folder};

#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  anomalens-cohort import brats MICCAI_BraTS_2020 -o brats
  anomalens-cohort import brats-slices data/brats/testing --labels data/brats/test_labels -o brats-test
  anomalens-cohort import chexpert CheXpert-v1.0-small/train.csv -o chexpert --uncertain ignore
  anomalens-cohort import chexpert-arrays data/chexpert/training -o chexpert
  anomalens-cohort import folder mine -o cohort --size 64 --channel radiograph

Each series is normalised to min(x, q) / q, q the percentile of its non-zero values: choose the preset's, as for the size."
)]
pub(super) struct Import {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Folders of volumes *_t1.nii.gz, *_t1ce.nii.gz, *_t2.nii.gz, *_flair.nii.gz, *_seg.nii.gz
    Brats(Brats),
    /// A folder a slice, as the reference of the paper has them: *_flair_080_w.nii.gz and so on
    BratsSlices(BratsSlices),
    /// CheXpert's table with its pictures: effusions against no finding, frontal views
    Chexpert(Chexpert),
    /// CheXpert as the reference of the paper has it: healthy/*.npy and diseased/*.npy
    ChexpertArrays(OneChannel),
    /// Pictures of one's own: healthy/ and diseased/ of PNG, JPEG, TIFF, NPY, NIfTI or DICOM; perhaps masks/
    Folder(OneChannel),
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The images
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The cohort's folder: new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Height and width, pixels: smaller images are padded, larger ones averaged down, as `anomalens translate` does
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    size: usize,
    /// q is this percentile of a series' non-zero values
    #[arg(long, value_name = "PERCENT", default_value_t = 99.5)]
    percentile: f64,
}

#[derive(Debug, clap::Args)]
struct Brats {
    #[command(flatten)]
    common: Common,
    /// The lowest axial slice that is taken, from 0
    #[arg(long, value_name = "SLICE", default_value_t = brats::FIRST_SLICE)]
    first_slice: usize,
    /// The uppermost axial slice that is taken
    #[arg(long, value_name = "SLICE", default_value_t = brats::LAST_SLICE)]
    last_slice: usize,
}

#[derive(Debug, clap::Args)]
struct BratsSlices {
    #[command(flatten)]
    common: Common,
    /// Folder of NNNNNN-label.nii.gz, for slices without a segmentation of their own
    #[arg(long, value_name = "DIR")]
    labels: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Chexpert {
    #[command(flatten)]
    one: OneChannel,
    /// What an uncertain effusion (-1.0) counts as
    #[arg(long, value_enum, default_value_t = Uncertain::Ignore)]
    uncertain: Uncertain,
    /// Leave out rows whose file is not there, and count them
    #[arg(long)]
    skip_missing: bool,
}

#[derive(Debug, clap::Args)]
struct OneChannel {
    #[command(flatten)]
    common: Common,
    /// The channel's name: the preset's
    #[arg(long, value_name = "NAME", default_value = import::RADIOGRAPH)]
    channel: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Uncertain {
    /// Left out
    Ignore,
    /// Class 0
    Healthy,
    /// Class 1
    Diseased,
}

pub(super) fn run(args: &Import) -> Result<(), CohortError> {
    let common = match &args.kind {
        Kind::Brats(Brats { common, .. }) | Kind::BratsSlices(BratsSlices { common, .. }) => common,
        Kind::Chexpert(Chexpert { one, .. }) | Kind::ChexpertArrays(one) | Kind::Folder(one) => &one.common,
    };
    let Common { path, output, size, percentile } = common;
    let settings = Settings { size: *size, percentile: *percentile };
    let mut progress = Progress::start(match &args.kind {
        Kind::Brats(_) | Kind::BratsSlices(_) => "subjects",
        Kind::Chexpert(_) | Kind::ChexpertArrays(_) | Kind::Folder(_) => "images",
    });
    let step = |done, total| progress.step(done, total);
    let result = match &args.kind {
        &Kind::Brats(Brats { first_slice: first, last_slice: last, .. }) => {
            brats::write(path, output, settings, brats::Slices { first, last }, step)
        }
        Kind::BratsSlices(BratsSlices { labels, .. }) => {
            brats_slices::write(path, labels.as_deref(), output, settings, step)
        }
        Kind::Chexpert(Chexpert { one, uncertain, skip_missing }) => {
            let uncertain = match uncertain {
                Uncertain::Ignore => chexpert::Uncertain::Ignore,
                Uncertain::Healthy => chexpert::Uncertain::Healthy,
                Uncertain::Diseased => chexpert::Uncertain::Diseased,
            };
            let choice =
                chexpert::Choice { uncertain, skip_missing: *skip_missing, channel: one.channel.clone() };
            chexpert::write(path, output, settings, &choice, step)
        }
        Kind::ChexpertArrays(one) => {
            folder::write(path, output, settings, folder::Layout::ChexpertArrays, &one.channel, step)
        }
        Kind::Folder(one) => folder::write(path, output, settings, folder::Layout::Any, &one.channel, step),
    };
    progress.finish();
    let Imported { healthy, diseased, left_out } = result?;
    println!("{}: {healthy} healthy and {diseased} diseased images", output.display());
    for (why, count) in left_out {
        println!("left out: {count} {why}");
    }
    Ok(())
}
