//! The search: every choice is timed, and the fastest are compared, in order, until one passes.

use anomalens_method::agreement::Change;
use anomalens_models::image::AnomalyMap;
use anyhow::{Result, bail};

use super::choice::Choice;
use crate::failure::describe;
use crate::interrupt::Interrupted;

/// Choices are tried with more images at once if they take at most so many times what the fastest takes with one.
const NEAR: f64 = 1.5;
/// Images at once, while each step up takes off a share of the time a slice that no noise does.
const BATCHES: [usize; 5] = [2, 4, 8, 16, 32];
const GAIN: f64 = 0.97;

/// What can be found out of a choice.
pub trait Lab {
    /// The time of a slice, and the engine in words.
    ///
    /// Errors: why it cannot be had here.
    fn time(&mut self, choice: &Choice) -> Result<Timed>;

    /// The anomaly maps of the images that choices are compared by; one takes about `seconds`.
    ///
    /// Errors: why there are none.
    fn maps(&mut self, choice: &Choice, seconds: f64) -> Result<Vec<AnomalyMap>>;

    /// How far maps are from those expected.
    ///
    /// Errors: those of the masks.
    fn change(&self, found: &[AnomalyMap], expected: &[AnomalyMap]) -> Result<Change>;
}

/// What a choice takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// Seconds a slice.
    pub seconds: f64,
    /// The engine, its version and where it computes.
    pub engine: String,
}

/// What was found of a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Which.
    pub choice: Choice,
    /// What it takes, where it could be timed.
    pub timed: Option<Timed>,
    /// How it stands.
    pub verdict: Verdict,
}

/// How a choice stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The others are compared with it.
    Reference,
    /// Its maps are those of the reference, but for this.
    Passed(Change),
    /// They are not.
    Refused(Change),
    /// A faster one is taken.
    Slower,
    /// It cannot be had here.
    Failed(String),
    /// It rounds, and there are no held-out images to say what that does.
    Rounds,
}

/// The fastest choice whose maps are those of the plainest one: where it stands among all that were tried. The first candidate that
/// runs and does not round is the plainest.
///
/// Errors: [`Interrupted`]; none that runs.
pub fn search(candidates: &[Choice], held_out: bool, lab: &mut dyn Lab) -> Result<(usize, Vec<Tried>)> {
    let mut tried = Vec::new();
    for choice in candidates {
        tried.push(match choice.rounds() && !held_out {
            true => Tried { choice: choice.clone(), timed: None, verdict: Verdict::Rounds },
            false => attempt(choice.clone(), lab)?,
        });
    }
    let Some(reference) = tried.iter().position(|t| t.timed.is_some() && !t.choice.rounds()) else {
        let first = tried.iter().find_map(|t| match &t.verdict {
            Verdict::Failed(why) => Some(why.as_str()),
            _ => None,
        });
        bail!(
            "nothing here runs this bundle: {}",
            first.unwrap_or("no engine was found; see anomalens doctor")
        );
    };
    larger(&mut tried, lab)?;
    let chosen = compare(&mut tried, reference, lab)?;
    Ok((chosen, tried))
}

/// Times a choice.
///
/// Errors: [`Interrupted`]; any other is told of the choice.
fn attempt(choice: Choice, lab: &mut dyn Lab) -> Result<Tried> {
    Ok(match lab.time(&choice) {
        Ok(timed) => Tried { choice, timed: Some(timed), verdict: Verdict::Slower },
        Err(error) => Tried { choice, timed: None, verdict: failed(error)? },
    })
}

fn failed(error: anyhow::Error) -> Result<Verdict> {
    if error.is::<Interrupted>() { Err(error) } else { Ok(Verdict::Failed(describe(&error))) }
}

fn seconds(tried: &Tried) -> f64 {
    tried.timed.as_ref().map_or(f64::INFINITY, |timed| timed.seconds)
}

/// Tries those that are near the fastest with more images at once.
fn larger(tried: &mut Vec<Tried>, lab: &mut dyn Lab) -> Result<()> {
    let fastest = tried.iter().map(seconds).fold(f64::INFINITY, f64::min);
    let near: Vec<_> = tried.iter().filter(|t| seconds(t) <= NEAR * fastest).cloned().collect();
    for one in near {
        let mut best = seconds(&one);
        for batch in BATCHES {
            tried.push(attempt(one.choice.at(batch), lab)?);
            let found = seconds(&tried[tried.len() - 1]);
            if found > GAIN * best {
                break;
            }
            best = found;
        }
    }
    Ok(())
}

/// Compares the fastest with the reference until one passes, and says which; at the latest the reference itself does.
fn compare(tried: &mut [Tried], reference: usize, lab: &mut dyn Lab) -> Result<usize> {
    tried[reference].verdict = Verdict::Reference;
    let mut order: Vec<usize> = (0..tried.len()).filter(|&i| tried[i].timed.is_some()).collect();
    order.sort_by(|&a, &b| seconds(&tried[a]).total_cmp(&seconds(&tried[b])));
    let mut expected = None;
    let mut refused = Vec::new();
    for i in order {
        if i == reference {
            break;
        }
        let choice = &tried[i].choice;
        // What is wrong with some images at once is so with others.
        if let Some((_, change)) = refused.iter().find(|(engine, _)| *engine == choice.engine) {
            tried[i].verdict = Verdict::Refused(*change);
            continue;
        }
        let expected = match &mut expected {
            Some(expected) => expected,
            none => none.insert(lab.maps(&tried[reference].choice, seconds(&tried[reference]))?),
        };
        let found = match lab.maps(choice, seconds(&tried[i])) {
            Ok(found) => found,
            Err(error) => {
                tried[i].verdict = failed(error)?;
                continue;
            }
        };
        let change = lab.change(&found, expected)?;
        if change.passed() {
            tried[i].verdict = Verdict::Passed(change);
            return Ok(i);
        }
        refused.push((choice.engine.clone(), change));
        tried[i].verdict = Verdict::Refused(change);
    }
    Ok(reference)
}

#[cfg(test)]
mod tests;
