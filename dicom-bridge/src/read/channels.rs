//! Which series fills which channel: by the bundle's rules, or as a person says.

use std::path::{Path, PathBuf};

use anomalens_models::preset::ChannelSpec;

use super::{Inventory, Series, scan};
use crate::error::ReadError;

/// One series a channel, in the order of `specs`.
pub(super) fn choose(
    input: &Path,
    specs: &[ChannelSpec],
    overrides: &[(String, PathBuf)],
    decisions: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Series>, ReadError> {
    check_names(specs, overrides)?;
    let named =
        |spec: &ChannelSpec| overrides.iter().find(|(name, _)| *name == spec.name).map(|(_, path)| path);
    let inventory = if specs.iter().all(|spec| named(spec).is_some()) {
        decisions.push(format!("{} was not looked at: every channel is named", input.display()));
        None
    } else {
        let inventory = scan(input)?;
        if !inventory.skipped.is_empty() {
            decisions.push(format!("left out in {}: {}", input.display(), inventory.reasons()));
        }
        Some(inventory)
    };
    let mut chosen = Vec::new();
    for spec in specs {
        let (series, why) = match (named(spec), &inventory) {
            (Some(path), _) => {
                (override_series(spec, path, warnings)?, format!("given as {}", path.display()))
            }
            (None, Some(inventory)) => by_rule(spec, specs.len(), inventory)?,
            (None, None) => unreachable!("the input is scanned where a channel is not named"),
        };
        let what = if series.description.is_empty() { "no description" } else { &series.description };
        let n = series.images.len();
        decisions.push(format!(
            "channel '{}': {} series '{what}', {n} image(s): {why}",
            spec.name, series.modality
        ));
        chosen.push(series);
    }
    for (i, series) in chosen.iter().enumerate() {
        let same: Vec<usize> = (0..chosen.len()).filter(|&j| chosen[j].uid == series.uid).collect();
        // Said once, at the first of them.
        if same.len() > 1 && same[0] == i {
            let names: Vec<String> = same.iter().map(|&j| format!("'{}'", specs[j].name)).collect();
            warnings.push(format!(
                "channels {} are filled by the same series: the networks were trained on different ones",
                names.join(", ")
            ));
        }
    }
    Ok(chosen)
}

fn check_names(specs: &[ChannelSpec], overrides: &[(String, PathBuf)]) -> Result<(), ReadError> {
    for (i, (name, _)) in overrides.iter().enumerate() {
        let problem = if !specs.iter().any(|spec| spec.name == *name) {
            "no such channel"
        } else if overrides[..i].iter().any(|(other, _)| other == name) {
            "named twice"
        } else {
            continue;
        };
        let known = specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(ReadError::Override { found: name.clone(), problem, known });
    }
    Ok(())
}

/// The one series under a path that a person named.
fn override_series(spec: &ChannelSpec, path: &Path, warnings: &mut Vec<String>) -> Result<Series, ReadError> {
    let mut series = scan(path)?.series;
    if series.len() != 1 {
        return Err(ReadError::Ambiguous {
            channel: spec.name.clone(),
            path: path.to_owned(),
            found: series.len(),
        });
    }
    let series = series.remove(0);
    if !spec.modality.is_empty() && !spec.modality.contains(&series.modality) {
        warnings.push(format!(
            "channel '{}' is filled by {}, the networks were trained on {}",
            spec.name,
            series.modality,
            spec.modality.join(" or ")
        ));
    }
    Ok(series)
}

/// The one series that the channel's rule takes, and why.
fn by_rule(
    spec: &ChannelSpec,
    channels: usize,
    inventory: &Inventory,
) -> Result<(Series, String), ReadError> {
    let fitting: Vec<&Series> = inventory.series.iter().filter(|series| fits(spec, series)).collect();
    let rule = say(spec);
    match fitting.as_slice() {
        [series] => Ok(((*series).clone(), format!("recognised by {rule}"))),
        _ => {
            let seen = |series: &[&Series]| {
                series
                    .iter()
                    .map(|s| format!("{} '{}'", s.modality, s.description))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let all: Vec<&Series> = inventory.series.iter().collect();
            let found = match fitting.len() {
                0 => format!("none among {} series: {}", all.len(), seen(&all)),
                n => format!("{n}: {}", seen(&fitting)),
            };
            Err(ReadError::Channel {
                path: inventory.path.clone(),
                channel: spec.name.clone(),
                channels,
                found,
                rule,
                series: inventory.series.len(),
            })
        }
    }
}

fn fits(spec: &ChannelSpec, series: &Series) -> bool {
    let description = series.description.to_lowercase();
    let has = |words: &[String]| words.iter().any(|word| description.contains(&word.to_lowercase()));
    (spec.modality.is_empty() || spec.modality.contains(&series.modality))
        && (spec.any_of.is_empty() || has(&spec.any_of))
        && !has(&spec.none_of)
}

/// The rule of a channel, as a person reads it.
fn say(spec: &ChannelSpec) -> String {
    let modality = if spec.modality.is_empty() { "any modality".into() } else { spec.modality.join(" or ") };
    let mut text = modality;
    if !spec.any_of.is_empty() {
        text += &format!(", description with one of {}", spec.any_of.join(", "));
    }
    if !spec.none_of.is_empty() {
        text += &format!(", none of {}", spec.none_of.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalens_models::preset::Preset;

    #[test]
    fn the_brats_rules_tell_the_contrasts_apart() {
        let specs = Preset::load("brats256").unwrap().image.channels;
        for (description, expected) in [
            ("AX T1", "t1"),
            ("t1_mprage_sag", "t1"),
            ("AX T1 POST GD", "t1ce"),
            ("T1CE", "t1ce"),
            ("T1+C 3D", "t1ce"),
            ("AX T2 TSE", "t2"),
            ("AX T2 FLAIR", "flair"),
            ("DWI b1000", ""),
        ] {
            let series = Series {
                uid: String::new(),
                modality: "MR".into(),
                description: description.into(),
                images: vec![],
            };
            let found: Vec<&str> =
                specs.iter().filter(|s| fits(s, &series)).map(|s| s.name.as_str()).collect();
            assert_eq!(found.join(" "), expected, "{description}");
        }
    }
}
