//! A run that is cut off goes on as if nothing had happened: the same weights, byte for byte.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value};
use support::{Place, checkpoints, half_written, listing, run, start};

/// Enough steps for a kill to fall into training and not only into the program's start.
const STEPS: [&str; 6] = ["--iterations", "120", "--checkpoint-every", "7", "--log-every", "7"];
/// How often each run is killed.
const KILLS: usize = 4;

/// The settings to try; bf16 only where the processor has units for it.
fn precisions() -> Vec<&'static str> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = info.split_whitespace().any(|flag| flag == "avx512_bf16" || flag == "amx_bf16");
    if !has {
        eprintln!("SKIPPED bf16: the processor has no units for it");
    }
    if has { vec!["f32", "bf16"] } else { vec!["f32"] }
}

/// A seed for the moments of the kills: `ANOMALENS_TEST_SEED`, or the clock's.
fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = std::env::var("ANOMALENS_TEST_SEED").map_or_else(|_| clock(), |text| text.parse().unwrap());
    println!("ANOMALENS_TEST_SEED={seed}");
    seed
}

/// The lines of metrics.jsonl without the one figure that a clock makes.
fn metrics(run: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line| {
        let mut line: Map<String, Value> = serde_json::from_str(line).unwrap();
        assert!(line.shift_remove("images_per_second").is_some());
        line
    };
    text.lines().map(line).collect()
}

/// How two complete runs differ, or nothing.
fn difference(network: &str, a: &Path, b: &Path) -> Option<String> {
    let name = format!("{network}.safetensors");
    let read = |run: &Path| fs::read(run.join(&name)).unwrap();
    if read(a) != read(b) {
        return Some(name);
    }
    let (a, b) = (metrics(a), metrics(b));
    let other = a.iter().zip(&b).find(|(a, b)| a != b);
    match other {
        Some((a, b)) => Some(format!("metrics.jsonl: {a:?} against {b:?}")),
        None => (a.len() != b.len()).then(|| format!("metrics.jsonl: {} lines against {}", a.len(), b.len())),
    }
}

/// Runs a command to its end, in which it succeeds, and says how long it took.
fn complete(mut command: Command) -> Duration {
    let begun = Instant::now();
    let (code, text) = run(&mut command);
    assert!(code == 0 && text.contains("complete: "), "{text}");
    begun.elapsed()
}

/// The name of the newest checkpoint.
fn newest(run: &Path) -> String {
    let last = checkpoints(run).pop();
    last.map_or("none".into(), |path| path.file_name().unwrap().to_str().unwrap().to_owned())
}

#[test]
fn killed_runs_end_in_the_same_bytes() {
    let mut random = StdRng::seed_from_u64(seed());
    // Checkpoints fall within the cycles of the last one's critic and generator.
    for network in ["ddpm", "classifier", "vae", "fpgan"] {
        for precision in precisions() {
            let case = format!("{network} {precision}");
            let place = Place::new();
            // Every kind of state: an average, a falling rate, clipped gradients.
            let mut options = STEPS.to_vec();
            options.extend([
                "--precision",
                precision,
                "--ema",
                "0.9",
                "--cosine",
                "0.5",
                "--clip-gradient",
                "1",
            ]);
            let train = |run: &str, seed: &str| {
                let mut options = options.clone();
                options.extend(["--seed", seed]);
                place.train(network, run, &options)
            };
            let whole = place.path("whole");
            let took = complete(train("whole", "1"));

            let killed = place.path("killed");
            let mut hit = 0;
            for _ in 0..KILLS {
                let mut child = start(&mut train("killed", "1"));
                // Start-up is short against training, and each start leaves less to do.
                sleep(took.mul_f64(random.random_range(0.1..0.6)));
                hit += usize::from(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
                child.wait().unwrap();
                println!("{case}: killed; newest checkpoint {}", newest(&killed));
                if killed.join(format!("{network}.safetensors")).exists() {
                    break;
                }
            }
            assert!(hit > 0, "{case}: ended each time before it was killed");
            complete(train("killed", "1"));
            assert_eq!(difference(network, &whole, &killed), None, "{case}");
            assert_eq!(half_written(&killed), Vec::<String>::new(), "{case}");
            assert_eq!(checkpoints(&killed).len(), 2, "{case}: {:?}", checkpoints(&killed));

            // The comparer notices another seed.
            complete(train("other", "2"));
            assert_eq!(
                difference(network, &whole, &place.path("other")),
                Some(format!("{network}.safetensors"))
            );
        }
    }
}

/// Ctrl-C writes a checkpoint at once, and says how to go on.
#[test]
#[cfg(unix)]
fn interrupted_runs_end_in_the_same_bytes() {
    for network in ["ddpm", "classifier", "vae", "fpgan"] {
        let place = Place::new();
        let options =
            ["--iterations", "120", "--checkpoint-every", "50", "--log-every", "1", "--precision", "f32"];
        let train = |run: &str| place.train(network, run, &options);
        complete(train("whole"));

        let stopped = place.path("stopped");
        let metrics_file = stopped.join("metrics.jsonl");
        let child = train("stopped")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while fs::metadata(&metrics_file).map_or(0, |m| m.len()) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(300), "no step in five minutes");
            sleep(Duration::from_millis(2));
        }
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let checkpoint = checkpoints(&stopped).pop().unwrap();
        for part in [
            "writing a checkpoint",
            "stopped after step",
            "give the same command again",
            checkpoint.to_str().unwrap(),
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!stopped.join(format!("{network}.safetensors")).exists(), "not all steps were done: {text}");

        complete(train("stopped"));
        assert_eq!(difference(network, &place.path("whole"), &stopped), None);
    }
}

#[test]
fn a_complete_run_started_again_does_nothing() {
    let place = Place::new();
    let options = ["--iterations", "3", "--log-every", "1"];
    complete(place.train("ddpm", "run", &options));
    let state = || {
        let run = place.path("run");
        let files = listing(&run).into_iter().map(|name| run.join(name)).chain(checkpoints(&run));
        files.map(|file| (fs::metadata(&file).unwrap().modified().unwrap(), file)).collect::<Vec<_>>()
    };
    let before = state();
    assert!(before.len() >= 6, "{before:?}");
    complete(place.train("ddpm", "run", &options));
    assert_eq!(state(), before);
    // Where the result is lost, the last checkpoint gives it back.
    let result = place.path("run/ddpm.safetensors");
    let bytes = fs::read(&result).unwrap();
    fs::remove_file(&result).unwrap();
    complete(place.train("ddpm", "run", &options));
    assert_eq!(fs::read(&result).unwrap(), bytes);
}
