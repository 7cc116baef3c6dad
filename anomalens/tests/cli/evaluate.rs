//! `evaluate`: scores of a small cohort, and what an interrupted run leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anomalens_cohort::{Cohort, CohortInfo, CohortWriter, Item, Sample};
use ndarray::{Array2, Array3};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Run, anomalens, listing, one_channel, run, tiny, told};

const SIZE: usize = 32;
const ITEMS: usize = 6;

/// Discs with a brighter disc in every other one; six of them.
pub fn cohort() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| write(&["t1", "t1ce", "t2", "flair"], true)).path()
}

pub fn write(channels: &[&str], masks: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let info = CohortInfo {
        kind: "discs".into(),
        note: "six discs, made by a test; not for diagnostic use".into(),
        channels: channels.iter().map(|name| name.to_string()).collect(),
        size: SIZE,
        percentile: 99.5,
        generator: Value::Null,
    };
    let mut writer = CohortWriter::create(folder.path(), info).unwrap();
    let disc = |y: usize, x: usize, centre: (f32, f32), radius: f32| {
        (y as f32 - centre.0).hypot(x as f32 - centre.1) < radius
    };
    for i in 0..ITEMS {
        let diseased = i % 2 == 1;
        let brain = Array2::from_shape_fn((SIZE, SIZE), |(y, x)| disc(y, x, (16.0, 16.0), 12.0));
        let spot = (14.0 + i as f32, 12.0);
        let mask =
            Array2::from_shape_fn((SIZE, SIZE), |(y, x)| diseased && disc(y, x, spot, 2.0 + i as f32 / 2.0));
        let image = Array3::from_shape_fn((channels.len(), SIZE, SIZE), |(c, y, x)| {
            let tissue = 0.3 + 0.05 * c as f32 + 0.01 * ((x * 7 + y * 3 + i) % 5) as f32;
            f32::from(u8::from(brain[[y, x]])) * (tissue + f32::from(u8::from(mask[[y, x]])) * 0.4)
        });
        let item =
            Item { subject: format!("s{:03}", i / 2), slice: i % 2, diseased, extra: Default::default() };
        writer.push(Sample { item, image, mask: masks.then_some(mask), brain: Some(brain) }).unwrap();
    }
    writer.finish().unwrap();
    folder
}

pub fn command(cohort: &Path, bundle: &Path, out: &Path, more: &[&str]) -> assert_cmd::Command {
    let mut command = anomalens();
    command.arg("evaluate").arg(cohort).arg("--bundle").arg(bundle).arg("--out").arg(out);
    if !more.contains(&"--noise-level") {
        command.args(["--noise-level", "2"]);
    }
    if !more.contains(&"--engine") {
        command.args(["--engine", "tract", "--threads", "1"]);
    }
    command.args(more);
    command
}

pub fn evaluate(out: &Path, more: &[&str]) -> Run {
    told(&mut command(cohort(), tiny(), out, more))
}

/// What an evaluation leaves.
pub const RESULTS: [&str; 8] = [
    "methods.png",
    "parts",
    "report.html",
    "results.csv",
    "sheet.png",
    "summary.json",
    "timings.json",
    "volumes.csv",
];

/// A CSV file behind its comment.
pub struct Table {
    names: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("# NOT FOR DIAGNOSTIC USE"), "{text}");
        let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        let names = cells(lines.next().unwrap());
        let rows: Vec<_> = lines.map(cells).collect();
        assert!(rows.iter().all(|row| row.len() == names.len()), "{text}");
        Self { names, rows }
    }

    pub fn field(&self, row: usize, name: &str) -> &str {
        let place = self.names.iter().position(|found| found == name);
        &self.rows[row][place.unwrap_or_else(|| panic!("no {name} in {:?}", self.names))]
    }
}

pub fn csv(out: &Path) -> String {
    fs::read_to_string(out.join("results.csv")).unwrap()
}

/// A run that nothing disturbed, two slices at once.
pub fn undisturbed() -> &'static Path {
    static FOLDER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("out");
            evaluate(&out, &["--batch", "2"]).expect(
                0,
                &[
                    "NOT FOR DIAGNOSTIC USE",
                    "protocol",
                    "for scoring only",
                    "six discs",
                    "threshold: baseline of Meissen",
                    "intensity: baseline",
                    "what the cohort calls one",
                ],
            );
            (folder, out)
        })
        .1
}

#[test]
fn scores_tables_and_a_sheet_are_written() {
    let out = undisturbed();
    assert_eq!(listing(out), RESULTS);
    assert_eq!(listing(&out.join("parts")).len(), 1 + 2 * ITEMS / 2);
    let slices = Table::read(&out.join("results.csv"));
    assert_eq!(slices.rows.len(), ITEMS);
    let original = Cohort::open(cohort()).unwrap();
    for i in 0..ITEMS {
        let pixels = original.mask(i).unwrap().unwrap().iter().filter(|m| **m).count();
        assert_eq!(slices.field(i, "lesion_pixels"), pixels.to_string());
        assert_eq!(slices.field(i, "ours_dice").is_empty(), pixels == 0);
        // Lesions are brighter than everything else: both baselines find them all, but for Otsu's choice.
        for name in ["intensity_auroc", "threshold_auroc", "intensity_auprc", "threshold_dice_best"] {
            assert_eq!(slices.field(i, name), if pixels == 0 { "" } else { "1.000000" }, "{name}");
        }
    }
    let volumes = Table::read(&out.join("volumes.csv"));
    assert_eq!(volumes.rows.len(), ITEMS / 2);
    assert_eq!((volumes.field(1, "subject"), volumes.field(1, "diseased_slices")), ("s001", "1"));
    // A subject's other slice is as bright as its lesion nowhere.
    assert_eq!(volumes.field(1, "intensity_auroc"), "1.000000");
    let summary: Value =
        serde_json::from_str(&fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["notice"], "NOT FOR DIAGNOSTIC USE");
    assert_eq!((&summary["slices"]["healthy"], &summary["slices"]["diseased"]), (&3.into(), &3.into()));
    assert_eq!(
        (&summary["subjects"], &summary["networks"][0]["settings"]["noise level"]),
        (&3.into(), &"2".into())
    );
    let figure = |method: usize, key: &str| &summary["methods"][method]["figures"][key];
    assert_eq!(figure(2, "auroc_pooled")["value"], 1.0);
    let dice: f64 =
        [1, 3, 5].map(|i| slices.field(i, "ours_dice").parse::<f64>().unwrap()).iter().sum::<f64>() / 3.0;
    let found = figure(0, "dice_otsu");
    assert!((found["value"].as_f64().unwrap() - dice).abs() < 1e-6);
    assert!(found["low"].as_f64().unwrap() <= dice && dice <= found["high"].as_f64().unwrap() + 1e-6);
    // Random networks are no match for a baseline, and that is said.
    let verdict = summary["verdict"].to_string();
    assert!(verdict.contains("THRESHOLD WINS") && verdict.contains("INTENSITY WINS"), "{verdict}");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("INTENSITY WINS") && page.matches("data:image/png").count() == ITEMS, "{page}");
    let sheet = image::open(out.join("sheet.png")).unwrap();
    assert!(sheet.width() > 15 * 128 && sheet.height() > 6 * 128);
}

#[test]
fn an_interrupted_run_is_continued_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    // What a run leaves that was killed while it wrote the third of three batches: two whole ones and a torn one.
    fs::create_dir_all(out.join("parts")).unwrap();
    let batches = ["ours-000000.json", "ours-000000.npy", "ours-000001.json", "ours-000001.npy"];
    for name in batches.into_iter().chain(["settings.json", "ours-000002.npy"]) {
        fs::copy(undisturbed().join("parts").join(name), out.join("parts").join(name)).unwrap();
    }
    fs::write(out.join("parts/ours-000002.npy.partial"), b"half").unwrap();
    evaluate(&out, &["--batch", "2"]).expect(0, &["slices: 6, of which 4 are done"]);
    assert_eq!(csv(&out), csv(undisturbed()));
    // A batch that has changed since is made again.
    fs::write(out.join("parts/ours-000001.npy"), b"spoilt").unwrap();
    evaluate(&out, &["--batch", "2"]).expect(0, &["of which 4 are done", "ours-000001.json", "made again"]);
    assert_eq!(csv(&out), csv(undisturbed()));
    // And a finished one is scored again, without networks.
    evaluate(&out, &["--batch", "2"]).expect(0, &["of which 6 are done"]);
    assert_eq!(csv(&out), csv(undisturbed()));
}

#[test]
fn a_limit_is_a_first_look_at_the_same_scores() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    evaluate(&out, &["--batch", "2", "--limit", "3"]).expect(0, &["3 of the cohort's 6"]);
    let first: Vec<String> =
        csv(&out).lines().skip(2).map(|l| l.split(',').next().unwrap().to_owned()).collect();
    assert_eq!(first, ["0", "1", "5"]);
    // The batch that the limit cut short is made anew, whole.
    evaluate(&out, &["--batch", "2"]).expect(0, &["slices: 6, of which 2 are done"]);
    assert_eq!(csv(&out), csv(undisturbed()));
    evaluate(&out, &["--batch", "2", "--limit", "3"]).expect(0, &["slices: 3, of which 3 are done"]);
}

#[test]
fn another_batch_changes_last_bits_alone() {
    /// The maps differ by rounding, some 1e-7 of values near 0.003; few pixels change ranks.
    const TOLERANCE: f64 = 1e-3;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    evaluate(&out, &["--batch", "1"]).expect(0, &[]);
    // An empty cell, or a name, is 0.
    let numbers = |out: &Path| -> Vec<f64> {
        let text = csv(out);
        let cells = text.lines().skip(2).flat_map(|line| line.split(','));
        cells.map(|cell| cell.parse().unwrap_or(0.0)).collect()
    };
    let (alone, together) = (numbers(&out), numbers(undisturbed()));
    assert_eq!(alone.len(), together.len());
    let worst = alone.iter().zip(&together).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= TOLERANCE, "{worst}");
    evaluate(&out, &["--batch", "2"]).expect(1, &["batch 1, now it is 2"]);
}

/// A run that a signal ends after it has kept the file `part`, its first, and before it has written `result`: its exit code,
/// and what it said.
#[cfg(unix)]
pub fn ended_by(
    signal: &str,
    command: &assert_cmd::Command,
    part: &Path,
    result: &Path,
) -> (Option<i32>, String) {
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_anomalens"));
    program.args(command.get_args()).stderr(Stdio::piped()).stdout(Stdio::null());
    let child = program.spawn().unwrap();
    let began = Instant::now();
    while !part.exists() {
        assert!(began.elapsed() < Duration::from_secs(120), "no batch was finished");
        std::thread::sleep(Duration::from_millis(2));
    }
    let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert!(!result.exists(), "it was over before the signal came");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
#[cfg(unix)]
fn a_run_that_was_stopped_or_killed_goes_on_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--batch", "1", "--noise-level", "12"];
    let whole = folder.path().join("whole");
    evaluate(&whole, &more).expect(0, &["of which 0 are done"]);
    for (signal, code) in [("-INT", Some(1)), ("-KILL", None)] {
        let out = folder.path().join(signal);
        let command = command(cohort(), tiny(), &out, &more);
        let part = out.join("parts/ours-000000.json");
        let (found, said) = ended_by(signal, &command, &part, &out.join("results.csv"));
        assert_eq!(listing(&out), ["parts"]);
        assert_eq!(found, code, "{said}");
        if signal == "-INT" {
            assert!(said.contains("slices are kept") && said.contains("the same command goes on"), "{said}");
        }
        let again = evaluate(&out, &more);
        again.expect(0, &["slices: 6, of which"]);
        assert!(!again.stderr.contains("of which 0 are done"), "{again:?}");
        for name in ["results.csv", "volumes.csv", "summary.json"] {
            assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(whole.join(name)).unwrap(), "{name}");
        }
    }
}

#[test]
fn other_settings_are_refused() {
    let out = undisturbed();
    for (more, words) in [
        (&["--scale", "3"][..], ["gradient scale 100", "3"]),
        (&["--steps", "1"], ["steps every level", "1 a loop"]),
        (&["--noise-level", "3"], ["noise level 2", "now it is 3"]),
        (&["--engine", "ort"], ["engine tract", "now it is ort"]),
    ] {
        let more: Vec<_> = more.iter().copied().chain(["--batch", "2"]).collect();
        evaluate(out, &more).expect(1, &[words[0], words[1], "choose another --out"]);
    }
    told(&mut command(cohort(), one_channel(), out, &[]))
        .expect(1, &["channels t1, t1ce, t2, flair, expected"]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.txt"), "kept").unwrap();
    evaluate(folder.path(), &[]).expect(1, &["mine.txt", "new or an empty folder"]);
    assert_eq!(listing(folder.path()), ["mine.txt"]);
    evaluate(&folder.path().join("mine.txt"), &[]).expect(1, &["found a file"]);
}

#[test]
fn what_cannot_be_evaluated_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    told(&mut command(Path::new("/nowhere"), tiny(), &out, &[])).expect(1, &["/nowhere", "cohort"]);
    let without = write(&["t1", "t1ce", "t2", "flair"], false);
    told(&mut command(without.path(), tiny(), &out, &[])).expect(1, &["no masks.npy"]);
    let swapped = write(&["flair", "t1", "t1ce", "t2"], true);
    told(&mut command(swapped.path(), tiny(), &out, &[]))
        .expect(1, &["channels flair, t1, t1ce, t2, expected t1, t1ce, t2, flair"]);
    for (more, words) in [
        (&["--noise-level", "2", "--steps", "3"][..], "3 steps to noise level 2"),
        (&["--limit", "0"], "--limit 0"),
        (&["--batch", "0"], "batch 0"),
        (&["--spacing", "2"], "nothing to space"),
    ] {
        evaluate(&out, more).expect(2, &[words]);
    }
    assert!(listing(folder.path()).is_empty());
    run(&["evaluate", "--help"]).expect(0, &["Examples:", "Exit codes", "--limit"]);
}

#[test]
fn a_split_alone_is_scored() {
    let cohort = write(&["t1", "t1ce", "t2", "flair"], true);
    let splits = r#"{"format":1,"seed":0,"subjects":{"s000":"train","s001":"test","s002":"train"}}"#;
    fs::write(cohort.path().join("splits.json"), splits).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let split = |name| ["--batch", "2", "--split", name];
    told(&mut command(cohort.path(), tiny(), &out, &split("test"))).expect(0, &["six discs"]);
    let csv = csv(&out);
    let rows: Vec<_> = csv.lines().skip(2).collect();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.contains(",s001,")), "{csv}");
    // Another split is another run, and one without subjects is none.
    told(&mut command(cohort.path(), tiny(), &out, &split("train"))).expect(1, &["cohort"]);
    told(&mut command(cohort.path(), tiny(), &folder.path().join("none"), &split("validation")))
        .expect(1, &["'validation' has no subject"]);
}
