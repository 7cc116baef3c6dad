//! `sweep` and `roundtrip`: each point as a run of its own, figures, and what an interrupted run leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::evaluate::{cohort, evaluate, undisturbed, write};
use crate::support::{Run, anomalens, listing, npy, run, tiny, told, without_classifier};

const SWEEP: [&str; 6] = ["--levels", "3,2", "--scales", "100,0", "--batch", "2"];
const ROUNDTRIP: [&str; 4] = ["--levels", "2,3", "--batch", "2"];

fn command(verb: &str, cohort: &Path, bundle: &Path, out: &Path, more: &[&str]) -> assert_cmd::Command {
    let mut command = anomalens();
    command.arg(verb).arg(cohort).arg("--bundle").arg(bundle).arg("--out").arg(out);
    command.args(["--engine", "tract", "--threads", "1"]).args(more);
    command
}

fn sweep(out: &Path, more: &[&str]) -> Run {
    told(&mut command("sweep", cohort(), tiny(), out, more))
}

fn read(path: PathBuf) -> Vec<u8> {
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The results that do not depend on time.
const SAME: [&str; 3] = ["results.csv", "sweep.csv", "sweep.json"];

/// A sweep that nothing disturbed, two slices at once.
fn whole() -> &'static Path {
    static FOLDER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("out");
            sweep(&out, &SWEEP).expect(
                0,
                &[
                    "NOT FOR DIAGNOSTIC USE",
                    "steps to level 2: 2",
                    "4 points each",
                    "encoding goes up once",
                    "L \\ s",
                    "INTENSITY WINS",
                    "highest Dice",
                ],
            );
            (folder, out)
        })
        .1
}

/// The columns of one method in a table of slices.
fn columns(csv: &Path, method: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(csv).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let prefix = format!("{method}_");
    let places: Vec<usize> = (0..rows[0].len()).filter(|&i| rows[0][i].starts_with(&prefix)).collect();
    assert!(places.len() > 8, "{method} in {:?}", rows[0]);
    rows[1..].iter().map(|row| places.iter().map(|&i| row[i].to_owned()).collect()).collect()
}

#[test]
fn each_point_is_exactly_what_an_evaluation_of_its_own_gives() {
    let folder = tempfile::tempdir().unwrap();
    let ours = |part: usize| format!("parts/ours-{part:06}.npy");
    let point = |name: &str, part: usize| whole().join(format!("parts/{name}-{part:06}.npy"));
    for (level, scale) in [("2", "0"), ("3", "0"), ("3", "100")] {
        let out = folder.path().join(format!("{level}-{scale}"));
        let more = ["--noise-level", level, "--scale", scale, "--batch", "2"];
        evaluate(&out, &more).expect(0, &[]);
        let name = format!("L{level}_s{scale}");
        for part in 0..3 {
            assert_eq!(read(point(&name, part)), read(out.join(ours(part))), "{name}");
        }
        assert_eq!(columns(&whole().join("results.csv"), &name), columns(&out.join("results.csv"), "ours"));
    }
    // L = 2, s = 100; and other levels and scales are other images.
    assert_eq!(read(point("L2_s100", 0)), read(undisturbed().join(ours(0))));
    for other in ["L2_s0", "L3_s100"] {
        assert_ne!(read(point(other, 0)), read(undisturbed().join(ours(0))), "{other}");
    }
}

#[test]
fn shared_steps_are_those_of_separate_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (grid, alone) = (folder.path().join("grid"), folder.path().join("alone"));
    // Levels 0, 4, 8, 12: 8 is reached by two of three steps.
    sweep(&grid, &["--levels", "8,12", "--scales", "100", "--steps", "3", "--limit", "2"])
        .expect(0, &["steps to level 8: 2", "steps to level 12: 3", "12 (j/3)"]);
    evaluate(&alone, &["--noise-level", "8", "--steps", "2", "--limit", "2"]).expect(0, &[]);
    let ours = read(alone.join("parts/ours-000000.npy"));
    assert_eq!(read(grid.join("parts/L8_s100-000000.npy")), ours);
    assert_ne!(read(grid.join("parts/L12_s100-000000.npy")), ours);
}

#[test]
fn a_grid_is_run_by_the_solver_and_within_the_interval_that_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (grid, alone) = (folder.path().join("grid"), folder.path().join("alone"));
    let path = ["--steps", "3", "--solver", "ab2", "--guidance-interval", "3:9", "--limit", "2"];
    let told = ["solver: ab2", "guidance interval: noise levels 3 to 9"];
    sweep(&grid, &[&["--levels", "12", "--scales", "100"], &path[..]].concat()).expect(0, &told);
    evaluate(&alone, &[&["--noise-level", "12"], &path[..]].concat())
        .expect(0, &["solver ab2", "noise levels 3 to 9"]);
    let ours = read(alone.join("parts/ours-000000.npy"));
    assert_eq!(read(grid.join("parts/L12_s100-000000.npy")), ours);
    for (i, other) in
        [&["--solver", "euler"][..], &["--guidance-interval", "0:12"], &["--exact"]].iter().enumerate()
    {
        let mut more = vec!["--noise-level", "12", "--limit", "2"];
        let kept = path[..6].chunks(2).filter(|pair| other[0] != "--exact" && pair[0] != other[0]);
        more.extend(kept.flatten());
        more.extend(*other);
        evaluate(&alone, &more).expect(1, &["choose another --out"]);
        let out = folder.path().join(i.to_string());
        evaluate(&out, &more).expect(0, &[]);
        assert_ne!(read(out.join("parts/ours-000000.npy")), ours, "{other:?}");
    }
}

#[test]
fn scores_plots_and_pictures_are_written() {
    let expected = [
        "channels.png",
        "curves.png",
        "curves.svg",
        "grid.png",
        "grid.svg",
        "healthy.png",
        "levels.png",
        "parts",
        "report.html",
        "results.csv",
        "scales.png",
        "sweep.csv",
        "sweep.json",
        "timings.json",
    ];
    assert_eq!(listing(whole()), expected);
    let summary: Value = serde_json::from_slice(&read(whole().join("sweep.json"))).unwrap();
    let points = summary["points"].as_array().unwrap();
    let place = |point: &Value| (point["noise_level"].as_u64(), point["gradient_scale"].as_f64());
    let places: Vec<_> = points.iter().map(place).collect();
    let pair = |level, scale| (Some(level), Some(scale));
    assert_eq!(places, [pair(2, 0.0), pair(2, 100.0), pair(3, 0.0), pair(3, 100.0)]);
    assert_eq!((&summary["notice"], &points[0]["steps"]), (&"NOT FOR DIAGNOSTIC USE".into(), &2.into()));
    // The figures are the evaluation's.
    let evaluated: Value = serde_json::from_slice(&read(undisturbed().join("summary.json"))).unwrap();
    assert_eq!(points[1]["figures"], evaluated["methods"][0]["figures"]);
    assert_ne!(points[3]["figures"], evaluated["methods"][0]["figures"]);
    assert_eq!(summary["baselines"][0]["figures"], evaluated["methods"][1]["figures"]);
    let dice = |point: &Value| point["figures"]["dice_otsu"]["value"].as_f64().unwrap();
    let best = points.iter().find(|point| place(point) == place(&summary["best"])).unwrap();
    assert!(points.iter().all(|point| dice(point) <= dice(best)));
    let csv = fs::read_to_string(whole().join("sweep.csv")).unwrap();
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 2 + 4 + 2, "{csv}");
    assert!(lines[3].starts_with(&format!("ours,2,100,2,{:.6},", dice(&points[1]))), "{csv}");
    assert!(lines[6].starts_with("threshold,,,,"), "{csv}");
    let svg = fs::read_to_string(whole().join("curves.svg")).unwrap();
    for words in ["<svg", "not for diagnostic use", "L = 2", "L = 3", "threshold", "gradient scale s"] {
        assert!(svg.contains(words), "no {words} in {svg}");
    }
    for name in expected.iter().filter(|name| name.ends_with(".png")) {
        let picture = image::open(whole().join(name)).unwrap();
        assert!(picture.width() > 500 && picture.height() > 300, "{name}");
    }
    let page = fs::read_to_string(whole().join("report.html")).unwrap();
    assert_eq!((page.matches("data:image/svg").count(), page.matches("data:image/png").count()), (2, 4));
    assert!(page.contains("INTENSITY WINS") && page.contains("chosen by these masks"), "{page}");
    for outside in ["http://", "https://", "<script", "url("] {
        assert!(!page.contains(outside), "found {outside}");
    }
}

#[test]
fn an_interrupted_grid_is_continued_point_by_point() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("parts")).unwrap();
    for name in listing(&whole().join("parts")) {
        fs::copy(whole().join("parts").join(&name), out.join("parts").join(&name)).unwrap();
    }
    // The last point of a batch is torn, another is spoilt.
    fs::remove_file(out.join("parts/L3_s100-000001.json")).unwrap();
    fs::write(out.join("parts/L2_s0-000002.npy"), b"spoilt").unwrap();
    let kept = fs::metadata(out.join("parts/L3_s0-000001.npy")).unwrap().modified().unwrap();
    sweep(&out, &SWEEP).expect(0, &["slices: 6, of which 2 are done", "L2_s0-000002.json", "made again"]);
    for name in SAME {
        assert_eq!(read(out.join(name)), read(whole().join(name)), "{name}");
    }
    let now = fs::metadata(out.join("parts/L3_s0-000001.npy")).unwrap().modified().unwrap();
    assert_eq!(kept, now, "a point that was there is not made again");
    for (more, words) in [
        (["--levels", "2,3", "--scales", "0", "--batch", "2"], "gradient scales 0, 100, now it is 0"),
        (["--levels", "2", "--scales", "0,100", "--batch", "2"], "noise levels 2, 3, now it is 2"),
    ] {
        sweep(&out, &more).expect(1, &[words, "choose another --out"]);
    }
    evaluate(&out, &["--batch", "2"]).expect(1, &["choose another --out"]);
}

#[test]
#[cfg(unix)]
fn a_grid_that_was_stopped_or_killed_goes_on_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--levels", "4,8", "--scales", "0,100", "--batch", "3"];
    let undisturbed = folder.path().join("whole");
    sweep(&undisturbed, &more).expect(0, &["of which 0 are done"]);
    for (signal, code) in [("-INT", Some(1)), ("-KILL", None)] {
        let out = folder.path().join(signal);
        let command = command("sweep", cohort(), tiny(), &out, &more);
        let part = out.join("parts/L4_s0-000000.json");
        let (found, said) = crate::evaluate::ended_by(signal, &command, &part, &out.join("sweep.csv"));
        assert_eq!(found, code, "{said}");
        if signal == "-INT" {
            assert!(said.contains("slices are kept") && said.contains("the same command goes on"), "{said}");
        }
        sweep(&out, &more).expect(0, &["4 points each"]);
        for name in SAME {
            assert_eq!(read(out.join(name)), read(undisturbed.join(name)), "{name}");
        }
    }
}

#[test]
fn parts_of_a_grid_are_put_together_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let part = |i: usize| folder.path().join(format!("part-{i}"));
    for i in 1..=2 {
        let shard = format!("{i}/2");
        let more: Vec<_> = SWEEP.into_iter().chain(["--shard", shard.as_str()]).collect();
        sweep(&part(i), &more).expect(0, &["anomalens merge"]);
        assert_eq!(listing(&part(i)), ["parts"]);
    }
    let out = folder.path().join("out");
    told(anomalens().arg("merge").args([part(1), part(2)]).arg("--out").arg(&out))
        .expect(0, &["merged: 6 slices of 2 parts", "highest Dice"]);
    for name in SAME {
        assert_eq!(read(out.join(name)), read(whole().join(name)), "{name}");
    }
}

/// The mean and the largest of |x_0 - x| over the cohort, from the parts of an evaluation without guidance.
fn errors(parts: &Path, name: &str) -> (f64, f64) {
    let images = npy(&cohort().join("images.npy"));
    let (mut sum, mut most, mut n) = (0.0, 0.0f64, 0);
    for part in 0..3 {
        let file = parts.join(format!("{name}-{part:06}.npy"));
        let items: Value = serde_json::from_slice(&read(file.with_extension("json"))).unwrap();
        let healthy = npy(&file);
        for (place, item) in items["items"].as_array().unwrap().iter().enumerate() {
            let image = images.index_axis(ndarray::Axis(0), item.as_u64().unwrap() as usize);
            let back = healthy.index_axis(ndarray::Axis(0), place);
            for (a, b) in back.iter().zip(&image) {
                let error = f64::from((a - b).abs());
                (sum, most, n) = (sum + error, most.max(error), n + 1);
            }
        }
    }
    (sum / f64::from(n), most)
}

#[test]
fn round_trips_are_measured_against_the_images() {
    /// The table has eight decimals.
    const TOLERANCE: f64 = 1e-8;
    let folder = tempfile::tempdir().unwrap();
    // Masks are of no use to it.
    let plain = write(&["t1", "t1ce", "t2", "flair"], false);
    let out = folder.path().join("out");
    told(&mut command("roundtrip", plain.path(), tiny(), &out, &ROUNDTRIP))
        .expect(0, &["2 points each", "mean inside the region", "gradient scales: 0 (no guidance)"]);
    let expected = ["curve.png", "curve.svg", "parts", "roundtrip.csv", "roundtrip.json", "slice.png"];
    assert_eq!(listing(&out), expected);
    let csv = fs::read_to_string(out.join("roundtrip.csv")).unwrap();
    let rows: Vec<Vec<f64>> =
        csv.lines().skip(2).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect();
    assert_eq!(rows.len(), 2, "{csv}");
    for (row, level) in rows.iter().zip(["2", "3"]) {
        let alone = folder.path().join(level);
        evaluate(&alone, &["--noise-level", level, "--scale", "0", "--batch", "2"]).expect(0, &[]);
        let (mean, most) = errors(&alone.join("parts"), "ours");
        let (other, _) = errors(&whole().join("parts"), if level == "2" { "L3_s0" } else { "L2_s0" });
        assert!((row[2] - mean).abs() <= TOLERANCE && (row[5] - most).abs() <= TOLERANCE, "{level}: {csv}");
        assert!((row[2] - other).abs() > 1e-6, "another level's are others");
        // The discs are a part of the image, and the rest is 0.
        assert!(row[3] != row[2] && row[4] >= row[3] && row[5] >= row[4], "{csv}");
    }
    let summary: Value = serde_json::from_slice(&read(out.join("roundtrip.json"))).unwrap();
    assert_eq!((&summary["levels"][1]["noise_level"], &summary["slices"]), (&3.into(), &6.into()));
    told(&mut command("roundtrip", plain.path(), tiny(), &out, &ROUNDTRIP))
        .expect(0, &["of which 6 are done"]);
    assert_eq!(fs::read_to_string(out.join("roundtrip.csv")).unwrap(), csv);
}

#[test]
fn what_cannot_be_swept_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (more, words) in [
        (&["--levels", "0,2", "--scales", "1"][..], "level 0"),
        (&["--levels", "2,1001", "--scales", "1"], "noise level 1001, expected 1..=1000"),
        (&["--levels", "2", "--scales", "1", "--steps", "3"], "3 steps to noise level 2"),
        (&["--levels", "2", "--scales=-1"], "gradient scale -1, expected a finite number"),
        (&["--levels", "2", "--scales", "1", "--limit", "0"], "--limit 0"),
        (&["--levels", "2", "--scales", "1", "--batch", "0"], "batch 0"),
        (&["--levels", "2", "--scales", "1", "--spacing", "2"], "nothing to space"),
        (&["--levels", "2"], "--scales"),
        (&["--scales", "1"], "--levels"),
        (&["--levels", "a", "--scales", "1"], "invalid value"),
    ] {
        sweep(&out, more).expect(2, &[words]);
    }
    let no_guide = ["--unverified", "--levels", "2", "--scales", "0,1"];
    told(&mut command("sweep", cohort(), without_classifier(), &out, &no_guide))
        .expect(2, &["has no classifier: gradient scale 1"]);
    let without = write(&["t1", "t1ce", "t2", "flair"], false);
    told(&mut command("sweep", without.path(), tiny(), &out, &SWEEP)).expect(1, &["no masks.npy"]);
    assert!(listing(folder.path()).is_empty());
    for verb in ["sweep", "roundtrip"] {
        run(&[verb, "--help"]).expect(0, &["Examples:", "Exit codes", "--levels"]);
    }
}
