//! The methods that are compared, each a column of every table: a name, and a map for every slice. Scores, tables and pages
//! see no more of a method than that.

use anomalens_cohort::{Cohort, CohortError};
use anomalens_method::baseline::Equaliser;
use anomalens_models::image::AnomalyMap;
use anyhow::Result;
use ndarray::{Array2, Array3, Axis, Zip};

use super::source::Source;
use super::store::Store;
use super::{EvaluateError, name};

/// A method: how it is called, and what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name, of letters and digits: it heads the columns of the CSV.
    pub name: String,
    /// What its map and its mask are.
    pub what: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// By what networks have made, from the store.
    Network(Source),
    /// A channel, equalised over the volume.
    Equalised(usize),
    /// A channel as it is.
    Intensity(usize),
}

/// The columns, the paper's method first: those of networks, then the baselines, which need none.
pub fn columns(networks: &[Source], channels: &[String]) -> Vec<Column> {
    let column = |name: &str, what: &str, kind| Column { name: name.to_owned(), what: what.to_owned(), kind };
    let network = |&source: &Source| {
        let method = source.method();
        let of = if method.heals() { "image - healthy version" } else { "the gradient" };
        let what = format!(
            "{}; map: the sum over channels of |{of}|, of every pixel of the image; Otsu's threshold of all its pixels, as \
             translate has it",
            method.what()
        );
        column(&source.name(), &what, Kind::Network(source))
    };
    let mut columns: Vec<Column> = networks.iter().map(network).collect();
    if let Some(channel) = thresholded(channels) {
        let named = &channels[channel];
        columns.push(column(
            "threshold",
            &format!(
                "baseline of Meissen et al. (2021), no network; map: the channel {named}, its histogram equalised over the \
                 pixels of the subject's slices that are inside the region and not 0; 0 outside the region; \
                 Otsu's threshold of the pixels inside"
            ),
            Kind::Equalised(channel),
        ));
        columns.push(column(
            "intensity",
            &format!(
                "baseline, no network; map: the channel {named} as it is, 0 outside the region; \
                 Otsu's threshold of the pixels inside"
            ),
            Kind::Intensity(channel),
        ));
    }
    columns
}

/// The channel to threshold: FLAIR, where lesions of the brain are bright, or the only one.
pub fn thresholded(channels: &[String]) -> Option<usize> {
    let flair = channels.iter().position(|name| name.to_lowercase().contains("flair"));
    flair.or_else(|| (channels.len() == 1).then_some(0))
}

/// One slice with its truth. All planes are on one grid [H, W].
pub struct Slice {
    /// Its place in the cohort.
    pub index: usize,
    /// Its name, for errors and pictures.
    pub name: String,
    /// The image, [C, H, W] in [0, 1].
    pub image: Array3<f32>,
    /// The lesion, [H, W]; empty on a healthy slice.
    pub truth: Array2<bool>,
    /// The brain, or what else is looked at, [H, W].
    pub region: Array2<bool>,
}

impl Slice {
    /// Reads one.
    ///
    /// Errors: those of the cohort; [`EvaluateError::NoMasks`].
    pub fn read(cohort: &Cohort, index: usize) -> Result<Self> {
        let truth =
            cohort.mask(index)?.ok_or_else(|| EvaluateError::NoMasks { path: cohort.dir().to_owned() })?;
        let (image, region) = (cohort.image(index)?, cohort.brain(index)?);
        Ok(Self { index, name: name(cohort, index), image, truth, region })
    }
}

/// What a method says of a slice.
pub struct Found {
    /// Its anomaly map, at least 0.
    pub map: AnomalyMap,
    /// The healthy version that it comes from, [C, H, W], if it comes from one.
    pub healthy: Option<Array3<f32>>,
    /// Where it looks, [H, W], and nowhere else is its map above 0; `None`: everywhere.
    pub domain: Option<Array2<bool>>,
}

/// A method that has seen what it must of a volume.
pub enum Ready {
    /// By what the store holds for this method.
    Network(Source),
    /// By a channel, each value taken to another.
    Channel(usize, Option<Equaliser>),
}

impl Column {
    /// Looks at a whole volume, the slices `volume` of the cohort.
    ///
    /// Errors: those of the cohort.
    pub fn prepare(&self, cohort: &Cohort, volume: &[usize]) -> Result<Ready, CohortError> {
        Ok(match self.kind {
            Kind::Network(source) => Ready::Network(source),
            Kind::Intensity(channel) => Ready::Channel(channel, None),
            Kind::Equalised(channel) => {
                let mut values = Vec::new();
                for &index in volume {
                    let (image, region) = (cohort.image(index)?, cohort.brain(index)?);
                    let plane = image.index_axis(Axis(0), channel);
                    let inside =
                        plane.iter().zip(&region).filter(|(value, inside)| **inside && **value > 0.0);
                    values.extend(inside.map(|(value, _)| *value));
                }
                Ready::Channel(channel, Some(Equaliser::new(&values)))
            }
        })
    }
}

impl Ready {
    /// The map of one slice of the volume.
    ///
    /// Errors: those of the store and of the image.
    pub fn find(&self, slice: &Slice, store: &mut Store) -> Result<Found> {
        match self {
            Self::Network(source) => {
                let kept = store.read(*source, slice.index)?;
                let (map, healthy) = source.method().found(&slice.image, kept)?;
                Ok(Found { map, healthy, domain: None })
            }
            Self::Channel(channel, equaliser) => {
                let mut map = slice.image.index_axis(Axis(0), *channel).to_owned();
                Zip::from(&mut map).and(&slice.region).for_each(|value, inside| {
                    *value = match equaliser {
                        _ if !inside || *value == 0.0 => 0.0,
                        Some(equaliser) => equaliser.apply(*value),
                        None => *value,
                    };
                });
                let domain = Some(slice.region.clone());
                Ok(Found { map: AnomalyMap::from_values(map), healthy: None, domain })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translator::Method;

    #[test]
    fn flair_or_the_only_channel_is_thresholded() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        for (channels, expected) in [
            (&["t1", "t1ce", "t2", "flair"][..], Some(3)),
            (&["T2-FLAIR", "t1"], Some(0)),
            (&["cxr"], Some(0)),
            (&["t1", "t2"], None),
        ] {
            assert_eq!(thresholded(&names(channels)), expected, "{channels:?}");
        }
        let named = |channels: &[&str]| {
            columns(&[Method::Ours.into(), Method::Saliency.into()], &names(channels))
                .into_iter()
                .map(|c| c.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(named(&["cxr"]), ["ours", "saliency", "threshold", "intensity"]);
        assert_eq!(named(&["t1", "t2"]), ["ours", "saliency"]);
    }
}
