//! Whether a checkpoint belongs to a network: its keys and shapes against the graph's parameters.

use std::fmt;

use super::Shapes;
use crate::graph::ParamSpec;

/// How many keys of a kind a message lists.
const LISTED: usize = 3;

/// The keys of a checkpoint are not those of the network. Everything that is wrong, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMismatch {
    /// The checkpoint, as the message names it.
    pub checkpoint: String,
    /// The network, e.g. `unet of preset brats256`.
    pub network: String,
    /// Number of tensors found.
    pub found: usize,
    /// Number of tensors expected.
    pub expected: usize,
    /// Keys that the network wants and the checkpoint lacks.
    pub missing: Vec<String>,
    /// Keys that the checkpoint has and the network does not know.
    pub extra: Vec<String>,
    /// Keys of another shape: key, found, expected.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// The key that the network's parameters stand under, e.g. `module`.
    pub nested: Option<String>,
}

impl std::error::Error for KeyMismatch {}

impl fmt::Display for KeyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, network, found, expected, .. } = self;
        write!(f, "checkpoint '{checkpoint}': its keys are not those of the {network}: ")?;
        write!(f, "found {found} tensors, expected {expected}")?;
        list(f, "missing", &self.missing)?;
        list(f, "extra", &self.extra)?;
        let shape = |(key, found, expected): &(String, Vec<usize>, Vec<usize>)| {
            format!("{key} is {found:?}, expected {expected:?}")
        };
        list(f, "wrongly shaped", &self.shapes.iter().map(shape).collect::<Vec<_>>())?;
        match &self.nested {
            Some(key) => write!(
                f,
                "; the network stands under the key '{key}': name it (--unet-key, --classifier-key or --network-key)"
            ),
            None => write!(
                f,
                "; choose the preset that the checkpoint was trained with, or the checkpoint of this preset"
            ),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, keys: &[String]) -> fmt::Result {
    if keys.is_empty() {
        return Ok(());
    }
    let more = if keys.len() > LISTED { ", …" } else { "" };
    write!(f, "; {} {what} ({}{more})", keys.len(), keys[..keys.len().min(LISTED)].join(", "))
}

/// Checks that a checkpoint has every parameter of a network, in the right shape, and nothing else.
/// `checkpoint` and `network` name the two in the error.
///
/// Errors: [`KeyMismatch`].
pub fn check_keys(
    checkpoint: &str,
    network: &str,
    found: &Shapes,
    expected: &[ParamSpec],
) -> Result<(), Box<KeyMismatch>> {
    let mut mismatch = KeyMismatch {
        checkpoint: checkpoint.to_owned(),
        network: network.to_owned(),
        found: found.len(),
        expected: expected.len(),
        missing: Vec::new(),
        extra: Vec::new(),
        shapes: Vec::new(),
        nested: nested_under(found, expected),
    };
    for ParamSpec { name, shape, .. } in expected {
        match found.get(name) {
            None => mismatch.missing.push(name.clone()),
            Some(found) if found != shape => {
                mismatch.shapes.push((name.clone(), found.clone(), shape.clone()));
            }
            Some(_) => {}
        }
    }
    let known: std::collections::HashSet<&str> = expected.iter().map(|p| p.name.as_str()).collect();
    mismatch.extra = found.keys().filter(|name| !known.contains(name.as_str())).cloned().collect();
    match mismatch.missing.is_empty() && mismatch.extra.is_empty() && mismatch.shapes.is_empty() {
        true => Ok(()),
        false => Err(Box::new(mismatch)),
    }
}

/// The key K such that `K.name` is there for more than half of the expected names.
fn nested_under(found: &Shapes, expected: &[ParamSpec]) -> Option<String> {
    let first = expected.first()?;
    found.keys().filter_map(|key| key.strip_suffix(&first.name)?.strip_suffix('.')).find_map(|key| {
        let there = expected.iter().filter(|p| found.contains_key(&format!("{key}.{}", p.name))).count();
        (2 * there > expected.len()).then(|| key.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Init;

    fn specs(names: &[&str]) -> Vec<ParamSpec> {
        names
            .iter()
            .map(|n| ParamSpec { name: (*n).to_owned(), shape: vec![2, 3], init: Init::Zeros })
            .collect()
    }

    fn found(names: &[(&str, &[usize])]) -> Shapes {
        names.iter().map(|(n, s)| ((*n).to_owned(), s.to_vec())).collect()
    }

    #[test]
    fn names_everything_that_is_wrong_in_one_message() {
        let expected = specs(&["a", "b", "c", "d", "e", "f"]);
        let found = found(&[("a", &[2, 3]), ("b", &[3, 2]), ("z", &[1])]);
        let error = check_keys("u.pt", "unet", &found, &expected).unwrap_err();
        assert_eq!(error.missing, ["c", "d", "e", "f"]);
        assert_eq!(error.extra, ["z"]);
        let text = error.to_string();
        for part in [
            "checkpoint 'u.pt'",
            "found 3 tensors, expected 6",
            "4 missing (c, d, e, …)",
            "1 extra (z)",
            "1 wrongly shaped (b is [3, 2], expected [2, 3])",
            "choose the preset",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn each_fault_alone_is_refused() {
        let expected = specs(&["a", "b"]);
        type Case<'a> = (&'a str, &'a [(&'a str, &'a [usize])], bool);
        let cases: [Case<'_>; 4] = [
            ("right", &[("a", &[2, 3]), ("b", &[2, 3])], true),
            ("missing", &[("a", &[2, 3])], false),
            ("extra", &[("a", &[2, 3]), ("b", &[2, 3]), ("c", &[])], false),
            ("wrong shape, same size", &[("a", &[2, 3]), ("b", &[3, 2])], false),
        ];
        for (case, names, right) in cases {
            assert_eq!(check_keys("u.pt", "unet", &found(names), &expected).is_ok(), right, "{case}");
        }
    }

    #[test]
    fn a_nested_network_is_recognised() {
        let expected = specs(&["out.0.weight", "out.0.bias"]);
        let found = found(&[("ema.module.out.0.weight", &[2, 3]), ("ema.module.out.0.bias", &[2, 3])]);
        let error = check_keys("u.pt", "unet", &found, &expected).unwrap_err();
        assert_eq!(error.nested.as_deref(), Some("ema.module"));
        assert!(error.to_string().contains("--unet-key"), "{error}");
    }
}
