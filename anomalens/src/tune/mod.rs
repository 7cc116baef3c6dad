//! `tune`: which engine, device, threads and batch translate fastest here, and as the plainest of them does.
//!
//! ```text
//! probe ──> candidates ──> search: a child process each, timed ──> the fastest, compared with the plainest, until one passes
//!                                                                    └──> Stored, which `apply` takes where no option is given
//! ```

mod args;
mod attempt;
mod choice;
mod search;
mod stored;

use anomalens_dicom_bridge::Provenance;
use anomalens_method::agreement::{Change, DICE_LIMIT, MAP_LIMIT};
use anomalens_models::manifest::Manifest;
use anomalens_runtime::engine::{self, Provider};
use anyhow::{Context, Result};
use serde_json::{Value, json};

pub use args::{AttemptArgs, TuneArgs};
pub use attempt::run as attempt;
use attempt::{Children, Pictures};
use choice::candidates;
use search::{Timed, Tried, Verdict, search};
use stored::Stored;
pub use stored::{Place, apply};

use crate::bench::approach;
use crate::columns::aligned;
use crate::failure::{Outcome, Usage};
use crate::machine::load_average;
use crate::{doctor, interrupt};

/// Finds out, tells, and keeps.
///
/// Errors: [`Usage`], [`interrupt::Interrupted`]; those of the bundle and the held-out images; that nothing runs.
pub fn run(args: &TuneArgs) -> Result<Outcome> {
    let manifest = Manifest::read(&args.bundle)?;
    let place = Place::of(Manifest::bundle_hash(&args.bundle)?)?;
    if args.forget {
        forget(&place)?;
        return Ok(Outcome::Done);
    }
    let told =
        approach(&args.path, 1, &manifest).and_then(|approach| approach.check(&args.bundle, &manifest));
    told.map_err(Usage::new)?;
    interrupt::catch()?;
    let pictures = Pictures::read(args.held_out.as_deref(), &manifest.preset)?;
    let providers = [Provider::OpenVino, Provider::OpenVinoBf16];
    let usable = |provider: &Provider| doctor::elsewhere(*provider).is_ok();
    let providers: Vec<_> = providers.into_iter().filter(usable).collect();
    let candidates = candidates(&engine::probe(), &providers, place.machine.cores);
    eprintln!(
        "{} choices of engine, device and threads, and more images at once for the fastest",
        candidates.len()
    );
    warn_of_load(load_average(), place.machine.cores);
    let mut lab = Children { args, pictures: &pictures };
    let (chosen, tried) = search(&candidates, args.held_out.is_some(), &mut lab)?;
    interrupt::check()?;

    let found = &tried[chosen];
    let Timed { seconds, engine } = found.timed.clone().context("what is chosen was timed")?;
    let [year, month, day] = {
        let [date, _] = Provenance::now();
        [0..4, 4..6, 6..8].map(|part| date[part].to_owned())
    };
    let stored = Stored {
        tried: tried.iter().map(|tried| record(tried, &pictures)).collect(),
        ..Stored::new(&place, format!("{year}-{month}-{day}"), &found.choice, engine, seconds)
    };
    place.write(&stored)?;
    crate::print(&table(&tried, chosen));
    crate::print(&format!(
        "{} is taken from now on where no engine, device, threads or batch is given; kept in {}\n",
        found.choice,
        place.path().display()
    ));
    Ok(Outcome::Done)
}

/// Says so where the machine does something else.
fn warn_of_load(load: Option<f64>, cores: usize) {
    if let Some(load) = load.filter(|load| *load > cores as f64 / 2.0) {
        eprintln!(
            "warning: {load:.1} processes were at work over the last minute, expected a machine that does nothing else; the times may mislead"
        );
    }
}

/// Removes what was found before.
fn forget(place: &Place) -> Result<()> {
    let path = place.path().display();
    crate::print(&match place.forget()? {
        true => format!("{path} is removed\n"),
        false => format!("nothing is kept in {path}\n"),
    });
    Ok(())
}

/// What was found of a choice, as a file says it.
fn record(tried: &Tried, pictures: &Pictures) -> Value {
    let Tried { choice, timed, verdict } = tried;
    let mut record = json!({
        "choice": choice.words(),
        "engine": timed.as_ref().map(|timed| &timed.engine),
        "seconds_a_slice": timed.as_ref().map(|timed| timed.seconds),
        "verdict": words(verdict),
    });
    if let Verdict::Passed(change) | Verdict::Refused(change) = verdict {
        record["compared"] = json!({
            "images": pictures.count(),
            "held_out_sha256": pictures.held_out,
            "map_change": change.map,
            "map_limit": MAP_LIMIT,
            "dice_change": change.dice,
            "dice_limit": DICE_LIMIT,
        });
    }
    record
}

/// How a choice stands, in words.
fn words(verdict: &Verdict) -> String {
    let far = |change: &Change| {
        format!(
            "maps {:.4} % off, limit {} %; Dice {:.4} off, limit {DICE_LIMIT}",
            100.0 * change.map,
            100.0 * MAP_LIMIT,
            change.dice
        )
    };
    match verdict {
        Verdict::Reference => "what others are compared with".to_owned(),
        Verdict::Passed(change) => format!("passed: {}", far(change)),
        Verdict::Refused(change) => format!("REFUSED: {}", far(change)),
        Verdict::Slower => "slower".to_owned(),
        Verdict::Failed(why) => format!("cannot be used: {why}"),
        Verdict::Rounds => "left out: it rounds more than f32, so it wants --held-out".to_owned(),
    }
}

/// Everything that was tried, for a person.
fn table(tried: &[Tried], chosen: usize) -> String {
    let mut rows = vec![["", "choice", "engine", "s a slice", ""].map(str::to_owned)];
    rows.extend(tried.iter().enumerate().map(|(i, tried)| {
        let timed = tried.timed.as_ref();
        [
            if i == chosen { "*" } else { "" }.to_owned(),
            tried.choice.to_string(),
            timed.map_or("-".to_owned(), |timed| timed.engine.clone()),
            timed.map_or("-".to_owned(), |timed| format!("{:.3}", timed.seconds)),
            words(&tried.verdict),
        ]
    }));
    aligned(&rows)
}
