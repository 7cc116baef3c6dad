//! A preset as it is written: every method's tables side by side, of which those of one must be there.

use serde::{Deserialize, Serialize};

use super::train::RawTrain;
use super::{
    ClassifierConfig, FixedPointGanConfig, Guided, ImageSpec, Method, MethodName, Preset, ScheduleSpec,
    TranslateDefaults, UnetConfig, VaeConfig,
};

/// The keys, in the order in which they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    name: String,
    description: String,
    /// Presets that hold the guided pair are written as they were before there was another method.
    #[serde(default, skip_serializing_if = "is_guided")]
    method: MethodName,
    image: ImageSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<ScheduleSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unet: Option<UnetConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classifier: Option<ClassifierConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vae: Option<VaeConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_point_gan: Option<FixedPointGanConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    translate: Option<TranslateDefaults>,
    #[serde(default, skip_serializing)]
    train: RawTrain,
}

fn is_guided(method: &MethodName) -> bool {
    *method == MethodName::Guided
}

/// A table that one method alone has.
fn misplaced(method: MethodName, tables: &[(&str, bool)]) -> Result<(), String> {
    match tables.iter().find(|(_, there)| *there) {
        Some((table, _)) => Err(format!("table `{table}` in a preset of method `{method}`, which has none")),
        None => Ok(()),
    }
}

fn needed<T>(table: &str, found: Option<T>) -> Result<T, String> {
    found.ok_or_else(|| format!("missing field `{table}`"))
}

impl TryFrom<Raw> for Preset {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { name, description, method: of, image, train, .. } = raw;
        let guided = [
            ("schedule", raw.schedule.is_some()),
            ("unet", raw.unet.is_some()),
            ("classifier", raw.classifier.is_some()),
            ("translate", raw.translate.is_some()),
            ("train.ddpm", train.ddpm.is_some()),
            ("train.classifier", train.classifier.is_some()),
        ];
        let vae = [("vae", raw.vae.is_some()), ("train.vae", train.vae.is_some())];
        let gan =
            [("fixed_point_gan", raw.fixed_point_gan.is_some()), ("train.fpgan", train.fpgan.is_some())];
        for (method, tables) in [
            (MethodName::Guided, &guided[..]),
            (MethodName::Vae, &vae[..]),
            (MethodName::FixedPointGan, &gan[..]),
        ] {
            if method != of {
                misplaced(of, tables)?;
            }
        }
        let method = match of {
            MethodName::Guided => Method::Guided(Guided {
                schedule: needed("schedule", raw.schedule)?,
                unet: needed("unet", raw.unet)?,
                classifier: needed("classifier", raw.classifier)?,
                translate: needed("translate", raw.translate)?,
            }),
            MethodName::Vae => Method::Vae(needed("vae", raw.vae)?),
            MethodName::FixedPointGan => {
                Method::FixedPointGan(needed("fixed_point_gan", raw.fixed_point_gan)?)
            }
        };
        Ok(Self { name, description, image, method, train: train.into() })
    }
}

impl From<Preset> for Raw {
    fn from(preset: Preset) -> Self {
        let Preset { name, description, image, method, train: _ } = preset;
        let mut raw = Self {
            name,
            description,
            method: method.name(),
            image,
            schedule: None,
            unet: None,
            classifier: None,
            vae: None,
            fixed_point_gan: None,
            translate: None,
            train: RawTrain::default(),
        };
        match method {
            Method::Guided(Guided { schedule, unet, classifier, translate }) => {
                raw.schedule = Some(schedule);
                raw.unet = Some(unet);
                raw.classifier = Some(classifier);
                raw.translate = Some(translate);
            }
            Method::Vae(vae) => raw.vae = Some(vae),
            Method::FixedPointGan(gan) => raw.fixed_point_gan = Some(gan),
        }
        raw
    }
}
