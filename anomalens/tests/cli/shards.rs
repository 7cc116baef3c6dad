//! `evaluate --shard` and `merge`: parts of an evaluation make the same scores as a whole one.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::evaluate::{RESULTS, cohort, command, evaluate, undisturbed, write};
use crate::support::{Run, anomalens, listing, run, tiny, told};

/// Translates every part of `of` in a folder of its own.
fn parts(folder: &TempDir, of: usize, more: &[&str]) -> Vec<PathBuf> {
    (1..=of)
        .map(|number| {
            let (out, shard) = (folder.path().join(format!("part-{number}")), format!("{number}/{of}"));
            let more: Vec<_> =
                ["--batch", "2", "--shard", &shard].into_iter().chain(more.iter().copied()).collect();
            evaluate(&out, &more).expect(0, &[&format!("part {shard}: its"), "anomalens merge"]);
            assert_eq!(listing(&out), ["parts"], "a part has no scores");
            out
        })
        .collect()
}

fn merge(parts: &[PathBuf], out: &Path, more: &[&str]) -> Run {
    told(anomalens().arg("merge").args(parts).arg("--out").arg(out).args(more))
}

/// The results that say nothing of when they were made.
fn bytes(out: &Path) -> Vec<Vec<u8>> {
    ["results.csv", "volumes.csv", "summary.json"].map(|name| fs::read(out.join(name)).unwrap()).to_vec()
}

#[test]
fn parts_score_as_the_whole_to_the_last_byte() {
    // Three batches: in one part, in two, and in four, of which one is empty.
    for of in [1, 2, 4] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("merged");
        let made = if of == 1 { vec![undisturbed().to_owned()] } else { parts(&folder, of, &[]) };
        merge(&made, &out, &[]).expect(0, &["merged: 6 slices", "THRESHOLD WINS"]);
        assert_eq!(listing(&out), RESULTS);
        assert!(bytes(&out) == bytes(undisturbed()), "{of} parts score as no whole does");
        // The same again changes nothing, and the merged folder is as good as that of one run.
        merge(&made, &out, &[]).expect(0, &[]);
        evaluate(&out, &["--batch", "2"]).expect(0, &["slices: 6, of which 6 are done"]);
        assert!(bytes(&out) == bytes(undisturbed()), "{of} parts, scored again");
    }
    // The order in which parts are named is of no account; another batch is, by its rounding.
    let folder = tempfile::tempdir().unwrap();
    let mut made = parts(&folder, 3, &[]);
    made.reverse();
    merge(&made, &folder.path().join("merged"), &[]).expect(0, &[]);
    assert!(bytes(&folder.path().join("merged")) == bytes(undisturbed()));
    evaluate(&folder.path().join("other"), &["--batch", "3"]).expect(0, &[]);
    assert!(bytes(&folder.path().join("other")) != bytes(undisturbed()));
}

#[test]
fn parts_that_make_no_whole_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let made = parts(&folder, 3, &[]);
    let out = folder.path().join("merged");
    let other = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        evaluate(&out, more).expect(0, &[]);
        out
    };
    let [one, two, three] = made.as_slice() else { panic!("three parts") };
    let twin = other("twin", &["--batch", "2", "--shard", "2/3"]);
    let of_two = other("of-two", &["--batch", "2", "--shard", "2/2"]);
    let scaled = other("scaled", &["--batch", "2", "--shard", "3/3", "--scale", "3"]);
    let limited = other("limited", &["--batch", "2", "--shard", "3/3", "--limit", "5"]);
    for (parts, words) in [
        (vec![one, two], &["found 2 of 3 shards", "missing: 3/3"][..]),
        (vec![two], &["missing: 1/3, 3/3"]),
        (vec![one, two, three, &twin], &["twin", "shard 2/3, as is", "part-2", "leave one"]),
        (vec![one, &of_two, three], &["of-two", "number of shards 2, expected 3"]),
        (vec![one, two, &scaled], &["scaled", "gradient scale 3, expected 100"]),
        (vec![one, two, &limited], &["limited", "--limit 5, expected none"]),
        (vec![one, two, &folder.path().join("nowhere")], &["nowhere", "found no parts/settings.json"]),
    ] {
        let parts: Vec<_> = parts.into_iter().cloned().collect();
        merge(&parts, &out, &[]).expect(1, words);
        assert!(!out.exists(), "{words:?}");
    }

    // Unfinished, spoilt, and of another cohort.
    fs::remove_file(two.join("parts/ours-000001.json")).unwrap();
    merge(&made, &out, &[]).expect(1, &["part-2", "0 of 2 slices of shard 2/3", "its command again"]);
    evaluate(two, &["--batch", "2", "--shard", "2/3"]).expect(0, &[]);
    fs::write(three.join("parts/ours-000002.npy"), b"spoilt").unwrap();
    merge(&made, &out, &[]).expect(1, &["part-3", "0 of 2 slices", "has changed"]);
    evaluate(three, &["--batch", "2", "--shard", "3/3"]).expect(0, &[]);
    fs::write(one.join("parts/settings.json"), b"{").unwrap();
    merge(&made, &out, &[]).expect(1, &["part-1", "settings.json"]);
    fs::copy(two.join("parts/settings.json"), one.join("parts/settings.json")).unwrap();
    merge(&made, &out, &[]).expect(1, &["shard 2/3, as is"]);
    assert!(!out.exists());
    run(&["merge", "--out", "x"]).expect(2, &["<OUT>"]);
    run(&["merge", "--help"]).expect(0, &["Examples:", "Exit codes"]);
}

#[test]
fn a_part_is_no_other_part() {
    let folder = tempfile::tempdir().unwrap();
    let out = parts(&folder, 2, &[]).remove(0);
    for (more, words) in [
        (&["--batch", "2", "--shard", "2/2"][..], "shard 1/2, now it is 2/2"),
        (&["--batch", "2"], "shard 1/2, now it is none"),
    ] {
        evaluate(&out, more).expect(1, &[words]);
    }
    for shard in ["0/2", "3/2", "2", "a/b"] {
        evaluate(&out, &["--shard", shard]).expect(2, &["expected i/n"]);
    }
}

#[test]
fn an_array_job_says_which_part() {
    let folder = tempfile::tempdir().unwrap();
    let slurm = |id: &str, out: &str| {
        let mut command = command(cohort(), tiny(), &folder.path().join(out), &["--batch", "2"]);
        command.env("SLURM_ARRAY_TASK_COUNT", "2").env("SLURM_ARRAY_TASK_MIN", "7");
        told(command.env("SLURM_ARRAY_TASK_ID", id))
    };
    slurm("7", "one").expect(0, &["part 1/2: --shard 1/1 would do all of it", "slices: 4"]);
    slurm("8", "two").expect(0, &["part 2/2", "slices: 2"]);
    slurm("9", "three").expect(2, &["SLURM_ARRAY_TASK_ID=9", "--shard i/n"]);
    let mut pod = command(cohort(), tiny(), &folder.path().join("pod"), &["--batch", "2"]);
    told(pod.env("JOB_COMPLETION_INDEX", "0")).expect(2, &["ANOMALENS_SHARDS is not"]);
    let parts = ["one", "two"].map(|name| folder.path().join(name));
    merge(&parts, &folder.path().join("merged"), &[]).expect(0, &[]);
    assert!(bytes(&folder.path().join("merged")) == bytes(undisturbed()));
}

#[test]
fn a_cohort_that_has_moved_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let cohort = write(&["t1", "t1ce", "t2", "flair"], true);
    let part = folder.path().join("part");
    told(&mut command(cohort.path(), tiny(), &part, &["--batch", "3", "--shard", "1/1"])).expect(0, &[]);
    let moved = folder.path().join("moved");
    fs::rename(cohort.path(), &moved).unwrap();
    let (out, parts) = (folder.path().join("merged"), [part.clone()]);
    merge(&parts, &out, &[]).expect(1, &["cohort"]);
    merge(&parts, &out, &["--cohort", moved.to_str().unwrap()]).expect(0, &[]);
    assert!(bytes(&out) == bytes(&part));
    // Another cohort in its place is not taken for it.
    let text = fs::read_to_string(moved.join("cohort.json")).unwrap();
    fs::write(moved.join("cohort.json"), text.replace("six discs", "other discs")).unwrap();
    merge(&parts, &out, &["--cohort", moved.to_str().unwrap()]).expect(1, &["fingerprint", "--cohort"]);
}
