//! What can be wrong with DICOM input and output. Every message names the place, what was found, what was
//! expected and the way out.

use std::io;
use std::path::PathBuf;

/// Why DICOM input was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file system said no.
    #[error("{}: {source}; check the path and its permissions", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No DICOM preamble.
    #[error("{}: not a DICOM file: found no 'DICM' at byte 128; give a DICOM Part 10 file or a folder of them", path.display())]
    NotDicom {
        /// The file.
        path: PathBuf,
    },
    /// Has the preamble, but cannot be parsed to the end.
    #[error("{}: damaged DICOM file: {cause}; copy it again from its source", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        cause: String,
    },
    /// Not an object that can be translated: another SOP class, one of our own results, a DICOMDIR.
    #[error("{}: {found}; expected an MR, CT, CR or DX image", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// No pixel data.
    #[error("{}: found no pixel data (7FE0,0010), expected an image; export the series with its pixels", path.display())]
    NoPixelData {
        /// The file.
        path: PathBuf,
    },
    /// A transfer syntax that cannot be decoded.
    #[error("{}: cannot decode transfer syntax {found}; convert it first, e.g. with gdcmconv --raw", path.display())]
    TransferSyntax {
        /// The file.
        path: PathBuf,
        /// Its UID and name.
        found: String,
    },
    /// The codec failed.
    #[error("{}: pixel data could not be decoded: {cause}; convert it first, e.g. with gdcmconv --raw", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the codec said.
        cause: String,
    },
    /// An attribute that is missing or has a value that would be read wrongly.
    #[error("{}: {attribute}: found {found}, expected {expected}", path.display())]
    Attribute {
        /// The file.
        path: PathBuf,
        /// Name and tag.
        attribute: &'static str,
        /// The value.
        found: String,
        /// What would be right, and the way out.
        expected: String,
    },
    /// Nothing to translate.
    #[error("{}: found no MR, CT, CR or DX image among {files} files{reasons}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
        /// Number of files looked at.
        files: usize,
        /// The reasons for leaving them out, most frequent first.
        reasons: String,
    },
    /// A channel for which no series, or more than one, was found.
    #[error("{}: channel '{channel}' of {channels}: found {found}, expected one series ({rule}); name it with --channel {channel}=PATH, or use a bundle with {series} channel(s)", path.display())]
    Channel {
        /// The input.
        path: PathBuf,
        /// The channel's name.
        channel: String,
        /// The number of channels that the bundle wants.
        channels: usize,
        /// What was found.
        found: String,
        /// How the channel is recognised.
        rule: String,
        /// The number of series found.
        series: usize,
    },
    /// `--channel NAME=PATH` with an unknown name, or the same name twice.
    #[error("--channel {found}: {problem}; the bundle's channels are {known}")]
    Override {
        /// The name given.
        found: String,
        /// What is wrong with it.
        problem: &'static str,
        /// The names that there are.
        known: String,
    },
    /// A path given for a channel that holds more than one series.
    #[error("--channel {channel}={}: found {found} series, expected one; name the folder of one series", path.display())]
    Ambiguous {
        /// The channel's name.
        channel: String,
        /// The path.
        path: PathBuf,
        /// The number of series.
        found: usize,
    },
    /// Two slices or two channels that are not on one grid.
    #[error("{} and {}: not on one grid: {what}: found {found}, expected {expected}; {remedy}", path.display(), other.display())]
    Grid {
        /// The file that differs.
        path: PathBuf,
        /// The file that it was compared with.
        other: PathBuf,
        /// What differs.
        what: &'static str,
        /// The value found.
        found: Box<str>,
        /// The other's value.
        expected: Box<str>,
        /// The way out.
        remedy: &'static str,
    },
    /// Two slices at one place.
    #[error("{} and {}: two slices at {place:.3} mm along the normal, expected one; give one acquisition (one echo, one phase, one b-value)", path.display(), other.display())]
    Duplicate {
        /// The one file.
        path: PathBuf,
        /// The other.
        other: PathBuf,
        /// Where, in mm along the normal.
        place: f64,
    },
    /// A slice is missing.
    #[error("{} and {}: gap: found {found:.3} mm between neighbouring slices, expected {expected:.3} mm; {missing}; copy the whole series", path.display(), next.display())]
    Gap {
        /// The slice before the gap.
        path: PathBuf,
        /// The slice after it.
        next: PathBuf,
        /// Distance in mm along the normal.
        found: f64,
        /// The series' distance in mm.
        expected: f64,
        /// How many seem to be missing.
        missing: String,
    },
    /// A stack whose slices do not say where they are.
    #[error("{}: {attribute} is missing in a series of {slices} slices, expected in each; without it they cannot be put in order: give one file at a time", path.display())]
    Unplaced {
        /// The file.
        path: PathBuf,
        /// Name and tag.
        attribute: &'static str,
        /// Number of slices in the series.
        slices: usize,
    },
}

impl ReadError {
    /// A stable word for the kind of error, e.g. for a report.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::NotDicom { .. } => "not-dicom",
            Self::Damaged { .. } => "damaged",
            Self::NotAnImage { .. } => "not-an-image",
            Self::NoPixelData { .. } => "no-pixel-data",
            Self::TransferSyntax { .. } => "transfer-syntax",
            Self::Decode { .. } => "decode",
            Self::Attribute { .. } => "attribute",
            Self::Empty { .. } => "empty",
            Self::Channel { .. } => "channel",
            Self::Override { .. } => "override",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Grid { .. } => "grid",
            Self::Duplicate { .. } => "duplicate",
            Self::Gap { .. } => "gap",
            Self::Unplaced { .. } => "unplaced",
        }
    }
}

/// Why a result could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The array does not belong to the source slice.
    #[error("{object}: shape {found:?}, expected {expected:?}, that of {}", source_file.display())]
    Shape {
        /// What was to be written.
        object: &'static str,
        /// Found: height, width.
        found: [usize; 2],
        /// Expected.
        expected: [usize; 2],
        /// The source.
        source_file: PathBuf,
    },
    /// A value that is not a number, infinite, or (in a map) negative.
    #[error("{object}: value at [row {}, column {}] is {found}, expected {expected}", index[0], index[1])]
    Value {
        /// What was to be written.
        object: &'static str,
        /// Row, column.
        index: [usize; 2],
        /// The value.
        found: f32,
        /// What would be right.
        expected: &'static str,
    },
    /// The channel does not exist.
    #[error("{object}: channel {found}, expected below {expected}")]
    Channel {
        /// What was to be written.
        object: &'static str,
        /// Found.
        found: usize,
        /// Number of channels of the slice.
        expected: usize,
    },
    /// A multi-frame object of no slices.
    #[error("{object}: found no slice, expected at least one")]
    NoSlices {
        /// What was to be written.
        object: &'static str,
    },
    /// A slice that does not say where it lies, for an object that must.
    #[error("{object}: {missing} is missing in {}, expected in each slice; write a fractional segmentation instead, which the object 'map' is there", source_file.display())]
    Unplaced {
        /// What was to be written.
        object: &'static str,
        /// Name and tag of the attribute.
        missing: &'static str,
        /// The source.
        source_file: PathBuf,
    },
    /// The object could not be encoded.
    #[error("{object}: could not be encoded: {cause}")]
    Encode {
        /// What was to be written.
        object: &'static str,
        /// What the encoder said.
        cause: String,
    },
    /// The file system said no.
    #[error("{}: {source}; choose a writable folder with enough space", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}
