//! A contact sheet of a cohort: a row a slice, its channels, and the lesion's outline on the last of them.

use std::path::Path;

use anomalens_models::output::OutputError;
use image::{ImageFormat, Rgb, RgbImage};
use ndarray::{Array2, Axis};

use crate::{Cohort, CohortError};

/// Pixels that the longer edge of a tile should have at least.
const TILE: usize = 128;
/// Pixels between tiles.
const GAP: u32 = 2;
/// The outline's colour.
const OUTLINE: Rgb<u8> = Rgb([255, 80, 40]);
/// A diseased row begins with this colour, a healthy one with the other.
const LABELS: [Rgb<u8>; 2] = [Rgb([60, 160, 90]), OUTLINE];

/// Draws the items `first`.. of a cohort, at most `rows`, into the PNG `file`, which is replaced.
///
/// Errors: those of reading the cohort; [`CohortError::NoItem`]; [`CohortError::Output`].
pub fn write(cohort: &Cohort, first: usize, rows: usize, file: &Path) -> Result<(), CohortError> {
    let items: Vec<usize> = (first..cohort.len()).take(rows.max(1)).collect();
    if items.is_empty() {
        return Err(CohortError::NoItem { path: cohort.dir().to_owned(), index: first, len: cohort.len() });
    }
    draw(cohort, &items, file)
}

/// Draws these items of a cohort into the PNG `file`, which is replaced.
///
/// Errors: those of reading the cohort; [`CohortError::Output`].
pub fn draw(cohort: &Cohort, items: &[usize], file: &Path) -> Result<(), CohortError> {
    let factor = TILE.div_ceil(cohort.size());
    let edge = (cohort.size() * factor) as u32;
    let columns = cohort.channels().len() as u32 + 1;
    let bar = 2 * GAP;
    let size = [bar + columns * (edge + GAP), items.len() as u32 * (edge + GAP)];
    let mut sheet = RgbImage::new(size[0], size[1]);
    for (row, &index) in items.iter().enumerate() {
        let top = row as u32 * (edge + GAP);
        let image = cohort.image(index)?;
        let mask = cohort.mask(index)?;
        for y in 0..edge {
            for x in 0..bar - GAP {
                sheet.put_pixel(x, top + y, LABELS[usize::from(cohort.item(index).diseased)]);
            }
        }
        let last = image.len_of(Axis(0)) - 1;
        for column in 0..columns {
            let plane = image.index_axis(Axis(0), (column as usize).min(last));
            let left = bar + column * (edge + GAP);
            for y in 0..edge {
                for x in 0..edge {
                    let grey = (plane[[y as usize / factor, x as usize / factor]] * 255.0).round() as u8;
                    let drawn = mask.as_ref().filter(|_| column == columns - 1);
                    let border = drawn.is_some_and(|mask| on_border(mask, y as usize, x as usize, factor));
                    sheet.put_pixel(left + x, top + y, if border { OUTLINE } else { Rgb([grey; 3]) });
                }
            }
        }
    }
    let fail = |e| OutputError::new(file, e);
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut whole = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    sheet.write_to(&mut whole, ImageFormat::Png).map_err(|e| match e {
        image::ImageError::IoError(e) => CohortError::Output(fail(e)),
        e => CohortError::Image { path: file.to_owned(), found: e.to_string() },
    })?;
    whole.persist(file).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Whether the sheet's pixel (y, x) of a tile lies in the mask at its border.
fn on_border(mask: &Array2<bool>, y: usize, x: usize, factor: usize) -> bool {
    let at = |y: Option<usize>, x: Option<usize>| {
        y.zip(x).and_then(|(y, x)| mask.get([y / factor, x / factor])).copied().unwrap_or(false)
    };
    let (here, inside) = (Some(y), Some(x));
    at(here, inside)
        && !(at(y.checked_sub(1), inside)
            && at(Some(y + 1), inside)
            && at(here, x.checked_sub(1))
            && at(here, Some(x + 1)))
}
