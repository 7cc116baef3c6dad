//! Results to derived DICOM objects: some are one a slice, others hold the whole stack.

use std::collections::BTreeMap;

use anomalens_dicom_bridge::write::{self, Frame, MapNumbers, Object};
use anomalens_dicom_bridge::{MapScale, Objects, Provenance, SourceSlice, Study, Written};
use anomalens_models::image::frame;
use anomalens_models::image::normalise::Normaliser;
use anomalens_models::output::OutputFolder;
use anyhow::Result;
use image::RgbImage;

use super::result::{Healthy, SliceResult};

/// Writes the derived objects of a study.
pub struct ObjectWriter<'a> {
    folder: &'a OutputFolder,
    study: &'a Study,
    chosen: Objects,
    /// What 1 is worth in the source's units, one a channel.
    q: Vec<f32>,
    scale: MapScale,
    provenance: Provenance,
    /// Of every slice so far, where they are to be one object.
    pictures: Vec<RgbImage>,
    /// The files of each kind so far.
    files: BTreeMap<Object, Vec<String>>,
}

impl<'a> ObjectWriter<'a> {
    /// `scale`: by the largest map value of all slices, so that one serves all.
    pub fn new(
        folder: &'a OutputFolder,
        study: &'a Study,
        chosen: Objects,
        normalisers: &[Normaliser],
        scale: MapScale,
        provenance: Provenance,
    ) -> Self {
        let q = normalisers.iter().map(|n| n.q).collect();
        Self { folder, study, chosen, q, scale, provenance, pictures: Vec::new(), files: BTreeMap::new() }
    }

    /// Writes what is one a slice.
    ///
    /// Errors: those of the objects and of the file system.
    pub fn slice(
        &mut self,
        result: &SliceResult,
        healthy: Option<&Healthy>,
        picture: RgbImage,
    ) -> Result<()> {
        let (slice, provenance) = (&self.study.slices[result.slice], self.provenance.clone());
        let chosen = |object| self.chosen.contains(object);
        let mut objects = Vec::new();
        if let (true, Some(healthy)) = (chosen(Object::Reconstruction), healthy) {
            let all = self.reconstructions(slice, healthy)?.into_iter();
            objects.extend(all.map(|written| (Object::Reconstruction, written)));
        }
        if chosen(Object::MapImage) {
            let map = write::map(slice, result.map.view(), &self.scale, &provenance)?;
            objects.push((Object::MapImage, map));
        }
        if chosen(Object::MaskImage) {
            let mask = write::mask(slice, result.mask.view(), &threshold(&[result]), &provenance)?;
            objects.push((Object::MaskImage, mask));
        }
        if chosen(Object::Picture) {
            objects.push((Object::Picture, write::picture(slice, &picture, &provenance)?));
        }
        if chosen(Object::Pictures) {
            self.pictures.push(picture);
        }
        objects.into_iter().try_for_each(|(object, written)| self.save(object, &written))
    }

    fn reconstructions(&self, slice: &SourceSlice, healthy: &Healthy) -> Result<Vec<Written>> {
        let frame = frame::Frame::fit(slice.size(), healthy.x.dim().1)?;
        let pixels = frame.reconstruct(&slice.pixels, &healthy.x, &healthy.x0, &self.q)?;
        let each = self.study.channels.iter().zip(pixels.outer_iter()).enumerate();
        each.map(|(channel, (name, pixels))| {
            Ok(write::reconstruction(slice, channel, name, pixels, &self.provenance)?)
        })
        .collect()
    }

    /// Writes what holds the whole stack, a frame a slice: `results`, at least one, are those that [`Self::slice`] was
    /// given.
    ///
    /// Errors: those of the objects and of the file system.
    pub fn stack(&mut self, results: &[SliceResult]) -> Result<()> {
        let (study, provenance) = (self.study, self.provenance.clone());
        let slice = |result: &SliceResult| &study.slices[result.slice];
        let maps: Vec<Frame<'_, f32>> = results.iter().map(|r| (slice(r), r.map.view())).collect();
        let masks: Vec<Frame<'_, bool>> = results.iter().map(|r| (slice(r), r.mask.view())).collect();
        let pictures: Vec<_> = results.iter().map(slice).zip(&self.pictures).collect();
        let write = |object| {
            Some(match object {
                Object::Map => write::anomaly_map(&maps, &self.scale, &provenance),
                Object::FloatMap => write::parametric_map(&maps, &self.scale, MapNumbers::Float, &provenance),
                Object::Mask => {
                    let threshold = threshold(&results.iter().collect::<Vec<_>>());
                    write::segmentation(&masks, &threshold, &provenance)
                }
                Object::Pictures => write::pictures(&pictures, &provenance),
                Object::Reconstruction | Object::Picture | Object::MapImage | Object::MaskImage => {
                    return None;
                }
            })
        };
        let chosen = Object::ALL.into_iter().filter(|object| self.chosen.contains(*object));
        let objects: Vec<_> = chosen.filter_map(|object| Some((object, write(object)?))).collect();
        objects.into_iter().try_for_each(|(object, written)| self.save(object, &written?))
    }

    fn save(&mut self, object: Object, written: &Written) -> Result<()> {
        self.folder.write(&written.file_name, &written.bytes)?;
        self.files.entry(object).or_default().push(written.file_name.clone());
        Ok(())
    }

    /// What was written: the word for each kind, and its files.
    pub fn files(self) -> Vec<(String, Vec<String>)> {
        self.files.into_iter().map(|(object, files)| (object.word().to_owned(), files)).collect()
    }
}

/// How the masks of results were made, in words.
fn threshold(results: &[&SliceResult]) -> String {
    let each = || results.iter().map(|result| result.threshold);
    let (lowest, highest) = (each().fold(f32::INFINITY, f32::min), each().fold(0.0, f32::max));
    if results.len() == 1 {
        format!("Otsu, 256 bins: map > {highest}")
    } else {
        format!("Otsu, 256 bins, each slice by itself: map > {lowest} to {highest}")
    }
}
