//! Where in a file a network stands: at the top, under a key, under `module.` and the like.

use std::collections::BTreeSet;

use anomalens_models::graph::ParamSpec;
use anomalens_models::weights::Shapes;

use super::family::FamilyNames;
use super::map::Found;

/// The first layers of every guided-diffusion network, U-Net or classifier.
const FIRST: [&str; 2] = ["input_blocks.0.0.weight", "time_embed.0.weight"];

/// What an optimiser keeps of each parameter, in the files of anomalens-train: names and shapes of the network, too.
const MOMENTS: &str = "adam.";

/// What stands before the names of each guided-diffusion network of a file, of whatever preset: empty, or ends with
/// a dot.
pub fn networks(shapes: &Shapes) -> Vec<String> {
    let prefix = |name: &String| Some(name.strip_suffix(FIRST[0])?.to_owned());
    let whole = |prefix: &String| FIRST.iter().all(|name| shapes.contains_key(&format!("{prefix}{name}")));
    shapes.keys().filter_map(prefix).filter(|p| is_place(p)).filter(whole).collect()
}

/// What stands before the names of each network of another package.
pub fn foreign(found: &Found<'_>, names: &FamilyNames) -> Vec<String> {
    let prefix = |name: &&str| Some(name.strip_suffix(names.first[0])?.to_owned());
    let has = |prefix: &str, name: &str| found.contains_key(&*format!("{prefix}{name}"));
    let is_network = |prefix: &String| has(prefix, names.first[1]) && !has(prefix, FIRST[0]);
    found.keys().filter_map(prefix).filter(|p| is_place(p)).filter(is_network).collect()
}

/// What stands before the names of a network of these parameters: every place where all of them stand in their
/// shapes, with nothing else; if there is none, the place where most of them do. What stands at a place within a place
/// is nothing else of the outer one: raw and averaged weights may stand so.
pub fn places(shapes: &Shapes, params: &[ParamSpec]) -> Vec<String> {
    let Some(first) = params.first() else { return vec![] };
    let prefixes = shapes.keys().filter_map(|name| Some(name.strip_suffix(&first.name)?.to_owned()));
    let prefixes: BTreeSet<String> = prefixes.filter(|prefix| is_place(prefix)).collect();
    let mut best = (0, vec![]);
    for prefix in &prefixes {
        let fits = |p: &&ParamSpec| shapes.get(&format!("{prefix}{}", p.name)) == Some(&p.shape);
        let fitting = params.iter().filter(fits).count();
        let own = below(shapes, prefix).filter(|(name, _)| !is_within(name, prefix.len(), &prefixes)).count();
        let others = own.saturating_sub(fitting);
        // A place with nothing else goes before every other with as many.
        let rank = 2 * fitting + usize::from(others == 0);
        match rank.cmp(&best.0) {
            std::cmp::Ordering::Greater => best = (rank, vec![prefix.clone()]),
            std::cmp::Ordering::Equal if rank == 2 * params.len() + 1 => best.1.push(prefix.clone()),
            _ => {}
        }
    }
    best.1
}

/// Where other networks stand than the one at the top, if one stands there.
pub fn deeper(shapes: &Shapes) -> BTreeSet<String> {
    let networks = BTreeSet::from_iter(networks(shapes));
    if networks.contains("") { networks } else { BTreeSet::new() }
}

/// Whether a name stands at one of these places that is longer than `outer` bytes.
pub fn is_within(name: &str, outer: usize, places: &BTreeSet<String>) -> bool {
    let mut ends = name.match_indices('.').map(|(dot, _)| dot + 1).filter(|&end| end > outer);
    ends.any(|end| places.contains(&name[..end]))
}

fn is_place(prefix: &str) -> bool {
    (prefix.is_empty() || prefix.ends_with('.')) && !prefix.starts_with(MOMENTS)
}

/// The names that begin with a prefix, with their shapes.
pub fn below<'a>(shapes: &'a Shapes, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Vec<usize>)> {
    shapes.range(prefix.to_owned()..).take_while(move |(name, _)| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalens_models::graph::Init;

    fn shapes(names: &[&str]) -> Shapes {
        names.iter().map(|name| ((*name).to_owned(), vec![2])).collect()
    }

    #[test]
    fn a_network_is_found_wherever_it_stands() {
        let params: Vec<ParamSpec> = ["a", "out.b"]
            .map(|name| ParamSpec { name: name.into(), shape: vec![2], init: Init::Zeros })
            .into();
        let cases: [(&str, &[&str], &[&str]); 10] = [
            ("top", &["a", "out.b"], &[""]),
            ("module", &["module.a", "module.out.b"], &["module."]),
            ("beside others", &["ema.n.a", "ema.n.out.b", "opt.a", "opt.x"], &["ema.n."]),
            ("two", &["ema.a", "ema.out.b", "model.a", "model.out.b"], &["ema.", "model."]),
            ("one at the top", &["a", "out.b", "ema.a", "ema.out.b"], &["", "ema."]),
            ("the top, and a part", &["a", "out.b", "ema.a"], &[""]),
            ("one whole", &["ema.a", "ema.out.b", "ema.out.c", "model.a", "model.out.b"], &["model."]),
            ("moments", &["adam.first.a", "adam.first.out.b", "model.a", "model.out.b"], &["model."]),
            ("none", &["x.aa", "b"], &[]),
            ("a part", &["x.a", "b"], &["x."]),
        ];
        for (case, names, expected) in cases {
            assert_eq!(places(&shapes(names), &params), expected, "{case}");
        }
    }

    #[test]
    fn networks_of_any_preset_are_found() {
        let both = ["input_blocks.0.0.weight", "time_embed.0.weight"];
        let under = |keys: &[&str]| {
            let names = keys.iter().flat_map(|key| both.map(|name| (format!("{key}{name}"), vec![1])));
            networks(&names.collect())
        };
        assert_eq!(under(&[""]), [""]);
        assert_eq!(under(&["model.module."]), ["model.module."]);
        assert_eq!(under(&["ema.", "model."]), ["ema.", "model."]);
        assert_eq!(under(&["", "ema."]), ["ema.", ""]);
        assert_eq!(networks(&shapes(&["input_blocks.0.0.weight"])), [""; 0]);
    }
}
