//! What there is to choose from.

use anomalens_runtime::engine::{Device, EngineChoice, Probe, Provider};
use clap::{Args, Parser};

use crate::args::EngineArgs;

/// What computes, and how many images at once: as a command line says it.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Choice {
    /// What computes.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Images given to the networks at once
    #[arg(long, value_name = "B", default_value_t = 1)]
    pub batch: usize,
}

/// A command line of a choice alone.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Words {
    #[command(flatten)]
    choice: Choice,
}

impl Choice {
    /// The words that [`Choice::of_words`] reads.
    pub fn words(&self) -> Vec<String> {
        let mut words = self.engine.words();
        words.extend(["--batch".to_owned(), self.batch.to_string()]);
        words
    }

    /// What a command line of these words chooses; `None` if it is none.
    pub fn of_words(words: &[String]) -> Option<Self> {
        Words::try_parse_from(words).ok().map(|words| words.choice)
    }

    /// The same with `batch` images at once.
    pub fn at(&self, batch: usize) -> Self {
        Self { batch, ..self.clone() }
    }

    /// Whether it computes with fewer bits than f32 has.
    pub fn rounds(&self) -> bool {
        match self.engine.provider() {
            Provider::Default | Provider::OpenVino => self.engine.tf32,
            Provider::OpenVinoBf16 => true,
        }
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

/// With so many cores half of them are tried, too: they may be two a core, and share what computes.
const MANY_CORES: usize = 4;

/// What a machine offers, one image at a time: first what is plainest, which the others are compared with. `providers` are those
/// that can be used beside ONNX Runtime's own.
pub fn candidates(probe: &Probe, providers: &[Provider], cores: usize) -> Vec<Choice> {
    let by = |engine| EngineArgs { engine: Some(engine), ..EngineArgs::default() };
    let mut engines = Vec::new();
    let mut on_processor = |engine: EngineArgs| {
        let halved = (cores >= MANY_CORES).then(|| EngineArgs { threads: Some(cores / 2), ..engine.clone() });
        engines.extend([Some(engine), halved].into_iter().flatten());
    };
    if probe.ort.is_ok() {
        on_processor(by(EngineChoice::Ort));
    }
    on_processor(by(EngineChoice::Tract));
    for &provider in providers {
        on_processor(EngineArgs { provider: Some(provider), ..by(EngineChoice::Ort) });
    }
    if probe.cuda.is_ok() {
        let cuda = EngineArgs { device: Some(Device::Cuda(0)), ..by(EngineChoice::Ort) };
        engines.extend([cuda.clone(), EngineArgs { tf32: true, ..cuda }]);
    }
    engines.into_iter().map(|engine| Choice { engine, batch: 1 }).collect()
}

#[cfg(test)]
mod tests {
    use anomalens_runtime::engine::{EngineError, Library};

    use super::*;

    fn words(ort: bool, cuda: bool, providers: &[Provider], cores: usize) -> Vec<String> {
        let missing = || EngineError::LibraryNotFound { searched: vec![] };
        let library = Library { path: "/lib/x.so".into(), version: "1.31.1".into() };
        let probe = Probe {
            ort: if ort { Ok(library) } else { Err(missing()) },
            cuda: if cuda { Ok(()) } else { Err(missing()) },
            tract: "0.1",
        };
        candidates(&probe, providers, cores).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_machine_has_is_tried() {
        assert_eq!(words(false, false, &[], 2), ["--engine tract --batch 1"]);
        assert_eq!(words(true, false, &[], 2), ["--engine ort --batch 1", "--engine tract --batch 1"]);
        assert_eq!(
            words(false, false, &[Provider::OpenVino], 2),
            ["--engine tract --batch 1", "--engine ort --provider openvino --batch 1"]
        );
        assert_eq!(
            words(true, true, &[], 16),
            [
                "--engine ort --batch 1",
                "--engine ort --threads 8 --batch 1",
                "--engine tract --batch 1",
                "--engine tract --threads 8 --batch 1",
                "--engine ort --device cuda:0 --batch 1",
                "--engine ort --device cuda:0 --tf32 --batch 1",
            ]
        );
    }

    #[test]
    fn words_are_read_as_they_were_written() {
        let library = Library { path: "/lib/x.so".into(), version: "1.31.1".into() };
        let probe = Probe { ort: Ok(library), cuda: Ok(()), tract: "0.1" };
        let all = candidates(&probe, &[Provider::OpenVino, Provider::OpenVinoBf16], 2);
        for choice in all.iter().map(|choice| choice.at(4)) {
            assert_eq!(Choice::of_words(&choice.words()), Some(choice));
        }
        let rounding: Vec<bool> = all.iter().map(Choice::rounds).collect();
        assert_eq!(rounding, [false, false, false, true, false, true]);
        for wrong in ["--engine torch", "--batch", "--speed 3", "demo"] {
            let words: Vec<_> = wrong.split(' ').map(str::to_owned).collect();
            assert_eq!(Choice::of_words(&words), None, "{wrong}");
        }
    }
}
