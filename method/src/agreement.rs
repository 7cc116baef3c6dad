//! Whether two sets of anomaly maps of the same images say the same: those of networks that round more, or that another engine
//! computes, against those to trust.
//!
//! ```text
//! maps found ────┐   |Δmap| inside the body (where some channel of the image is not 0), of the map's mean there
//!                ├──>
//! maps expected ─┘   Otsu's masks, and how much their Dice with the truth changes; without a truth, with each other
//! ```
//!
//! What a bundle must pass to be verified (`anomalens-export`) and what a machine's choice must pass to be taken (`anomalens tune`)
//! is one and the same.

use anomalens_models::image::{AnomalyMap, UnitImage};
use ndarray::Axis;

use crate::metrics::dice;
use crate::otsu::{self, OtsuError};

/// The most that [`Change::map`] may be.
pub const MAP_LIMIT: f64 = 0.01;
/// The most that [`Change::dice`] may be: less than what is left out when a figure is given with two decimals.
pub const DICE_LIMIT: f64 = 0.005;

/// How far maps are from those that were expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Mean difference of the maps inside the body, of all images together, in units of the mean map expected there; from 0.
    pub map: f64,
    /// Change of the masks' Dice, 0 to 1, mean of the images.
    pub dice: f64,
}

impl Change {
    /// Of maps `found` against maps `expected`, one [H, W] an image [C, H, W]; `truths` are what is marked in each image, row by row.
    ///
    /// Errors: [`OtsuError`], where a map has no threshold.
    ///
    /// Panics where the sizes of maps, images and truths differ.
    pub fn between(
        found: &[AnomalyMap],
        expected: &[AnomalyMap],
        images: &[UnitImage],
        truths: Option<&[Vec<bool>]>,
    ) -> Result<Self, OtsuError> {
        assert_eq!([found.len(), expected.len()], [images.len(); 2], "one map an image");
        let (mut apart, mut whole, mut dice_change) = (0.0, 0.0, 0.0);
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let pixels = found.values().iter().zip(expected.values());
            for ((&found, &expected), _) in pixels.zip(body(&images[i])).filter(|(_, inside)| *inside) {
                apart += f64::from((found - expected).abs());
                whole += f64::from(expected);
            }
            let [found, expected] = [found, expected].map(otsu::mask);
            let (found, expected) =
                (found?.1.into_raw_vec_and_offset().0, expected?.1.into_raw_vec_and_offset().0);
            let dice = |mask: &[bool], truth: &[bool]| dice(mask, truth).expect("planes of one image's size");
            dice_change += match truths {
                Some(truths) => (dice(&found, &truths[i]) - dice(&expected, &truths[i])).abs(),
                None => 1.0 - dice(&found, &expected),
            };
        }
        let map = if apart == 0.0 { 0.0 } else { apart / whole };
        Ok(Self { map, dice: dice_change / expected.len().max(1) as f64 })
    }

    /// Whether both changes are within their limits.
    pub fn passed(&self) -> bool {
        self.map <= MAP_LIMIT && self.dice <= DICE_LIMIT
    }
}

/// Row by row, whether some channel is not 0.
fn body(image: &UnitImage) -> Vec<bool> {
    image.pixels().lanes(Axis(0)).into_iter().map(|channels| channels.iter().any(|&v| v != 0.0)).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3, s};

    use super::*;

    /// One image of 4 × 4 pixels, the last column outside the body.
    fn image() -> [UnitImage; 1] {
        let mut pixels = Array3::<f32>::from_elem((4, 4, 4), 0.5);
        pixels.slice_mut(s![.., .., 3]).fill(0.0);
        // One channel is enough.
        pixels.slice_mut(s![..3, 2, 2]).fill(0.0);
        [UnitImage::new("a body", pixels).unwrap()]
    }

    /// A map that is 1 in the body and 9 in its first pixel.
    fn map(change: impl FnOnce(&mut Array2<f32>)) -> [AnomalyMap; 1] {
        let mut values = Array2::ones((4, 4));
        values[[0, 0]] = 9.0;
        change(&mut values);
        [AnomalyMap::from_values(values)]
    }

    #[test]
    fn changes_are_those_inside_the_body() {
        // Twelve pixels inside, 20 in sum; the masks are the first pixel alone, but for the last two cases. So is the truth.
        let first = [(0..16).map(|pixel| pixel == 0).collect::<Vec<_>>()];
        for truths in [Some(&first[..]), None] {
            let found = |change: fn(&mut Array2<f32>)| {
                let Change { map, dice } =
                    Change::between(&map(change), &map(|_| ()), &image(), truths).unwrap();
                (map, dice)
            };
            assert_eq!(found(|_| ()), (0.0, 0.0));
            assert_eq!(found(|m| m[[1, 3]] = 2.0), (0.0, 0.0));
            assert_eq!(found(|m| m[[1, 1]] = 1.5), (0.5 / 20.0, 0.0));
            assert_eq!(found(|m| m[[2, 2]] = 0.5), (0.5 / 20.0, 0.0));
            // One pixel more in the mask: Dice falls from 1 to 2/3, with the truth as with the other mask.
            let (map_change, dice_change) = found(|m| m[[1, 1]] = 9.0);
            assert!(map_change == 8.0 / 20.0 && (dice_change - 1.0 / 3.0).abs() < 1e-12, "{dice_change}");
            // Another pixel instead.
            assert_eq!(found(|m| m.swap([0, 0], [1, 1])).1, 1.0);
        }
        let nothing = [AnomalyMap::from_values(Array2::zeros((4, 4)))];
        let change = |found, expected| Change::between(found, expected, &image(), Some(&first)).unwrap();
        assert_eq!(change(&nothing, &nothing), Change { map: 0.0, dice: 0.0 });
        assert_eq!(change(&map(|_| ()), &nothing).map, f64::INFINITY);
    }

    #[test]
    fn each_limit_is_held() {
        let passed = |map, dice| Change { map, dice }.passed();
        assert!(passed(0.0, 0.0) && passed(MAP_LIMIT, DICE_LIMIT));
        assert!(!passed(0.0101, 0.0) && !passed(0.0, 0.0051) && !passed(f64::INFINITY, 0.0));
        assert!(!passed(f64::NAN, 0.0) && !passed(0.0, f64::NAN));
    }
}
