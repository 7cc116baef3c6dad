//! The networks against what the paper and the reference say of them.

use anomalens_models::graph::describe::describe;
use anomalens_models::nets;
use anomalens_models::preset::Preset;

/// Parameters of each network. Source: Sec. 3 of the paper for BRATS (113,681,160 and 5,452,962); the reference's own
/// count for the others.
#[test]
fn parameter_counts_equal_the_reference() {
    struct Case {
        preset: &'static str,
        unet: usize,
        classifier: usize,
    }
    let cases = [
        Case { preset: "brats256", unet: 113_681_160, classifier: 5_452_962 },
        Case { preset: "chexpert256", unet: 113_670_786, classifier: 5_452_098 },
        Case { preset: "tiny", unet: 704_488, classifier: 393_890 },
    ];
    for case in cases {
        let preset = Preset::load(case.preset).unwrap();
        let found =
            (nets::unet(&preset).unwrap().param_count(), nets::classifier(&preset).unwrap().param_count());
        assert_eq!(found, (case.unet, case.classifier), "{}", case.preset);
    }
    let mut unconditional = Preset::load("brats256").unwrap();
    unconditional.guided_mut().unwrap().unet.classes = None;
    assert_eq!(nets::unet(&unconditional).unwrap().param_count(), 113_680_136); // counted on the reference
}

/// 249 GMAC: counted on the reference at batch 1, 256 x 256, four channels.
#[test]
fn multiply_adds_equal_the_reference() {
    let preset = Preset::load("brats256").unwrap();
    let unet = describe(&nets::unet(&preset).unwrap());
    assert_eq!((unet.macs as f64 / 1e9).round(), 249.0, "{}", unet.macs);
    assert_eq!(unet.layers.iter().map(|l| l.params).sum::<usize>(), unet.params);
}

/// Every state-dict key and shape of the paper's networks, where the golden set is at hand.
#[test]
fn parameter_names_and_shapes_equal_the_reference() {
    let Ok(golden) = std::env::var("ANOMALENS_GOLDEN") else {
        assert!(std::env::var("CI").is_err(), "ANOMALENS_GOLDEN must be set in CI");
        eprintln!("skipped: ANOMALENS_GOLDEN is not set");
        return;
    };
    for (preset, data) in [("brats256", "brats"), ("chexpert256", "chexpert")] {
        let preset = Preset::load(preset).unwrap();
        let graphs =
            [("unet", nets::unet(&preset).unwrap()), ("classifier", nets::classifier(&preset).unwrap())];
        for (network, graph) in graphs {
            let text = std::fs::read_to_string(format!("{golden}/names/keys_{network}_{data}.txt")).unwrap();
            let mut expected: Vec<String> =
                text.lines().map(|line| line.split('\t').take(2).collect::<Vec<_>>().join(" ")).collect();
            let mut found: Vec<String> = graph
                .params()
                .iter()
                .map(|p| {
                    let dims: Vec<String> = p.shape.iter().map(ToString::to_string).collect();
                    let comma = if dims.len() == 1 { "," } else { "" };
                    format!("{} ({}{comma})", p.name, dims.join(", "))
                })
                .collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{network} {data}");
        }
    }
}
