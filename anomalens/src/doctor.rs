//! `doctor`: what this machine can compute with, and what to do where it cannot.

use std::fmt::Write;

use anomalens_runtime::engine::{
    EngineChoice, EngineError, EngineOptions, LIBRARY_VARIABLE, OPENVINO_VARIABLE, Probe, Provider, open,
    probe,
};
use anyhow::Result;
use serde_json::json;

use crate::args::DoctorArgs;
use crate::failure::describe;
use crate::{TOOL, child};

/// What was found: an engine's words, or why there is none.
type Found = Result<String, String>;

/// Looks, and tells. tract is built in, so that there is always an engine.
///
/// Errors: that of a provider that is looked at alone.
pub fn run(args: &DoctorArgs) -> Result<String> {
    if let Some(provider) = args.provider {
        return Ok(format!("{}\n", json!(with(provider)?)));
    }
    let auto = open(&EngineOptions::default()).map(|engine| engine.describe()).map_err(|e| e.to_string());
    let providers =
        [Provider::OpenVino, Provider::OpenVinoBf16].map(|provider| (provider, elsewhere(provider)));
    let variables = [LIBRARY_VARIABLE, OPENVINO_VARIABLE]
        .map(|name| (name, std::env::var_os(name).map(|path| path.to_string_lossy().into_owned())));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(tell(&probe(), &providers, auto, &variables, threads))
}

/// The words of ONNX Runtime with a provider.
fn with(provider: Provider) -> Result<String, EngineError> {
    let options = EngineOptions { choice: EngineChoice::Ort, provider, ..EngineOptions::default() };
    open(&options).map(|engine| engine.describe())
}

/// The same, found by this program in a process of its own.
pub fn elsewhere(provider: Provider) -> Found {
    let words = ["doctor".into(), "--provider".into(), provider.to_string().into()];
    let told = child::run(&words, &mut |_| ()).map_err(|error| describe(&error))?;
    Ok(told.as_str().unwrap_or_default().to_owned())
}

fn tell(
    probe: &Probe,
    providers: &[(Provider, Found)],
    auto: Found,
    variables: &[(&str, Option<String>)],
    threads: usize,
) -> String {
    let mut text = format!("{TOOL} for {} on {}\n", std::env::consts::OS, std::env::consts::ARCH);
    let mut line = |name: &str, found: Found| {
        let (word, words) = match found {
            Ok(words) => ("usable", words),
            Err(words) => ("NOT usable", words),
        };
        let _ = writeln!(text, "  {name:<22} {word:<11} {words}");
    };
    let library = probe.ort.as_ref().map(|l| format!("ONNX Runtime {}, {}", l.version, l.path.display()));
    line("engine ort", library.map_err(ToString::to_string));
    line("engine tract", Ok(format!("tract {}, built in", probe.tract)));
    line("device cpu", Ok(format!("{threads} threads, with either engine")));
    line("device cuda", probe.cuda.as_ref().map(|()| "with ort".to_owned()).map_err(ToString::to_string));
    for (provider, found) in providers {
        line(&format!("provider {provider}"), found.clone());
    }
    line("engine auto", auto.map(|engine| format!("takes {engine}")));
    for (name, value) in variables {
        let set = value.as_ref().map_or("not set".to_owned(), |path| format!("'{path}'"));
        let _ = writeln!(text, "  {name} is {set}");
    }
    text
}

#[cfg(test)]
mod tests {
    use anomalens_runtime::engine::{EngineError, Library};

    use super::*;

    #[test]
    fn what_is_missing_says_what_to_do() {
        let missing = EngineError::LibraryNotFound { searched: vec!["here".into()] };
        let probe = Probe { ort: Err(missing.clone()), cuda: Err(missing), tract: "0.1" };
        let none = [(Provider::OpenVino, Err("make deps PROVIDER=openvino".into()))];
        let text = tell(&probe, &none, Ok("tract 0.1 (cpu)".into()), &[("LIBRARY", None)], 4);
        for words in [
            "engine ort             NOT usable  ONNX Runtime: its library was not found",
            "make deps",
            "engine tract           usable      tract 0.1",
            "provider openvino      NOT usable  make deps PROVIDER=openvino",
            "4 threads",
            "takes tract 0.1",
            "LIBRARY is not set",
        ] {
            assert!(text.contains(words), "no '{words}' in {text}");
        }
    }

    #[test]
    fn what_is_there_is_named() {
        let library = Library { path: "/lib/x.so".into(), version: "1.31.1".into() };
        let probe = Probe { ort: Ok(library), cuda: Ok(()), tract: "0.1" };
        let there = [(Provider::OpenVinoBf16, Ok("ort 1 (openvino)".into()))];
        let set = [("LIBRARY", Some("/lib/x.so".to_owned()))];
        let text = tell(&probe, &there, Err("no".into()), &set, 1);
        for words in [
            "usable      ONNX Runtime 1.31.1, /lib/x.so",
            "device cuda            usable",
            "provider openvino-bf16 usable      ort 1 (openvino)",
            "engine auto            NOT usable  no",
            "LIBRARY is '/lib/x.so'",
        ] {
            assert!(text.contains(words), "no '{words}' in {text}");
        }
    }
}
