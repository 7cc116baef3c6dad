//! The pixels of one slice in the source's units.

use std::path::PathBuf;

use ndarray::{Array2, Array3, Axis, stack as stack_axis};

use super::pixels::StoredPixels;
use super::{Encoding, Source};
use crate::error::ReadError;

/// One channel of one slice.
pub(super) struct Plane {
    /// [H, W] in the source's units.
    pub values: Array2<f32>,
    /// [H, W]: where there is no pixel; none where there is one everywhere.
    pub padding: Option<Array2<bool>>,
    /// What was put right.
    pub notes: Vec<String>,
}

/// The file that was opened last: the frames of a multi-frame object follow each other.
#[derive(Default)]
pub(super) struct Opened(Option<(PathBuf, StoredPixels)>);

impl Opened {
    /// Decodes a source.
    ///
    /// Errors: as [`Encoding::of`], [`StoredPixels::open`] and [`StoredPixels::frame`].
    pub fn decode(&mut self, source: &Source) -> Result<Plane, ReadError> {
        let encoding = Encoding::of(source)?;
        let pixels = match &mut self.0 {
            Some((path, pixels)) if *path == source.path => pixels,
            opened => &mut opened.insert((source.path.clone(), StoredPixels::open(&source.path)?)).1,
        };
        let stored: Vec<i32> =
            pixels.frame(source.frame.unwrap_or(0))?.into_iter().map(|v| v as i32).collect();
        let shape = source.geometry.size;
        let plane = |values| Array2::from_shape_vec(shape, values).expect("a frame has its rows and columns");
        let values = plane(stored.iter().map(|v| encoding.rescale(*v)).collect());
        let mut notes = pixels.notes().to_vec();
        let padding: Vec<bool> = stored.iter().map(|v| encoding.is_padding(*v)).collect();
        let padding = padding.contains(&true).then(|| {
            let [low, high] = encoding.padding.expect("there is padding");
            let what = if low == high { low.to_string() } else { format!("{low} to {high}") };
            notes.push(format!("padding (stored value {what}) left out of the normalisation"));
            Array2::from_shape_vec(shape, padding).expect("a frame has its rows and columns")
        });
        Ok(Plane { values, padding, notes })
    }
}

/// Channels of one grid to a slice: values and padding, each [C, H, W].
pub(super) fn stack(planes: &[Plane]) -> (Array3<f32>, Option<Array3<bool>>) {
    let values: Vec<_> = planes.iter().map(|plane| plane.values.view()).collect();
    let values = stack_axis(Axis(0), &values).expect("one grid was checked");
    let padding = planes.iter().any(|plane| plane.padding.is_some()).then(|| {
        let mut padding = Array3::from_elem(values.dim(), false);
        for (mut plane, source) in padding.axis_iter_mut(Axis(0)).zip(planes) {
            if let Some(padded) = &source.padding {
                plane.assign(padded);
            }
        }
        padding
    });
    (values, padding)
}
