//! Scores as a person reads them, as CSV and as JSON.

use std::fmt::Write;

use anomalens_cohort::Item;
use serde_json::{Map, Value, json};

use super::score::{Method, Scores};
use super::summary::{COMPARED, MethodSummary, Summary};
use crate::picture::NOT_FOR_DIAGNOSTIC_USE;

/// Where the scores come from, in words.
pub struct Origin {
    /// Program and version.
    pub tool: String,
    /// The bundle's name, hash and provenance.
    pub bundle: [String; 3],
    /// The cohort's kind, note and fingerprint.
    pub cohort: [String; 3],
    /// Everything that changes the result.
    pub settings: Vec<(String, String)>,
    /// The channel that was thresholded.
    pub thresholded: Option<String>,
    /// The slices that were looked at, of how many.
    pub slices: (usize, usize),
    /// Seconds a slice.
    pub seconds: f64,
}

/// What was averaged how.
pub fn protocol(origin: &Origin) -> Vec<String> {
    let mut lines = vec![
        "anomaly map: the sum over channels of |image - healthy version|, of every pixel of the image".to_owned(),
        "mask: the map above its own Otsu threshold, slice by slice, as translate has it".to_owned(),
        "Dice and AUROC: on diseased slices only; a mean weighs slices equally, pooled weighs pixels equally"
            .to_owned(),
        "best threshold: chosen for each slice by its truth; what a perfect choice of threshold would give"
            .to_owned(),
        "thirds: the diseased slices by the lesion's pixels".to_owned(),
        "map levels: means over slices of the map's mean inside the region (healthy slices), inside the lesion (diseased)"
            .to_owned(),
        "region: where the cohort's brains.npy says, the brain, or the lungs with the mediastinum; without it, where any channel is above 0"
            .to_owned(),
        "masks of lesion and region were used for scoring only: neither network nor map sees them".to_owned(),
    ];
    lines.push(match &origin.thresholded {
        Some(channel) => format!(
            "thresholding: the channel {channel} itself as the map; Otsu on its pixels inside the region, and masks inside the region only"
        ),
        None => "thresholding: no channel is called flair and there is more than one, so none was thresholded".to_owned(),
    });
    let (n, of) = origin.slices;
    if n < of {
        lines.push(format!("--limit: {n} of the cohort's {of} slices, from all over it"));
    }
    lines.push(format!("cohort: {}: {}", origin.cohort[0], origin.cohort[1]));
    lines
}

/// Who wins, plainly.
pub fn verdict(summary: &Summary) -> String {
    if summary.diseased == 0 {
        return "no diseased slice: nothing to compare".into();
    }
    if summary.thresholding.is_none() {
        return "nothing to compare with: no channel was thresholded".into();
    }
    match summary.thresholding_wins().as_slice() {
        [] => "thresholding wins in no score".into(),
        wins => {
            let each =
                wins.iter().map(|(name, theirs, ours)| format!("{name} ({theirs:.4} against {ours:.4})"));
            format!("THRESHOLDING WINS in {}", each.collect::<Vec<_>>().join("; "))
        }
    }
}

/// The table for the terminal.
pub fn text(origin: &Origin, summary: &Summary) -> String {
    let mut text = format!(
        "{NOT_FOR_DIAGNOSTIC_USE}\n{} slices: {} healthy, {} diseased; {:.2} s a slice\n\nprotocol\n",
        origin.slices.0, summary.healthy, summary.diseased, origin.seconds
    );
    for line in protocol(origin) {
        let _ = writeln!(text, "  {line}");
    }
    let cell = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.4}"));
    let _ = writeln!(text, "\n{:<42} {:>12} {:>14}", "", "anomaly map", "thresholding");
    for (i, (name, score)) in COMPARED.iter().enumerate() {
        let size = (1..4).contains(&i).then(|| summary.sizes[i - 1]).flatten();
        let name = size.map_or((*name).to_owned(), |(from, to)| format!("{name} ({from}-{to} px)"));
        let thresholding = summary.thresholding.as_ref().and_then(score);
        let _ = writeln!(text, "{name:<42} {:>12} {:>14}", cell(score(&summary.ours)), cell(thresholding));
    }
    let _ =
        writeln!(text, "{:<42} {:>12}", "map inside the region, healthy slices", cell(summary.map_healthy));
    let _ = writeln!(text, "{:<42} {:>12}", "map inside lesions", cell(summary.map_lesion));
    let ratio = summary.ratio().map_or("-".to_owned(), |r| format!("{:.1} %", 100.0 * r));
    let _ = writeln!(text, "{:<42} {ratio:>12}", "  the former over the latter");
    let _ = writeln!(text, "\n{}", verdict(summary));
    text
}

/// The names of the CSV's columns.
const COLUMNS: &str = "index,subject,slice,diseased,lesion_pixels,brain_pixels,map_mean_brain,map_mean_lesion,\
    threshold,dice,best_dice,auroc,auroc_brain,\
    thresholding_threshold,thresholding_dice,thresholding_best_dice,thresholding_auroc,thresholding_auroc_brain";

/// One line a slice, after a line of comment and one of names; six decimals, empty where there is no such number.
pub fn csv<'a>(rows: impl Iterator<Item = (usize, &'a Item, &'a Scores)>) -> String {
    let mut text =
        format!("# {NOT_FOR_DIAGNOSTIC_USE}; thresholding_*: the channel itself as the map\n{COLUMNS}\n");
    let cell = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.6}"));
    let method = |method: Option<&Method>| {
        let field = |score: fn(&Method) -> Option<f64>| cell(method.and_then(score));
        [
            field(|m| Some(m.threshold.into())),
            field(|m| m.dice),
            field(|m| m.best_dice),
            field(|m| m.auroc),
            field(|m| m.auroc_brain),
        ]
        .join(",")
    };
    for (index, item, s) in rows {
        let _ = writeln!(
            text,
            "{index},{},{},{},{},{},{},{},{},{}",
            quoted(&item.subject),
            item.slice,
            u8::from(item.diseased),
            s.lesion_pixels,
            s.brain_pixels,
            cell(Some(s.map_brain)),
            cell(s.map_lesion),
            method(Some(&s.ours)),
            method(s.thresholding.as_ref())
        );
    }
    text
}

/// A text as a field of CSV.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r', '#']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Everything but the single slices.
pub fn json(origin: &Origin, summary: &Summary) -> String {
    let method = |m: &MethodSummary| {
        json!({
            "dice": m.dice,
            "dice_by_size": m.dice_by_size,
            "best_dice": m.best_dice,
            "auroc_pooled": m.auroc_pooled,
            "auroc_mean": m.auroc,
            "auroc_brain_pooled": m.auroc_brain_pooled,
            "auroc_brain_mean": m.auroc_brain,
        })
    };
    let settings: Map<String, Value> = origin.settings.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    let [name, hash, provenance] = &origin.bundle;
    let [kind, note, fingerprint] = &origin.cohort;
    let wins: Vec<Value> = summary
        .thresholding_wins()
        .iter()
        .map(|(name, theirs, ours)| json!({ "score": name, "thresholding": theirs, "ours": ours }))
        .collect();
    let value = json!({
        "format": 1,
        "notice": NOT_FOR_DIAGNOSTIC_USE,
        "tool": origin.tool,
        "bundle": { "name": name, "sha256": hash, "provenance": provenance },
        "cohort": { "kind": kind, "note": note, "fingerprint": fingerprint },
        "settings": settings,
        "protocol": protocol(origin),
        "slices": { "all": origin.slices.1, "scored": origin.slices.0, "healthy": summary.healthy, "diseased": summary.diseased },
        "lesion_pixels_by_third": summary.sizes.map(|size| size.map(|(from, to)| [from, to])),
        "ours": method(&summary.ours),
        "thresholded_channel": origin.thresholded,
        "thresholding": summary.thresholding.as_ref().map(method),
        "thresholding_wins": wins,
        "verdict": verdict(summary),
        "map_mean_brain_healthy": summary.map_healthy,
        "map_mean_lesion": summary.map_lesion,
        "map_healthy_over_lesion": summary.ratio(),
        "seconds_a_slice": origin.seconds,
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            tool: "anomalens 0".into(),
            bundle: ["demo", "abc", "trained by a test"].map(String::from),
            cohort: ["synthetic-brains", "one template; not for diagnostic use", "def"].map(String::from),
            settings: vec![("noise level".into(), "500".into())],
            thresholded: Some("flair".into()),
            slices: (2, 3),
            seconds: 1.5,
        }
    }

    fn summary(ours: f64, thresholding: f64) -> Summary {
        let method = |dice| MethodSummary { dice: Some(dice), ..MethodSummary::default() };
        Summary {
            healthy: 1,
            diseased: 1,
            ours: method(ours),
            thresholding: Some(method(thresholding)),
            map_healthy: Some(0.1),
            map_lesion: Some(1.0),
            sizes: [None, None, Some((12, 12))],
        }
    }

    #[test]
    fn the_thirds_stand_where_the_table_looks_for_them() {
        let places: Vec<_> = COMPARED.iter().map(|row| row.0.contains("third")).collect();
        assert_eq!(places.iter().position(|third| *third), Some(1));
        assert_eq!(places.iter().filter(|third| **third).count(), 3);
    }

    #[test]
    fn it_says_plainly_who_wins() {
        let text = text(&origin(), &summary(0.5, 0.6));
        assert!(
            text.contains("THRESHOLDING WINS in Dice, threshold by Otsu (0.6000 against 0.5000)"),
            "{text}"
        );
        for words in [
            "NOT FOR DIAGNOSTIC USE",
            "one template",
            "for scoring only",
            "2 of the cohort's 3",
            "10.0 %",
            "12-12 px",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        assert_eq!(verdict(&summary(0.7, 0.6)), "thresholding wins in no score");
    }

    #[test]
    fn the_json_holds_protocol_and_scores() {
        let value: Value = serde_json::from_str(&json(&origin(), &summary(0.5, 0.6))).unwrap();
        assert_eq!((&value["ours"]["dice"], &value["thresholding"]["dice"]), (&json!(0.5), &json!(0.6)));
        assert_eq!(value["thresholding_wins"][0]["thresholding"], 0.6);
        assert_eq!(value["notice"], NOT_FOR_DIAGNOSTIC_USE);
        assert!(value["protocol"].as_array().unwrap().len() > 5);
        assert_eq!(value["settings"]["noise level"], "500");
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!((quoted("s1"), quoted("a,\"b\"")), ("s1".into(), "\"a,\"\"b\"\"\"".into()));
    }
}
