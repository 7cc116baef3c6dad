use std::io;
use std::path::PathBuf;

use anomalens_models::image::ImageError;
use anomalens_models::image::normalise::NormaliseError;
use anomalens_models::output::OutputError;

/// Why a cohort could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CohortError {
    /// A file could not be read.
    #[error("cohort file '{}': {source}, expected a readable file; check the path, or write the cohort anew", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// cohort.json is not what it should be.
    #[error("cohort '{}': {source}, expected the keys of a cohort; write it anew with `anomalens-cohort`", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// Another version of the format, or something that it does not allow.
    #[error("cohort '{}': {key} is {found}, expected {expected}; write it anew with `anomalens-cohort`", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
    /// An array file of another type or shape than cohort.json says, or none at all.
    #[error("cohort array '{}': {found}, expected {expected}; cohort.json and the arrays belong together: write the cohort anew", path.display())]
    Array {
        /// The file.
        path: PathBuf,
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
    /// A truncated or overlong array file.
    #[error("cohort array '{}': {found} bytes, expected {expected}; the file was cut short or damaged: write the cohort anew", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Found, bytes.
        found: u64,
        /// Expected, bytes.
        expected: u64,
    },
    /// An item that the cohort does not have.
    #[error("cohort '{}': item {index}, expected less than {len}, which it has", path.display())]
    NoItem {
        /// The cohort.
        path: PathBuf,
        /// Asked for.
        index: usize,
        /// Items in the cohort.
        len: usize,
    },
    /// A pixel that is not a number or outside [0, 1].
    #[error("cohort '{}': item {item} ({subject}, slice {slice}): pixel [channel {}, row {}, column {}] is {found}, expected a number from 0 to 1; write the cohort anew", path.display(), index[0], index[1], index[2])]
    Pixel {
        /// The cohort.
        path: PathBuf,
        /// Item.
        item: usize,
        /// Its subject.
        subject: String,
        /// Its slice.
        slice: usize,
        /// Channel, row, column.
        index: [usize; 3],
        /// The value.
        found: f32,
    },
    /// A mask's value that is neither 0 nor 1.
    #[error("cohort array '{}': item {item}: pixel [row {}, column {}] is {found}, expected 0 or 1; write the cohort anew", path.display(), index[0], index[1])]
    MaskValue {
        /// The file.
        path: PathBuf,
        /// Item.
        item: usize,
        /// Row, column.
        index: [usize; 2],
        /// The value.
        found: u8,
    },
    /// The label says one thing and the mask another.
    #[error("cohort '{}': item {item} ({subject}, slice {slice}) is labelled {}, but its mask has {pixels} pixels; correct the label or the mask", path.display(), if *diseased { "diseased" } else { "healthy" })]
    Label {
        /// The cohort.
        path: PathBuf,
        /// Item.
        item: usize,
        /// Its subject.
        subject: String,
        /// Its slice.
        slice: usize,
        /// Its label.
        diseased: bool,
        /// Pixels in its mask.
        pixels: usize,
    },
    /// A sample that does not fit the cohort being written.
    #[error("cohort '{}': sample {item}: {what} has shape {found:?}, expected {expected:?}", path.display())]
    Sample {
        /// The cohort.
        path: PathBuf,
        /// Item.
        item: usize,
        /// Image, mask or brain.
        what: &'static str,
        /// Its shape; empty: absent.
        found: Vec<usize>,
        /// The shape of those before.
        expected: Vec<usize>,
    },
    /// Nothing was put into a cohort.
    #[error("cohort '{}': no slice, expected at least one; ask for more slices", path.display())]
    Empty {
        /// The cohort.
        path: PathBuf,
    },
    /// The output folder.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// An anatomy template that cannot be had.
    #[error("brain template '{}': {found}, expected the MNI152 maps of nilearn 0.12; run `make deps` and set ANOMALENS_MNI152 to their folder (scripts/with-deps does), or use `--anatomy phantom`", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// A setting.
    #[error("{what} is {found}, expected {expected}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
    /// A series that could not be normalised.
    #[error(transparent)]
    Normalise(#[from] NormaliseError),
    /// An image file of another format that could not be made.
    #[error("image '{}': {found}; nothing was kept", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// The cause, in words.
        found: String,
    },
    /// A file or folder that cannot be imported.
    #[error("'{}': {found}, expected {expected}", path.display())]
    Import {
        /// The file or folder.
        path: PathBuf,
        /// What was found, a sentence.
        found: String,
        /// Expected, and the way out.
        expected: String,
    },
    /// A folder or table to be imported could not be read.
    #[error("'{}': {source}, expected something readable; check the path and its permissions", path.display())]
    Source {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An image that could not be put into the network's square.
    #[error(transparent)]
    Frame(#[from] ImageError),
    /// splits.json is not there, or does not fit the cohort.
    #[error("splits '{}': {found}, expected each subject of the cohort once, in one split; write it by `anomalens-cohort split`", path.display())]
    Splits {
        /// The file.
        path: PathBuf,
        /// Found.
        found: String,
    },
    /// A cohort that was checked has errors.
    #[error("cohort '{}': {errors} errors, see above, expected none; mend the images or labels, or leave those items out", path.display())]
    Checked {
        /// The cohort.
        path: PathBuf,
        /// How many.
        errors: usize,
    },
    /// The caller asked to stop.
    #[error("interrupted: nothing was written")]
    Interrupted,
}
