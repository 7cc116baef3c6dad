//! What came of all slices. Maps and masks are at hand; healthy versions, which are larger, are read one at a time.

use anomalens_models::image::UnitImage;
use anyhow::Result;

use super::input::Input;
use super::kept::Store;
use super::result::{Healthy, SliceResult};
use crate::translator::Method;

/// What came of every image that was translated.
pub struct Results<'a> {
    input: &'a Input,
    /// Which slices of the input the images are.
    kept: &'a [usize],
    images: &'a [UnitImage],
    store: &'a mut Store,
    method: Method,
    slices: Vec<SliceResult>,
}

impl<'a> Results<'a> {
    /// Takes what is kept of each image, `kept` says of which slice, back to the slice's grid.
    ///
    /// Errors: those of the store; [`super::result::ResultError`].
    pub fn new(
        input: &'a Input,
        kept: &'a [usize],
        images: &'a [UnitImage],
        store: &'a mut Store,
        method: Method,
    ) -> Result<Self> {
        let mut slices = Vec::with_capacity(kept.len());
        for (place, (&index, image)) in kept.iter().zip(images).enumerate() {
            let (map, _) = method.found(image.pixels(), store.read(place)?)?;
            slices.push(SliceResult::new(index, &input.slices[index], &map)?);
        }
        Ok(Self { input, kept, images, store, method, slices })
    }

    /// Maps and masks, in the order of the slices.
    pub fn slices(&self) -> &[SliceResult] {
        &self.slices
    }

    /// The healthy version of one of [`Results::slices`], if the method makes one.
    ///
    /// Errors: as [`Results::new`].
    pub fn healthy(&mut self, place: usize) -> Result<Option<Healthy>> {
        let (slice, image) = (&self.input.slices[self.kept[place]], &self.images[place]);
        let (_, x0) = self.method.found(image.pixels(), self.store.read(place)?)?;
        Ok(x0.map(|x0| Healthy::new(slice, image, x0)).transpose()?)
    }

    /// Whether there are healthy versions.
    pub fn heals(&self) -> bool {
        self.method.heals()
    }
}
