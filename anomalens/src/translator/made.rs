//! What a method has made of images, whichever it was.

use std::borrow::Cow;
use std::time::Duration;

use anomalens_method::heal::Healed;
use anomalens_method::saliency::Saliency;
use anomalens_method::translate::{States, Translation};
use anomalens_models::image::AnomalyMap;
use ndarray::{Array4, Axis, stack};

/// What came of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// The healthy versions, [N, C, H, W], not clipped; `None` of a method that has maps alone.
    pub healthy: Option<Array4<f32>>,
    /// One anomaly map an image.
    pub maps: Vec<AnomalyMap>,
    /// Every x_t, if it was to be kept.
    pub trajectory: Option<States>,
    /// What it took.
    pub time: Duration,
}

impl Made {
    /// What need be kept of it, as the maps follow from the healthy versions: these, [N, C, H, W], or the maps, [N, 1, H, W].
    pub fn kept(&self) -> Cow<'_, Array4<f32>> {
        match &self.healthy {
            Some(healthy) => Cow::Borrowed(healthy),
            None => {
                let planes: Vec<_> =
                    self.maps.iter().map(|map| map.values().view().insert_axis(Axis(0))).collect();
                Cow::Owned(stack(Axis(0), &planes).expect("one shape a map"))
            }
        }
    }
}

impl From<Translation> for Made {
    fn from(translation: Translation) -> Self {
        let Translation { healthy, maps, trajectory, timings } = translation;
        Self { healthy: Some(healthy), maps, trajectory, time: timings.encode + timings.decode }
    }
}

impl From<Saliency> for Made {
    fn from(Saliency { maps, time, .. }: Saliency) -> Self {
        Self { healthy: None, maps, trajectory: None, time }
    }
}

impl From<Healed> for Made {
    fn from(Healed { healthy, maps, time, .. }: Healed) -> Self {
        Self { healthy: Some(healthy), maps, trajectory: None, time }
    }
}
