//! `doctor`: what this machine can compute with, and what to do where it cannot.

use std::fmt::Write;

use anomalens_runtime::engine::{EngineOptions, LIBRARY_VARIABLE, Probe, open, probe};

use crate::TOOL;

/// Looks, and tells. tract is built in, so that there is always an engine.
pub fn run() -> String {
    let auto = open(&EngineOptions::default()).map(|engine| engine.describe()).map_err(|e| e.to_string());
    let variable = std::env::var_os(LIBRARY_VARIABLE).map(|path| path.to_string_lossy().into_owned());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    tell(&probe(), auto, variable.as_deref(), threads)
}

fn tell(probe: &Probe, auto: Result<String, String>, variable: Option<&str>, threads: usize) -> String {
    let mut text = format!("{TOOL} for {} on {}\n", std::env::consts::OS, std::env::consts::ARCH);
    let mut line = |name: &str, found: Result<String, String>| {
        let (word, words) = match found {
            Ok(words) => ("usable", words),
            Err(words) => ("NOT usable", words),
        };
        let _ = writeln!(text, "  {name:<12} {word:<11} {words}");
    };
    let library = probe.ort.as_ref().map(|l| format!("ONNX Runtime {}, {}", l.version, l.path.display()));
    line("engine ort", library.map_err(ToString::to_string));
    line("engine tract", Ok(format!("tract {}, built in", probe.tract)));
    line("device cpu", Ok(format!("{threads} threads, with either engine")));
    line("device cuda", probe.cuda.as_ref().map(|()| "with ort".to_owned()).map_err(ToString::to_string));
    line("engine auto", auto.map(|engine| format!("takes {engine}")));
    let set = variable.map_or("not set".to_owned(), |path| format!("'{path}'"));
    let _ = writeln!(text, "  {LIBRARY_VARIABLE} is {set}");
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
        let text = tell(&probe, Ok("tract 0.1 (cpu)".into()), None, 4);
        assert!(text.contains("engine ort   NOT usable  ONNX Runtime: its library was not found"), "{text}");
        for words in
            ["make deps", "engine tract usable      tract 0.1", "4 threads", "takes tract 0.1", "is not set"]
        {
            assert!(text.contains(words), "no '{words}' in {text}");
        }
    }

    #[test]
    fn what_is_there_is_named() {
        let library = Library { path: "/lib/x.so".into(), version: "1.31.1".into() };
        let probe = Probe { ort: Ok(library), cuda: Ok(()), tract: "0.1" };
        let text = tell(&probe, Err("no".into()), Some("/lib/x.so"), 1);
        for words in [
            "usable      ONNX Runtime 1.31.1, /lib/x.so",
            "device cuda  usable",
            "engine auto  NOT usable  no",
        ] {
            assert!(text.contains(words), "no '{words}' in {text}");
        }
    }
}
