//! Which series fills which channel: by the bundle's rules, or as a person says.
//!
//! A rule speaks of modality and description. Where no description fits it, a series whose description says nothing of any
//! channel stands for what its acquisition says it is; and where two descriptions fit the channel of T1 and none that of
//! T1 with contrast agent, the agent tells them apart.

use std::path::{Path, PathBuf};

use anomalens_models::preset::ChannelSpec;

use super::contrast::{Weighting, agent};
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
    let candidates = inventory.as_ref().map(|inventory| candidates(specs, &inventory.series));
    let mut chosen = Vec::new();
    for (place, spec) in specs.iter().enumerate() {
        let (series, why) = match (named(spec), &inventory) {
            (Some(path), _) => {
                (override_series(spec, path, warnings)?, format!("given as {}", path.display()))
            }
            (None, Some(inventory)) => {
                let candidates = candidates.as_ref().expect("an inventory has candidates");
                only(spec, specs.len(), inventory, &candidates[place])?
            }
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

/// A series that may fill a channel, and why.
struct Candidate<'a> {
    series: &'a Series,
    why: String,
}

/// The candidates of each channel.
fn candidates<'a>(specs: &[ChannelSpec], series: &'a [Series]) -> Vec<Vec<Candidate<'a>>> {
    let candidate = |series, why| Candidate { series, why };
    let mut all: Vec<Vec<Candidate>> = specs
        .iter()
        .map(|spec| {
            let fitting = series.iter().filter(|series| fits(spec, &series.modality, &series.description));
            fitting.map(|series| candidate(series, format!("recognised by {}", say(spec)))).collect()
        })
        .collect();
    let of = |weighting| of_weighting(specs, weighting);
    if let (Some(plain), Some(contrast)) = (of(Weighting::T1), of(Weighting::T1Contrast)) {
        let given = |candidate: &Candidate| agent(&candidate.series.images[0]);
        let with_agent = all[plain].iter().filter(|c| given(c).is_some()).count();
        // All or none of them would leave one of the two channels empty.
        if plain != contrast && all[contrast].is_empty() && (1..all[plain].len()).contains(&with_agent) {
            let (with, without): (Vec<_>, Vec<_>) =
                std::mem::take(&mut all[plain]).into_iter().partition(|c| given(c).is_some());
            let why = |c: &Candidate| match given(c) {
                Some(agent) => format!("{}; of several the one whose {agent}", c.why),
                None => format!("{}; of several the one without Contrast/Bolus Agent (0018,0010)", c.why),
            };
            all[plain] = without.into_iter().map(|c| candidate(c.series, why(&c))).collect();
            all[contrast] = with.into_iter().map(|c| candidate(c.series, why(&c))).collect();
        }
    }
    // A description that a word of any channel is in says something, if only what the series is not.
    let silent = |series: &&Series| {
        let speaks = |spec: &ChannelSpec| {
            has_word(&series.description, &spec.any_of) || has_word(&series.description, &spec.none_of)
        };
        !specs.iter().any(speaks)
    };
    for (place, spec) in specs.iter().enumerate().filter(|(_, spec)| !spec.any_of.is_empty()) {
        if !all[place].is_empty() {
            continue;
        }
        for series in series.iter().filter(silent) {
            let Some(acquired) = series.acquisition() else { continue };
            if fits(spec, &series.modality, acquired.weighting.description()) {
                let why = format!(
                    "its description says nothing of any channel; acquired as {}: {}",
                    acquired.weighting.name(),
                    acquired.why
                );
                all[place].push(candidate(series, why));
            }
        }
    }
    all
}

/// The one channel that takes series of a weighting; none where none or several do.
fn of_weighting(specs: &[ChannelSpec], weighting: Weighting) -> Option<usize> {
    let takes = |spec: &ChannelSpec| !spec.any_of.is_empty() && fits(spec, "MR", weighting.description());
    let mut taking = (0..specs.len()).filter(|&i| takes(&specs[i]));
    taking.next().filter(|_| taking.next().is_none())
}

/// The one candidate of a channel, and why.
fn only(
    spec: &ChannelSpec,
    channels: usize,
    inventory: &Inventory,
    candidates: &[Candidate],
) -> Result<(Series, String), ReadError> {
    if let [candidate] = candidates {
        return Ok((candidate.series.clone(), candidate.why.clone()));
    }
    let seen = |series: &Series| {
        let acquired =
            series.acquisition().map_or(String::new(), |a| format!(" (acquired as {})", a.weighting.name()));
        format!("{} '{}'{acquired}", series.modality, series.description)
    };
    let list = |series: &mut dyn Iterator<Item = &Series>| series.map(seen).collect::<Vec<_>>().join(", ");
    let found = match candidates.len() {
        0 => format!("none among {} series: {}", inventory.series.len(), list(&mut inventory.series.iter())),
        n => format!("{n}: {}", list(&mut candidates.iter().map(|c| c.series))),
    };
    Err(ReadError::Channel {
        path: inventory.path.clone(),
        channel: spec.name.clone(),
        channels,
        found,
        rule: say(spec),
        series: inventory.series.len(),
    })
}

fn fits(spec: &ChannelSpec, modality: &str, description: &str) -> bool {
    (spec.modality.is_empty() || spec.modality.iter().any(|known| known == modality))
        && (spec.any_of.is_empty() || has_word(description, &spec.any_of))
        && !has_word(description, &spec.none_of)
}

/// Whether a description has one of some words, without regard to case.
fn has_word(description: &str, words: &[String]) -> bool {
    let description = description.to_lowercase();
    words.iter().any(|word| description.contains(&word.to_lowercase()))
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
    use std::sync::Arc;

    use super::*;
    use crate::read::contrast::tests::source;
    use anomalens_models::preset::Preset;
    use dicom_dictionary_std::tags;

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
            let found: Vec<&str> =
                specs.iter().filter(|s| fits(s, "MR", description)).map(|s| s.name.as_str()).collect();
            assert_eq!(found.join(" "), expected, "{description}");
        }
    }
    #[test]
    fn the_brats_rules_take_every_weighting() {
        let specs = Preset::load("brats256").unwrap().image.channels;
        let found = Weighting::ALL.map(|w| of_weighting(&specs, w).map(|i| specs[i].name.as_str()));
        assert_eq!(found, [Some("t1"), Some("t1ce"), Some("t2"), Some("flair")]);
    }

    /// A series of one image: description, Scanning Sequence, TR, TE, TI, agent.
    fn series([description, sequence, tr, te, ti, agent]: [&str; 6]) -> Series {
        let attributes = [
            (tags::SCANNING_SEQUENCE, sequence),
            (tags::REPETITION_TIME, tr),
            (tags::ECHO_TIME, te),
            (tags::INVERSION_TIME, ti),
            (tags::CONTRAST_BOLUS_AGENT, agent),
        ];
        let images = vec![Arc::new(source(&attributes))];
        Series { uid: description.into(), modality: "MR".into(), description: description.into(), images }
    }

    /// Which description fills each channel of brats256; `?` where it is not one alone.
    fn filled(series: &[[&str; 6]]) -> String {
        let specs = Preset::load("brats256").unwrap().image.channels;
        let series: Vec<Series> = series.iter().map(|s| self::series(*s)).collect();
        let name = |candidates: &Vec<Candidate>| match candidates.as_slice() {
            [candidate] => candidate.series.description.clone(),
            _ => "?".to_owned(),
        };
        candidates(&specs, &series).iter().map(name).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn what_descriptions_do_not_say_the_acquisition_does() {
        let t1 = ["s1", "SE", "500", "12", "", ""];
        let t1ce = ["s2", "SE", "500", "12", "", "Gadovist"];
        let t2 = ["s3", "SE", "4000", "100", "", "Gadovist"];
        let flair = ["s4", "SE\\IR", "9000", "120", "2500", ""];
        let scout = ["loc", "GR", "8", "4", "", ""];
        let dwi = ["s5", "EP", "6000", "90", "", ""];
        let named = |[_, a, b, c, d, e]: [&'static str; 6], name| [name, a, b, c, d, e];
        for (name, study, expected) in [
            ("silent", vec![t2, flair, t1ce, t1, dwi], "s1|s2|s3|s4"),
            (
                "a described one goes first",
                vec![named(t1, "AX T1"), scout, t1ce, t2, flair],
                "AX T1|s2|s3|s4",
            ),
            // The scout would be a T1, too.
            ("two silent ones", vec![t1, scout, t1ce, t2, flair], "?|s2|s3|s4"),
            (
                "two T1, one with agent",
                vec![named(t1, "T1 a"), named(t1ce, "T1 b"), t2, flair],
                "T1 a|T1 b|s3|s4",
            ),
            (
                "two T1, both with agent",
                vec![named(t1ce, "T1 a"), named(t1ce, "T1 b"), t2, flair],
                "?|?|s3|s4",
            ),
            ("words go before the acquisition", vec![named(t2, "AX T1"), t1ce, t2, flair], "AX T1|s2|s3|s4"),
            // It says what it is, and that is none of the four.
            ("a description that speaks", vec![named(t1, "post GD PD"), t1ce, t2, flair], "?|s2|s3|s4"),
        ] {
            assert_eq!(filled(&study), expected, "{name}");
        }
    }
}
