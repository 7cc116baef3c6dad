//! Finding lesions without a network: the baseline of Meissen, Kaissis and Rueckert, "Challenging Current
//! Semi-Supervised Anomaly Segmentation Methods for Brain MRI" (BrainLes at MICCAI 2021).
//!
//! Lesions are bright on FLAIR. The histogram of a volume is equalised over its non-zero voxels, so that one threshold fits
//! all volumes, and the equalised intensity is the anomaly map.

use crate::histogram::{BINS, Histogram};

/// Takes intensities to their rank in a volume, as `skimage.exposure.equalize_hist` with 256 bins and a mask does.
#[derive(Debug, Clone, PartialEq)]
pub struct Equaliser {
    /// Rising: the middle of each bin, and the part of the volume in it and the bins below.
    steps: Vec<(f64, f64)>,
}

impl Equaliser {
    /// Learns from the intensities of a volume that count: those of its brain, finite and not 0. Of a volume without any it
    /// takes every intensity to 0, of one that is constant to 1/2 (skimage: to where rounding puts it).
    pub fn new(volume: &[f32]) -> Self {
        let Some(&first) = volume.first() else { return Self { steps: vec![(0.0, 0.0)] } };
        let (low, high) = volume.iter().fold((first, first), |(low, high), v| (low.min(*v), high.max(*v)));
        if low >= high {
            return Self { steps: vec![(0.0, 0.5)] };
        }
        let histogram = Histogram::new(volume.iter().copied(), low, high);
        let mut below = 0;
        let step = |i: usize| {
            below += histogram.counts[i];
            (f64::from(histogram.centres[i]), below as f64 / volume.len() as f64)
        };
        Self { steps: (0..BINS).map(step).collect() }
    }

    /// The equalised intensity, in [0, 1]: linear between the middles of two bins.
    pub fn apply(&self, value: f32) -> f32 {
        let x = f64::from(value);
        let above = self.steps.partition_point(|step| step.0 <= x);
        let y = match (above.checked_sub(1).map(|i| self.steps[i]), self.steps.get(above)) {
            (Some((x0, y0)), Some(&(x1, y1))) => y0 + (y1 - y0) / (x1 - x0) * (x - x0),
            (Some((_, y)), None) | (None, Some(&(_, y))) => y,
            (None, None) => 0.0,
        };
        y as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_skimage() {
        /// skimage keeps ranks and middles in f32.
        const TOLERANCE: f32 = 1e-6;
        // skimage 0.26.0: equalize_hist(numpy.array(volume, numpy.float32), nbins=256, mask=volume > 0), where it is > 0.
        let volume = [0.1f32, 0.2, 0.2, 0.35, 0.5, 0.8, 0.8, 1.0];
        let expected =
            [0.125, 0.361_111_34, 0.361_111_34, 0.451_388_78, 0.625, 0.777_779_64, 0.777_779_64, 1.0];
        let equaliser = Equaliser::new(&volume);
        for (value, expected) in volume.into_iter().zip(expected) {
            let found = equaliser.apply(value);
            assert!((found - expected).abs() < TOLERANCE, "{value}: {found}, expected {expected}");
        }
        // Plain thresholding is another thing.
        assert!((equaliser.apply(0.35) - 0.35).abs() > 0.1);
    }

    #[test]
    fn order_is_kept() {
        let volume: Vec<f32> = (0..500).map(|i| ((i * i) % 997) as f32 / 997.0 + 1e-3).collect();
        let equaliser = Equaliser::new(&volume);
        let mut sorted = volume.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        let mapped: Vec<f32> = sorted.iter().map(|v| equaliser.apply(*v)).collect();
        assert!(mapped.windows(2).all(|w| w[0] <= w[1]) && mapped[0] < 0.01 && mapped[499] == 1.0);
        // Equalised, as many lie below a half as above.
        let below = mapped.iter().filter(|v| **v < 0.5).count();
        assert!((240..=260).contains(&below), "{below}");
    }

    #[test]
    fn volumes_without_contrast_have_no_ranks() {
        assert_eq!(Equaliser::new(&[]).apply(0.7), 0.0);
        assert_eq!(Equaliser::new(&[0.3; 4]).apply(0.3), 0.5);
        assert!(Equaliser::new(&[0.1, 0.9]).apply(f32::NAN).is_finite());
    }
}
