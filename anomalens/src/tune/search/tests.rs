use anomalens_method::agreement::{DICE_LIMIT, MAP_LIMIT};
use anyhow::anyhow;
use ndarray::Array2;

use super::*;

/// Choices by name: their seconds a slice with one image at once, and how far their maps are off.
struct Fake {
    /// Words of the engine; seconds, or `None` if it does not run; the change of its maps.
    engines: Vec<(&'static str, Option<f64>, f64)>,
    /// What several images at once take, by their number: a share of the time of one.
    shares: Vec<(usize, f64)>,
    /// Whose maps were made, and in what order.
    made: Vec<String>,
    /// Attempts before a person stops it.
    patience: usize,
}

impl Fake {
    fn new(engines: &[(&'static str, Option<f64>, f64)]) -> Self {
        Self { engines: engines.to_vec(), shares: vec![], made: vec![], patience: usize::MAX }
    }

    fn of(&self, choice: &Choice) -> (Option<f64>, f64) {
        let words = choice.engine.words().join(" ");
        let found = self.engines.iter().find(|(name, ..)| *name == words);
        let &(_, seconds, change) = found.unwrap_or_else(|| panic!("{words}"));
        let share = self.shares.iter().find(|(batch, _)| *batch == choice.batch).map_or(1.0, |(_, s)| *s);
        (seconds.map(|seconds| seconds * share), change)
    }

    fn search(&mut self, held_out: bool) -> Result<(String, Vec<Tried>)> {
        let words = |name: &str| name.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let candidates: Vec<_> =
            self.engines.iter().map(|(name, ..)| Choice::of_words(&words(name)).unwrap()).collect();
        let (chosen, tried) = search(&candidates, held_out, self)?;
        Ok((tried[chosen].choice.to_string(), tried))
    }
}

impl Lab for Fake {
    fn time(&mut self, choice: &Choice) -> Result<Timed> {
        self.patience = self.patience.checked_sub(1).ok_or(Interrupted)?;
        let seconds = self.of(choice).0.ok_or_else(|| anyhow!("not to be had"))?;
        Ok(Timed { seconds, engine: "a fake".into() })
    }

    fn maps(&mut self, choice: &Choice, _: f64) -> Result<Vec<AnomalyMap>> {
        self.made.push(choice.to_string());
        // The change stands in the map itself.
        Ok(vec![AnomalyMap::from_values(Array2::from_elem((1, 1), self.of(choice).1 as f32))])
    }

    fn change(&self, found: &[AnomalyMap], expected: &[AnomalyMap]) -> Result<Change> {
        let map = f64::from(found[0].values()[[0, 0]] - expected[0].values()[[0, 0]]);
        Ok(Change { map, dice: 0.0 })
    }
}

const ORT: &str = "--engine ort";
const TRACT: &str = "--engine tract";
const CUDA: &str = "--engine ort --device cuda:0";
const TF32: &str = "--engine ort --device cuda:0 --tf32";

#[test]
fn the_fastest_that_passes_is_taken() {
    // The plainest is the fastest: nothing need be compared.
    let mut lab = Fake::new(&[(ORT, Some(1.0), 0.0), (TRACT, Some(3.0), 0.0)]);
    let (chosen, tried) = lab.search(false).unwrap();
    assert_eq!((chosen.as_str(), lab.made.len()), ("--engine ort --batch 1", 0));
    assert_eq!([&tried[0].verdict, &tried[1].verdict], [&Verdict::Reference, &Verdict::Slower]);
    // A faster one is compared with the plainest.
    let mut lab = Fake::new(&[(ORT, Some(4.0), 0.0), (TRACT, Some(1.0), 0.5 * MAP_LIMIT)]);
    let (chosen, tried) = lab.search(false).unwrap();
    assert_eq!(chosen, "--engine tract --batch 1");
    assert_eq!(lab.made, ["--engine ort --batch 1", "--engine tract --batch 1"]);
    assert!(matches!(tried[1].verdict, Verdict::Passed(_)), "{tried:?}");
}

#[test]
fn maps_that_are_off_are_refused() {
    let engines = [(ORT, Some(4.0), 0.0), (TRACT, Some(2.0), 0.0), (CUDA, Some(1.0), 2.0 * MAP_LIMIT)];
    let mut lab = Fake::new(&engines);
    lab.shares = vec![(2, 0.5)];
    let (chosen, tried) = lab.search(false).unwrap();
    // It is not translated by again for another batch, and the next in speed is taken.
    assert_eq!(chosen, "--engine tract --batch 1");
    let cuda_at_2 = format!("{CUDA} --batch 2");
    assert_eq!(lab.made, ["--engine ort --batch 1", &cuda_at_2, "--engine tract --batch 1"]);
    let refused = tried.iter().filter(|t| matches!(t.verdict, Verdict::Refused(_))).count();
    assert_eq!(refused, 3, "with 1, 2 and 4 images: {tried:#?}");
    // If all are wrong, the plainest is left.
    let mut lab = Fake::new(&[(ORT, Some(4.0), 0.0), (TRACT, Some(1.0), 1.0)]);
    assert_eq!(lab.search(false).unwrap().0, "--engine ort --batch 1");
    // A limit is a limit, and Dice has one, too.
    assert!(!Change { map: 0.0, dice: 2.0 * DICE_LIMIT }.passed());
}

#[test]
fn what_rounds_needs_held_out_images() {
    let engines = [(ORT, Some(9.0), 0.0), (CUDA, Some(2.0), 0.0), (TF32, Some(1.0), 0.001)];
    let (chosen, tried) = Fake::new(&engines).search(false).unwrap();
    assert_eq!((chosen, &tried[2].verdict), (format!("{CUDA} --batch 1"), &Verdict::Rounds));
    let (chosen, _) = Fake::new(&engines).search(true).unwrap();
    assert_eq!(chosen, format!("{TF32} --batch 1"));
    // What rounds is no reference, though it alone runs.
    let error = Fake::new(&[(ORT, None, 0.0), (TF32, Some(1.0), 0.0)]).search(true).unwrap_err();
    assert!(error.to_string().contains("nothing here runs this bundle: not to be had"), "{error}");
}

#[test]
fn more_images_at_once_are_tried_while_they_gain() {
    let engines = [(ORT, Some(1.0), 0.0), (TRACT, Some(1.4), 0.0), (CUDA, Some(1.6), 0.0)];
    let mut lab = Fake::new(&engines);
    lab.shares = vec![(2, 0.8), (4, 0.5), (8, 0.499), (16, 0.1)];
    let (chosen, tried) = lab.search(false).unwrap();
    assert_eq!(chosen, "--engine ort --batch 8");
    let batches = |engine: &str| -> Vec<usize> {
        tried.iter().filter(|t| t.choice.engine.words().join(" ") == engine).map(|t| t.choice.batch).collect()
    };
    // 8 is hardly faster than 4, so 16 is not tried; a slow engine is not tried at all.
    assert_eq!([batches(ORT), batches(TRACT), batches(CUDA)], [vec![1, 2, 4, 8], vec![1, 2, 4, 8], vec![1]]);
}

#[test]
fn what_fails_is_told_and_a_person_is_heard() {
    let engines = [(CUDA, None, 0.0), (ORT, Some(1.0), 0.0)];
    let (_, tried) = Fake::new(&engines).search(false).unwrap();
    assert_eq!(tried[0].verdict, Verdict::Failed("not to be had".into()));
    assert_eq!(tried[1].verdict, Verdict::Reference);
    let error = Fake { patience: 1, ..Fake::new(&engines) }.search(false).unwrap_err();
    assert!(error.is::<Interrupted>(), "{error}");
    assert!(Fake::new(&[]).search(false).unwrap_err().to_string().contains("anomalens doctor"));
}
