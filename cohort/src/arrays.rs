//! Cohorts as arrays: one folder, read item by item.

pub mod splits;
mod writer;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::CohortError;
use crate::npy::{ItemFile, Kind};
use splits::View;

pub use writer::{CohortWriter, Sample};

/// The version of the format that is read and written.
const FORMAT: u32 = 1;
const JSON: &str = "cohort.json";
const IMAGES: &str = "images.npy";
const MASKS: &str = "masks.npy";
const BRAINS: &str = "brains.npy";

/// One slice of one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Whose brain: items of one subject must never stand on both sides of a split.
    pub subject: String,
    /// Which slice of the subject's slab, from 0.
    pub slice: usize,
    /// The label: class 1 if so, else class 0.
    pub diseased: bool,
    /// Whatever else is known, e.g. the lesion's area.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a cohort says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortInfo {
    /// What it is, e.g. "synthetic-brains".
    pub kind: String,
    /// What must be said wherever results on it stand.
    pub note: String,
    /// The channels' names, in order.
    pub channels: Vec<String>,
    /// Height and width of an image, pixels.
    pub size: usize,
    /// Each series was normalised to min(x, q) / q, q this percentile of its non-zero values.
    pub percentile: f64,
    /// How it was made.
    #[serde(default)]
    pub generator: Value,
}

/// cohort.json.
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    #[serde(flatten)]
    info: CohortInfo,
    items: Vec<Item>,
}

/// How many items each class has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Class 0.
    pub healthy: usize,
    /// Class 1.
    pub diseased: usize,
}

/// A cohort on the disk, opened for reading. Memory holds its index, never its pixels.
#[derive(Debug)]
pub struct Cohort {
    dir: PathBuf,
    info: CohortInfo,
    items: Vec<Item>,
    images: ItemFile,
    masks: Option<ItemFile>,
    brains: Option<ItemFile>,
    /// `None`: all of it.
    view: Option<View>,
}

impl Cohort {
    /// Opens a cohort and checks that its files belong together; pixels are read and checked item by item, later.
    ///
    /// Errors: [`CohortError::Read`], [`CohortError::Json`], [`CohortError::Value`], [`CohortError::Array`],
    /// [`CohortError::Length`].
    pub fn open(dir: &Path) -> Result<Self, CohortError> {
        let path = dir.join(JSON);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| CohortError::Read { path: path.clone(), source })?;
        let json = |source| CohortError::Json { path: path.clone(), source };
        let value: Value = serde_json::from_str(&text).map_err(json)?;
        // The version first: another one may have other keys.
        let wrong = |key, found: String, expected: &str| {
            Err(CohortError::Value { path: path.clone(), key, found, expected: expected.to_owned() })
        };
        match value.get("format") {
            Some(found) if *found == FORMAT => {}
            found => {
                let found = found.map_or("absent".to_owned(), Value::to_string);
                return wrong("format", found, &FORMAT.to_string());
            }
        }
        let Description { info, items, .. } = serde_json::from_value(value).map_err(json)?;
        if info.channels.is_empty() {
            return wrong("channels", "empty".into(), "at least one name");
        }
        if info.size == 0 || info.size > 1 << 14 {
            return wrong("size", info.size.to_string(), "1 to 16384");
        }
        if items.is_empty() {
            return wrong("items", "empty".into(), "at least one item");
        }
        if !(info.percentile > 0.0 && info.percentile <= 100.0) {
            return wrong("percentile", info.percentile.to_string(), "above 0, at most 100");
        }
        let (n, s) = (items.len(), info.size);
        let images = ItemFile::open(dir.join(IMAGES), Kind::F32, &[n, info.channels.len(), s, s])?;
        let optional = |name| {
            let path = dir.join(name);
            path.exists().then(|| ItemFile::open(path, Kind::U8, &[n, s, s])).transpose()
        };
        let (masks, brains) = (optional(MASKS)?, optional(BRAINS)?);
        Ok(Self { dir: dir.to_owned(), info, items, images, masks, brains, view: None })
    }

    /// The number of items, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a cohort is never empty")]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The channels' names, in order.
    pub fn channels(&self) -> &[String] {
        &self.info.channels
    }

    /// Height and width of an image, pixels.
    pub fn size(&self) -> usize {
        self.info.size
    }

    /// What it is, e.g. "synthetic-brains".
    pub fn kind(&self) -> &str {
        &self.info.kind
    }

    /// What must be said wherever results on it stand.
    pub fn note(&self) -> &str {
        &self.info.note
    }

    /// The percentile of the normalisation, in (0, 100].
    pub fn percentile(&self) -> f64 {
        self.info.percentile
    }

    /// All that the cohort says about itself.
    pub fn info(&self) -> &CohortInfo {
        &self.info
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there are masks.
    pub fn has_masks(&self) -> bool {
        self.masks.is_some()
    }

    /// One item's description. Panics if `index` is not less than [`Cohort::len`].
    pub fn item(&self, index: usize) -> &Item {
        &self.items[index]
    }

    /// Every item's description, in order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// How many items each class has.
    pub fn counts(&self) -> Counts {
        let diseased = self.items.iter().filter(|item| item.diseased).count();
        Counts { healthy: self.items.len() - diseased, diseased }
    }

    /// One image, [C, H, W] in [0, 1].
    ///
    /// Errors: [`CohortError::NoItem`], [`CohortError::Read`], [`CohortError::Pixel`].
    pub fn image(&self, index: usize) -> Result<Array3<f32>, CohortError> {
        let bytes = self.bytes(&self.images, index)?;
        let values = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let s = self.info.size;
        let image = Array3::from_shape_vec((self.info.channels.len(), s, s), values)
            .expect("the length of an item is that of its shape");
        match image.indexed_iter().find(|(_, v)| !(0.0..=1.0).contains(*v)) {
            None => Ok(image),
            Some(((c, h, w), &found)) => {
                let Item { subject, slice, .. } = self.items[index].clone();
                let (path, item) = (self.dir.clone(), self.place(index));
                Err(CohortError::Pixel { path, item, subject, slice, index: [c, h, w], found })
            }
        }
    }

    /// One lesion mask, [H, W]; `None` if the cohort has none.
    ///
    /// Errors: [`CohortError::NoItem`], [`CohortError::Read`], [`CohortError::MaskValue`]; [`CohortError::Label`] if
    /// a healthy item's mask has a pixel or a diseased one's has none.
    pub fn mask(&self, index: usize) -> Result<Option<Array2<bool>>, CohortError> {
        let Some(file) = &self.masks else { return Ok(None) };
        let mask = self.bits(file, index)?;
        let pixels = mask.iter().filter(|&&m| m).count();
        let Item { subject, slice, diseased, .. } = self.items[index].clone();
        if diseased == (pixels == 0) {
            let (path, item) = (self.dir.clone(), self.place(index));
            return Err(CohortError::Label { path, item, subject, slice, diseased, pixels });
        }
        Ok(Some(mask))
    }

    /// One brain mask, [H, W]; where the cohort has none, where any channel is above 0.
    ///
    /// Errors: as [`Cohort::image`] and [`CohortError::MaskValue`].
    pub fn brain(&self, index: usize) -> Result<Array2<bool>, CohortError> {
        match &self.brains {
            Some(file) => self.bits(file, index),
            None => {
                let image = self.image(index)?;
                let s = self.info.size;
                Ok(Array2::from_shape_fn((s, s), |(h, w)| {
                    image.slice(ndarray::s![.., h, w]).iter().any(|&v| v > 0.0)
                }))
            }
        }
    }

    /// What a training run remembers its cohort by: the SHA-256, in hex, of the length of cohort.json (8 bytes,
    /// little endian), cohort.json and images.npy; of a split its name and its subjects, in order, each behind its
    /// length, follow. Masks are not part of it: no training sees them.
    ///
    /// Errors: [`CohortError::Read`].
    pub fn fingerprint(&self) -> Result<String, CohortError> {
        let mut hash = Sha256::new();
        for (name, with_length) in [(JSON, true), (IMAGES, false)] {
            let path = self.dir.join(name);
            let read = |source| CohortError::Read { path: path.clone(), source };
            let mut file = File::open(&path).map_err(read)?;
            if with_length {
                hash.update(file.metadata().map_err(read)?.len().to_le_bytes());
            }
            let mut block = vec![0; 1 << 20];
            loop {
                match file.read(&mut block).map_err(read)? {
                    0 => break,
                    n => hash.update(&block[..n]),
                }
            }
        }
        if let Some(view) = &self.view {
            let subjects: BTreeSet<&str> = self.items.iter().map(|item| item.subject.as_str()).collect();
            for text in [view.name.as_str()].into_iter().chain(subjects) {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn bytes(&self, file: &ItemFile, index: usize) -> Result<Vec<u8>, CohortError> {
        if index >= self.items.len() {
            return Err(CohortError::NoItem { path: self.dir.clone(), index, len: self.items.len() });
        }
        file.item(self.place(index))
    }

    /// Where an item lies in the arrays, which is how errors number it.
    pub(crate) fn place(&self, index: usize) -> usize {
        self.view.as_ref().map_or(index, |view| view.places[index])
    }

    fn bits(&self, file: &ItemFile, index: usize) -> Result<Array2<bool>, CohortError> {
        let bytes = self.bytes(file, index)?;
        let s = self.info.size;
        if let Some(place) = bytes.iter().position(|&b| b > 1) {
            let (path, found) = (file.path().to_owned(), bytes[place]);
            return Err(CohortError::MaskValue {
                path,
                item: self.place(index),
                index: [place / s, place % s],
                found,
            });
        }
        Ok(Array2::from_shape_fn((s, s), |(h, w)| bytes[h * s + w] == 1))
    }
}
