//! Everything that came of an evaluation, as tables, pages and pictures tell it.

use anomalens_cohort::Item;
use anomalens_method::metrics::Bootstrap;

use super::column::Column;
use super::figure::{Figure, ROWS, Section};
use super::record::Network;
use super::score::{Facts, SliceScore, VolumeScore};
use super::source::Source;
use super::volume::{self, Volume};
use crate::parts::Settings;

/// Everything that came of it.
pub struct Results {
    /// Where the scores come from.
    pub origin: Origin,
    /// The volumes that were scored.
    pub volumes: Vec<Volume>,
    /// The slices that were scored, volume by volume.
    pub facts: Vec<Facts>,
    /// What the cohort says of each, in the order of `facts`.
    pub items: Vec<Item>,
    /// The methods, the first of which the others are compared with.
    pub methods: Vec<Method>,
    /// Smallest and largest lesion of each third, pixels.
    pub thirds: [Option<(usize, usize)>; 3],
}

/// Where the scores come from, in words.
pub struct Origin {
    /// Program and version.
    pub tool: String,
    /// The methods of networks.
    pub networks: Vec<Network>,
    /// The cohort's kind, note and fingerprint.
    pub cohort: [String; 3],
    /// What makes the results of all methods what they are.
    pub settings: Settings,
    /// Slices of the cohort.
    pub all: usize,
    /// Seconds a slice of each method of networks.
    pub seconds: Vec<(Source, f64)>,
}

/// How one method scores.
pub struct Method {
    /// Which.
    pub column: Column,
    /// Its one threshold.
    pub one_threshold: Option<f32>,
    /// Each slice, in the order of the facts.
    pub slices: Vec<SliceScore>,
    /// Each volume.
    pub volumes: Vec<VolumeScore>,
    /// One for each row.
    pub figures: Vec<Figure>,
}

/// A row in which a method has a larger value than the first one.
#[derive(Debug, Clone, PartialEq)]
pub struct Win {
    /// The winner.
    pub method: String,
    /// The row's key.
    pub key: &'static str,
    /// The row's title, with that of its section but for the first.
    pub title: String,
    /// Its value.
    pub value: f64,
    /// The first method's.
    pub first: f64,
}

/// How the first method compares with another, or why it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// In a sentence.
    pub text: String,
    /// Whether the other wins anywhere.
    pub wins: bool,
}

/// Wins that a verdict names, in the order of the rows; tables mark all.
const NAMED: usize = 8;

impl Results {
    /// Slices with a lesion.
    pub fn diseased(&self) -> usize {
        self.facts.iter().filter(|fact| fact.diseased()).count()
    }

    /// Slices without.
    pub fn healthy(&self) -> usize {
        self.facts.len() - self.diseased()
    }

    /// Where other methods are better than the first. Equal is no win.
    pub fn wins(&self) -> Vec<Win> {
        let Some((first, others)) = self.methods.split_first() else { return vec![] };
        let mut wins = Vec::new();
        for other in others {
            for (i, row) in ROWS.iter().enumerate().filter(|(_, row)| row.compared()) {
                if let (Some(value), Some(mine)) = (other.figures[i].value, first.figures[i].value)
                    && value > mine
                {
                    let title = match row.section {
                        Section::Slices => row.title.to_owned(),
                        section => format!("{}: {}", section.title(), row.title),
                    };
                    wins.push(Win {
                        method: other.column.name.clone(),
                        key: row.key,
                        title,
                        value,
                        first: mine,
                    });
                }
            }
        }
        wins
    }

    /// Who wins, plainly: a sentence for each method that is compared with the first.
    pub fn verdict(&self) -> Vec<Verdict> {
        let nothing = |text: &str| vec![Verdict { text: text.to_owned(), wins: false }];
        let Some((ours, others)) = self.methods.split_first() else { return vec![] };
        if self.diseased() == 0 {
            return nothing("no diseased slice: nothing to compare");
        }
        if others.is_empty() {
            return nothing(
                "nothing to compare with: no channel is called flair and there is more than one, so no baseline was run",
            );
        }
        let rows = ours.figures.iter().zip(&ROWS).filter(|(f, row)| row.compared() && f.value.is_some());
        let (first, compared, wins) = (&ours.column.name, rows.count(), self.wins());
        let verdict = |other: &Method| {
            let name = &other.column.name;
            let won: Vec<_> = wins.iter().filter(|win| win.method == *name).collect();
            if won.is_empty() {
                let text = format!("{name} wins over {first} in none of {compared} figures");
                return Verdict { text, wins: false };
            }
            let first_ones = won.iter().take(NAMED);
            let mut each: Vec<_> = first_ones
                .map(|win| format!("{} ({:.4} against {:.4})", win.title, win.value, win.first))
                .collect();
            if won.len() > NAMED {
                each.push(format!("and {} more", won.len() - NAMED));
            }
            let (name, n) = (name.to_uppercase(), won.len());
            let text = format!("{name} WINS over {first} in {n} of {compared} figures: {}", each.join("; "));
            Verdict { text, wins: true }
        };
        others.iter().map(verdict).collect()
    }

    /// What was done how, line by line.
    pub fn protocol(&self) -> Vec<String> {
        let methods =
            self.methods.iter().map(|method| format!("{}: {}", method.column.name, method.column.what));
        methods.chain(self.scoring()).collect()
    }

    /// How methods were scored, whichever they are, line by line.
    pub fn scoring(&self) -> Vec<String> {
        let text = |text: &str| text.to_owned();
        let mut lines = vec![
            text(
                "mask: the map above a threshold. Otsu's is of each slice by itself; the one threshold is the mean of those \
                  of the diseased slices, and knows which these are; a best threshold is chosen by the truth, and so is a bound",
            ),
            text(
                "Dice, AUROC, AUPRC of slices: of diseased slices only, for a healthy one has none; a mean weighs slices \
                  equally, pixels together weigh equally. AUPRC is the average precision; by chance it is the marked part",
            ),
            text(
                "image AUROC: whether diseased slices have a higher mean of the map inside the region than healthy ones",
            ),
            format!(
                "volumes: the scored slices of one subject together, {} of them; their Dice and AUROC count what is marked \
                 on healthy slices, too",
                self.volumes.len()
            ),
            text("thirds: the diseased slices by the lesion's pixels"),
            text(
                "level of the map: its mean inside the region, or inside the lesion; in units of the method's own",
            ),
            text(
                "region: where the cohort's brains.npy says, the brain, or the lungs with the mediastinum; without it, where \
                  any channel is above 0",
            ),
            text(
                "masks of lesion and region were used for scoring only: neither network nor its map sees them; the baselines' \
                  maps see the region, to their favour",
            ),
            format!(
                "intervals: {} % of {} resamples of the {} subjects, drawn with all their slices; thresholds and thirds stay \
                 as they are; {}",
                100.0 * Bootstrap::COVERAGE,
                Bootstrap::RESAMPLES,
                self.volumes.len(),
                volume::meaning(&self.origin.cohort[0])
            ),
        ];
        if self.facts.len() < self.origin.all {
            lines.push(format!(
                "--limit: {} of the cohort's {} slices, from all over it",
                self.facts.len(),
                self.origin.all
            ));
        }
        lines.push(format!("cohort: {}: {}", self.origin.cohort[0], self.origin.cohort[1]));
        lines
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::column::columns;
    use super::*;
    use crate::translator;

    /// One healthy and one diseased slice; Dice by Otsu of each method, every other figure absent.
    pub fn results(dice: &[f64]) -> Results {
        let item = |slice: usize| Item {
            subject: "s<1>".into(),
            slice,
            diseased: slice == 1,
            extra: Default::default(),
        };
        let facts = |index: usize| Facts { index, volume: 0, lesion_pixels: 12 * index, region_pixels: 40 };
        let columns = columns(&[translator::Method::Ours.into()], &["flair".into()]);
        let methods = columns.into_iter().zip(dice).map(|(column, &dice)| {
            let score =
                |dice| SliceScore { dice, threshold: 0.5, mean_region: 0.25, ..SliceScore::default() };
            let mut figures = vec![Figure::default(); ROWS.len()];
            figures[0].value = Some(dice);
            Method {
                column,
                one_threshold: Some(0.5),
                slices: vec![score(None), score(Some(dice))],
                volumes: vec![VolumeScore { dice: Some(dice), ..VolumeScore::default() }],
                figures,
            }
        });
        Results {
            origin: Origin {
                tool: "anomalens 0".into(),
                networks: vec![Network {
                    source: translator::Method::Ours.into(),
                    bundle: "demo".into(),
                    sha256: "abcdef".repeat(10),
                    provenance: "trained by a test".into(),
                    settings: vec![("noise level".into(), "500".into())],
                }],
                cohort: ["synthetic-brains", "one template; not for diagnostic use", "def"].map(String::from),
                settings: vec![("engine".into(), "tract".into())],
                all: 3,
                seconds: vec![(translator::Method::Ours.into(), 1.5)],
            },
            volumes: vec![Volume { subject: "s<1>".into(), all: vec![0, 1], chosen: vec![0, 1] }],
            facts: vec![facts(0), facts(1)],
            items: vec![item(0), item(1)],
            methods: methods.collect(),
            thirds: [None, None, Some((12, 12))],
        }
    }

    #[test]
    fn it_says_plainly_who_wins() {
        let [threshold, intensity]: [Verdict; 2] = results(&[0.5, 0.6, 0.4]).verdict().try_into().unwrap();
        let text = threshold.text;
        assert!(
            text.starts_with("THRESHOLD WINS over ours in 1 of 1 figures: Dice, ") && threshold.wins,
            "{text}"
        );
        assert!(text.ends_with("Otsu's threshold of each slice (0.6000 against 0.5000)"), "{text}");
        assert_eq!(intensity.text, "intensity wins over ours in none of 1 figures");
        assert!(!intensity.wins);
        let mut many = results(&[0.5, 0.6, 0.4]);
        for (place, value) in [0.1, 0.2].into_iter().enumerate() {
            many.methods[place].figures.iter_mut().for_each(|figure| figure.value = Some(value));
        }
        // Every one but the levels of the map.
        let text = many.verdict().remove(0).text;
        assert!(text.contains("in 37 of 37 figures") && text.ends_with("; and 29 more"), "{text}");
        // Equal is no win.
        assert!(results(&[0.5, 0.5, 0.4]).wins().is_empty());
        assert!(results(&[0.5]).verdict()[0].text.contains("nothing to compare with"));
        let mut healthy = results(&[0.5, 0.6, 0.4]);
        healthy.facts[1].lesion_pixels = 0;
        assert!(healthy.verdict()[0].text.contains("no diseased slice"));
    }

    #[test]
    fn the_protocol_says_what_matters() {
        let text = results(&[0.5, 0.6, 0.4]).protocol().join("\n");
        for words in [
            "ours: the paper's method: encoded by DDIM",
            "map: the sum over channels of |image - healthy version|",
            "threshold: baseline of Meissen",
            "for scoring only",
            "2 of the cohort's 3",
            "one phantom",
            "95 % of 1000 resamples of the 1 subjects",
            "one template",
        ] {
            assert!(text.contains(words), "no {words} in {text}");
        }
        let mut patients = results(&[0.5]);
        patients.origin.cohort[0] = "brats".into();
        assert!(patients.protocol().join("\n").contains("should be one patient"));
    }
}
