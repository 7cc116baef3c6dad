//! A part of an evaluation, for one of several machines: which of how many, said by a person or by the array job.

use std::fmt;
use std::str::FromStr;

/// What Kubernetes numbers the pods of an indexed job by, from 0.
const KUBERNETES: &str = "JOB_COMPLETION_INDEX";
/// How many pods there are, which Kubernetes does not tell them.
const SHARDS: &str = "ANOMALENS_SHARDS";
/// Slurm's number of this task of an array job.
const SLURM: &str = "SLURM_ARRAY_TASK_ID";

/// One of several parts of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// Which, from 1.
    number: usize,
    /// Of how many, at least `number`.
    of: usize,
}

/// Why there is no such part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// Not i/n.
    #[error("shard '{found}', expected i/n with i from 1 to n, e.g. 2/8")]
    Form {
        /// What was said.
        found: String,
    },
    /// The environment says something that is no part.
    #[error("{name}={found}, expected {expected}; correct it, or say --shard i/n (1/1: all of it)")]
    Environment {
        /// The variable.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// The environment says which, but not of how many.
    #[error(
        "{name} is set but {count} is not, expected the number of parts in it; set it, or say --shard i/n (1/1: all of it)"
    )]
    Count {
        /// The variable that says which.
        name: &'static str,
        /// The one that is missing.
        count: &'static str,
    },
}

impl Shard {
    /// Part `number`, from 1, of `of`; `None` if there is no such part.
    pub fn new(number: usize, of: usize) -> Option<Self> {
        (1..=of).contains(&number).then_some(Self { number, of })
    }

    /// Which, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// Of how many.
    pub fn of(self) -> usize {
        self.of
    }

    /// Whether the batch is in this part: they are dealt out like cards, whole, so that each has the slices that it would
    /// have in an undivided run.
    pub fn has(self, batch: usize) -> bool {
        batch % self.of == self.number - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        parts.and_then(|(i, n)| Self::new(i, n)).ok_or_else(|| ShardError::Form { found: text.to_owned() })
    }
}

/// The part that a person has asked for; else that of the array job in whose `environment` the program runs. `None`: all
/// of it.
///
/// Errors: [`ShardError`].
pub fn choose(
    asked: Option<Shard>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Shard>, ShardError> {
    let shard = match asked {
        Some(shard) => Some(shard),
        None => of_job(&environment)?,
    };
    Ok(shard.filter(|shard| shard.of > 1))
}

fn of_job(environment: &impl Fn(&str) -> Option<String>) -> Result<Option<Shard>, ShardError> {
    let number = |name: &'static str| match environment(name) {
        None => Ok(None),
        Some(text) => match text.parse::<usize>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                Err(ShardError::Environment { name, found: text, expected: "a whole number from 0".into() })
            }
        },
    };
    let (name, index, count) = match (number(SLURM)?, number(KUBERNETES)?) {
        (Some(id), _) => {
            let count = "SLURM_ARRAY_TASK_COUNT";
            let of = number(count)?.ok_or(ShardError::Count { name: SLURM, count })?;
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            // An array need not begin at 0, nor go by ones.
            let index = id.checked_sub(first).filter(|beyond| beyond % step == 0).map(|beyond| beyond / step);
            (SLURM, index, of)
        }
        (None, Some(index)) => {
            let of = number(SHARDS)?.ok_or(ShardError::Count { name: KUBERNETES, count: SHARDS })?;
            (KUBERNETES, Some(index), of)
        }
        (None, None) => return Ok(None),
    };
    let shard = index.and_then(|index| Shard::new(index + 1, count));
    shard.map(Some).ok_or_else(|| ShardError::Environment {
        name,
        found: environment(name).unwrap_or_default(),
        expected: format!("one of {count} that are evenly spaced"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_1() {
        let shard: Shard = "2/3".parse().unwrap();
        assert_eq!((shard.number(), shard.of(), shard.to_string()), (2, 3, "2/3".into()));
        assert_eq!((0..7).filter(|batch| shard.has(*batch)).collect::<Vec<_>>(), [1, 4]);
        for wrong in ["0/3", "4/3", "1/0", "1", "a/b", "1/2/3", "-1/2", ""] {
            let error = wrong.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains("expected i/n"), "{wrong}: {error}");
        }
    }

    #[test]
    fn every_batch_is_in_one_part() {
        for of in 1..6 {
            for batch in 0..20 {
                let parts = (1..=of).filter(|number| Shard::new(*number, of).unwrap().has(batch)).count();
                assert_eq!(parts, 1, "batch {batch} of {of} parts");
            }
        }
    }

    #[test]
    fn array_jobs_say_which_part() {
        let choose = |variables: &[(&str, &str)]| {
            super::choose(None, |name| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned()))
        };
        let slurm = |id, count, min, step| {
            choose(&[
                (SLURM, id),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_STEP", step),
            ])
        };
        assert_eq!(choose(&[]).unwrap(), None);
        assert_eq!(slurm("0", "4", "0", "1").unwrap(), Shard::new(1, 4));
        assert_eq!(slurm("4", "4", "1", "1").unwrap(), Shard::new(4, 4));
        assert_eq!(slurm("15", "3", "5", "5").unwrap(), Shard::new(3, 3));
        assert_eq!(slurm("7", "1", "7", "1").unwrap(), None, "one task does it all");
        assert_eq!(choose(&[(SLURM, "1"), ("SLURM_ARRAY_TASK_COUNT", "2")]).unwrap(), Shard::new(2, 2));
        assert_eq!(choose(&[(KUBERNETES, "2"), (SHARDS, "3")]).unwrap(), Shard::new(3, 3));
        for (wrong, words) in [
            (slurm("x", "4", "0", "1"), "SLURM_ARRAY_TASK_ID=x, expected a whole number"),
            (slurm("4", "4", "0", "1"), "SLURM_ARRAY_TASK_ID=4, expected one of 4"),
            (slurm("8", "4", "5", "2"), "evenly spaced"),
            (slurm("1", "4", "2", "1"), "evenly spaced"),
            (choose(&[(SLURM, "1")]), "SLURM_ARRAY_TASK_COUNT is not"),
            (choose(&[(KUBERNETES, "1")]), "ANOMALENS_SHARDS is not"),
            (choose(&[(KUBERNETES, "3"), (SHARDS, "3")]), "JOB_COMPLETION_INDEX=3"),
        ] {
            let error = wrong.unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("--shard"), "{error}");
        }
        // What a person says goes first.
        let asked = Shard::new(2, 5);
        assert_eq!(super::choose(asked, |_| Some("nonsense".into())).unwrap(), asked);
        assert_eq!(super::choose(Shard::new(1, 1), |_| Some("nonsense".into())).unwrap(), None);
    }
}
