//! Writing a cohort: arrays grow item by item, and the folder gets its name at the end.

use std::io;
use std::path::Path;

use anomalens_models::output::OutputFolder;
use ndarray::{Array2, Array3};

use super::{BRAINS, CohortInfo, Description, FORMAT, IMAGES, Item, JSON, MASKS};
use crate::CohortError;
use crate::npy::{ItemWriter, Kind};

/// One slice as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its description.
    pub item: Item,
    /// [C, H, W] in [0, 1].
    pub image: Array3<f32>,
    /// The lesion, [H, W]; all samples of a cohort have one, or none has.
    pub mask: Option<Array2<bool>>,
    /// The brain, [H, W]; all samples of a cohort have one, or none has.
    pub brain: Option<Array2<bool>>,
}

/// A cohort under construction; dropped before [`CohortWriter::finish`] it leaves nothing behind.
pub struct CohortWriter {
    folder: OutputFolder,
    info: CohortInfo,
    items: Vec<Item>,
    images: ItemWriter,
    masks: Option<ItemWriter>,
    brains: Option<ItemWriter>,
}

impl CohortWriter {
    /// Starts a cohort in `dir`, which must not exist or be empty.
    ///
    /// Errors: [`CohortError::Output`].
    pub fn create(dir: &Path, info: CohortInfo) -> Result<Self, CohortError> {
        let folder = OutputFolder::create(dir)?;
        let shape = [info.channels.len(), info.size, info.size];
        let images = ItemWriter::create(&folder.path().join(IMAGES), Kind::F32, &shape)
            .map_err(|e| folder.error(IMAGES, e))?;
        Ok(Self { folder, info, items: Vec::new(), images, masks: None, brains: None })
    }

    /// Items written so far.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no item was written so far.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Appends one item.
    ///
    /// Errors: [`CohortError::Sample`] for a shape that does not fit, [`CohortError::Pixel`],
    /// [`CohortError::Label`], [`CohortError::Output`].
    pub fn push(&mut self, sample: Sample) -> Result<(), CohortError> {
        self.check(&sample)?;
        let bytes: Vec<u8> = sample.image.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.images.push(&bytes).map_err(|e| self.folder.error(IMAGES, e))?;
        let (folder, size) = (&self.folder, self.info.size);
        for (name, bits, file) in
            [(MASKS, &sample.mask, &mut self.masks), (BRAINS, &sample.brain, &mut self.brains)]
        {
            if let Some(bits) = bits {
                let mut write = || -> io::Result<()> {
                    if file.is_none() {
                        *file = Some(ItemWriter::create(&folder.path().join(name), Kind::U8, &[size, size])?);
                    }
                    let bytes: Vec<u8> = bits.iter().map(|&b| u8::from(b)).collect();
                    file.as_mut().map_or(Ok(()), |file| file.push(&bytes))
                };
                write().map_err(|e| folder.error(name, e))?;
            }
        }
        self.items.push(sample.item);
        Ok(())
    }

    fn check(&self, sample: &Sample) -> Result<(), CohortError> {
        let (item, size, path) = (self.items.len(), self.info.size, self.folder.target().to_owned());
        let shapes = [
            ("image", sample.image.shape(), vec![self.info.channels.len(), size, size]),
            (
                "mask",
                sample.mask.as_ref().map_or(&[][..], |m| m.shape()),
                expected(item, &self.masks, &sample.mask, size),
            ),
            (
                "brain",
                sample.brain.as_ref().map_or(&[][..], |m| m.shape()),
                expected(item, &self.brains, &sample.brain, size),
            ),
        ];
        for (what, found, expected) in shapes {
            if found != expected {
                return Err(CohortError::Sample { path, item, what, found: found.to_vec(), expected });
            }
        }
        let Item { subject, slice, diseased, .. } = sample.item.clone();
        if let Some(((c, h, w), &found)) =
            sample.image.indexed_iter().find(|(_, v)| !(0.0..=1.0).contains(*v))
        {
            return Err(CohortError::Pixel { path, item, subject, slice, index: [c, h, w], found });
        }
        if let Some(mask) = &sample.mask {
            let pixels = mask.iter().filter(|&&m| m).count();
            if diseased == (pixels == 0) {
                return Err(CohortError::Label { path, item, subject, slice, diseased, pixels });
            }
        }
        Ok(())
    }

    /// Writes cohort.json and gives the folder its name.
    ///
    /// Errors: [`CohortError::Empty`], [`CohortError::Output`].
    pub fn finish(self) -> Result<(), CohortError> {
        let Self { folder, info, items, images, masks, brains } = self;
        if items.is_empty() {
            return Err(CohortError::Empty { path: folder.target().to_owned() });
        }
        for (name, file) in [(IMAGES, Some(images)), (MASKS, masks), (BRAINS, brains)] {
            if let Some(file) = file {
                file.finish().map_err(|e| folder.error(name, e))?;
            }
        }
        let description = Description { format: FORMAT, info, items };
        let text = serde_json::to_string_pretty(&description).expect("strings, numbers and lists");
        folder.write(JSON, (text + "\n").as_bytes())?;
        Ok(folder.finish()?)
    }
}

/// The shape that a sample's optional part must have: the first sample decides whether there is one.
fn expected(item: usize, file: &Option<ItemWriter>, part: &Option<Array2<bool>>, size: usize) -> Vec<usize> {
    let wanted = if item == 0 { part.is_some() } else { file.is_some() };
    if wanted { vec![size, size] } else { Vec::new() }
}
