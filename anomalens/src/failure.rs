//! How a failure is told: one line, and an exit code.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done.
    Done,
    /// Some slices failed; the others were written.
    Partial,
    /// What was to be found out was found out, and it is not good.
    Bad,
}

/// The command line is wrong, or does not fit the bundle.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Usage(anyhow::Error);

impl Usage {
    /// Marks an error as one of usage.
    pub fn new(error: impl Into<anyhow::Error>) -> Self {
        Self(error.into())
    }
}

/// The exit code of a command, after its error has been printed.
pub fn exit_code(result: &anyhow::Result<Outcome>) -> ExitCode {
    ExitCode::from(match result {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Partial) => 3,
        Ok(Outcome::Bad) => 1,
        Err(error) if error.is::<Usage>() => 2,
        Err(_) => 1,
    })
}

/// An error and its causes in one line. Most messages already hold their cause, which is then not repeated.
pub fn describe(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("disk full").context("writing x: disk full").context("translate");
        assert_eq!(describe(&error), "translate: writing x: disk full");
        assert_eq!(describe(&anyhow!("a\nb")), "a b");
    }

    #[test]
    fn exit_codes() {
        let code = |result| format!("{:?}", exit_code(&result));
        let expected = |n: u8| format!("{:?}", ExitCode::from(n));
        assert_eq!(code(Ok(Outcome::Done)), expected(0));
        assert_eq!(code(Ok(Outcome::Partial)), expected(3));
        assert_eq!(code(Ok(Outcome::Bad)), expected(1));
        assert_eq!(code(Err(anyhow!("x"))), expected(1));
        assert_eq!(code(Err(Usage::new(anyhow!("x")).into())), expected(2));
        assert_eq!(describe(&Usage::new(anyhow!("x")).into()), "x");
    }
}
