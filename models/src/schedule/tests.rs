use std::path::{Path, PathBuf};

use ndarray::Array1;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn schedule(kind: ScheduleKind, timesteps: usize) -> Schedule {
    Schedule::new(&ScheduleSpec { kind, timesteps }).unwrap()
}

fn linear1000() -> Schedule {
    schedule(ScheduleKind::Linear, 1000)
}

fn numbers(levels: &[NoiseLevel]) -> Vec<usize> {
    levels.iter().map(|l| l.get()).collect()
}

/// ᾱ by the reference's index k, which is level k + 1.
fn by_index(schedule: &Schedule, k: usize) -> f64 {
    schedule.alpha_bar(Timestep::new(k).level()).unwrap()
}

#[test]
fn linear_schedule_equals_the_reference_bit_by_bit() {
    let schedule = linear1000();
    for (k, expected) in [
        (0, 0.9999),
        (1, 0.9997800920720721),
        (249, 0.5240853738253606),
        (499, 0.07858724288177824),
        (500, 0.07779665836502389),
        (999, 4.035829765375676e-05),
    ] {
        assert_eq!(by_index(&schedule, k), expected, "alphas_cumprod[{k}] of the reference");
    }
    let bytes: Vec<u8> = (0..1000).flat_map(|k| by_index(&schedule, k).to_le_bytes()).collect();
    let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    // alphas_cumprod of guided-diffusion, little-endian f64.
    assert_eq!(sha256, "781933865cefafac876e7252ba008978c9695a2e2debb6b8487f7b3c001b852b");
}

#[test]
fn linear_schedule_equals_the_golden_file() {
    let Ok(golden) = std::env::var("ANOMALENS_GOLDEN") else {
        eprintln!("ANOMALENS_GOLDEN is not set: the SHA-256 test beside this one stands for it");
        return;
    };
    let path = PathBuf::from(golden).join("schedule_linear1000_alphas_cumprod_f64.npy");
    let expected: Array1<f64> = ndarray_npy::read_npy(&path).unwrap();
    let schedule = linear1000();
    let worst = (0..1000).map(|k| (by_index(&schedule, k) - expected[k]).abs()).fold(0.0, f64::max);
    assert_eq!(expected.len(), 1000);
    assert!(worst <= 1e-12, "largest difference {worst:e}");
}

#[test]
fn committed_oracle_agrees_about_levels_and_network_indices() {
    let meta = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny/ddim/meta.json");
    let meta: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(meta).unwrap()).unwrap();
    let schedule = linear1000();
    let l = NoiseLevel::new(4);
    for (run, trajectory) in [
        ("full1000", Trajectory::every(&schedule, l).unwrap()),
        ("ddim10", Trajectory::respaced(&schedule, Respacing::new(10), l).unwrap()),
    ] {
        let expected = &meta["runs"][run];
        let (alpha_bars, timesteps) = (&expected["alpha_bar_levels"], &expected["network_timestep_of_level"]);
        assert_eq!(trajectory.levels().len(), alpha_bars.as_array().unwrap().len(), "{run}");
        for (i, level) in trajectory.levels().iter().enumerate() {
            let difference = schedule.alpha_bar(*level).unwrap() - alpha_bars[i].as_f64().unwrap();
            assert!(difference.abs() <= 1e-12, "{run}: alpha_bar of level {level} is off by {difference:e}");
            assert_eq!(level.timestep().get() as u64, timesteps[i].as_u64().unwrap(), "{run}: level {level}");
        }
    }
}

#[test]
fn cosine_schedule_equals_its_formula() {
    // Without the clip of β the product telescopes to f(i/T) / f(0); the clip touches the last step alone.
    let schedule = schedule(ScheduleKind::Cosine, 1000);
    let f = |t: f64| ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
    for level in [1, 10, 500, 999] {
        let found = schedule.alpha_bar(NoiseLevel::new(level)).unwrap();
        assert!((found - f(level as f64 / 1000.0) / f(0.0)).abs() <= 1e-12, "level {level}: {found}");
    }
    let (before, last) = (schedule.alpha_bar(NoiseLevel::new(999)).unwrap(), by_index(&schedule, 999));
    assert!((last / before - 0.001).abs() <= 1e-12, "beta is at most 0.999, found {}", 1.0 - last / before);
}

#[test]
fn respacing_keeps_the_steps_of_the_smallest_stride() {
    struct Case {
        count: usize,
        first: [usize; 3],
        last: usize,
    }
    for case in [
        Case { count: 1000, first: [0, 1, 2], last: 999 },
        Case { count: 500, first: [0, 2, 4], last: 998 },
        Case { count: 20, first: [0, 50, 100], last: 950 },
        Case { count: 10, first: [0, 100, 200], last: 900 },
        Case { count: 334, first: [0, 3, 6], last: 999 },
    ] {
        let kept = Respacing::new(case.count).timesteps(1000).unwrap();
        assert_eq!(kept.len(), case.count);
        let first: Vec<_> = kept[..3].iter().map(|t| t.get()).collect();
        assert_eq!(
            (first.as_slice(), kept[kept.len() - 1].get()),
            (&case.first[..], case.last),
            "ddim{}",
            case.count
        );
    }
}

#[test]
fn impossible_respacings_say_what_is_possible() {
    // These raise in the reference too.
    for count in [0, 1, 300, 333, 999, 1001] {
        match Respacing::new(count).timesteps(1000) {
            Err(ScheduleError::RespacingCount { found, timesteps: 1000, possible }) => {
                assert_eq!(found, count);
                assert!(
                    [2, 10, 20, 250, 334, 500, 1000].iter().all(|n| possible.contains(n)),
                    "{possible:?}"
                );
                assert!(possible.iter().all(|n| Respacing::new(*n).timesteps(1000).is_ok()));
            }
            other => panic!("ddim{count}: {other:?}"),
        }
    }
    for text in ["", "10", "ddim", "ddim-1", "ddim+1", "ddim1e2", "DDIM10", "ddim10 "] {
        let error = text.parse::<Respacing>().unwrap_err();
        assert_eq!(error, ScheduleError::RespacingText { found: text.to_owned() });
    }
    assert_eq!("ddim10".parse(), Ok(Respacing::new(10)));
}

#[test]
fn trajectories_list_the_levels() {
    let schedule = linear1000();
    let l = NoiseLevel::new;
    assert_eq!(numbers(Trajectory::every(&schedule, l(3)).unwrap().levels()), [0, 1, 2, 3]);
    assert_eq!(numbers(Trajectory::steps(&schedule, l(10), 4).unwrap().levels()), [0, 3, 5, 8, 10]);
    assert_eq!(Trajectory::steps(&schedule, l(1000), 1000), Trajectory::every(&schedule, l(1000)));
    let respaced = Trajectory::respaced(&schedule, Respacing::new(10), l(4)).unwrap();
    assert_eq!(numbers(respaced.levels()), [0, 1, 101, 201, 301]);
    assert_eq!(respaced.last(), l(301));
}

#[test]
fn spaced_trajectories_crowd_near_the_clean_image() {
    let (schedule, l) = (linear1000(), NoiseLevel::new);
    let spaced = |level, n, p| numbers(Trajectory::spaced(&schedule, l(level), n, p).unwrap().levels());
    // round(500 (j/5)^2) and round(100 (j/4)^1.5), by hand.
    assert_eq!(spaced(500, 5, 2.0), [0, 20, 80, 180, 320, 500]);
    assert_eq!(spaced(100, 4, 1.5), [0, 13, 35, 65, 100]);
    // Rounding alone would give 0, 0, 1, 3, 6, 10: no step may stand still.
    assert_eq!(spaced(10, 5, 2.0), [0, 1, 2, 4, 6, 10]);
    assert_eq!(spaced(6, 6, 4.0), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(spaced(7, 1, 3.0), [0, 7]);
}

#[test]
fn equal_spacing_rounds_halves_upwards_exactly() {
    // The definition in whole numbers; the floating-point one must not miss a half.
    let schedule = linear1000();
    for level in (1..=1000).step_by(7).chain([500, 1000]) {
        for n in 1..=level {
            let expected: Vec<_> = (0..=n).map(|i| (2 * level * i + n) / (2 * n)).collect();
            let found = Trajectory::steps(&schedule, NoiseLevel::new(level), n).unwrap();
            assert_eq!(numbers(found.levels()), expected, "{n} steps to {level}");
        }
    }
}

#[test]
fn impossible_spacings_are_refused() {
    let spaced = |n, p| Trajectory::spaced(&linear1000(), NoiseLevel::new(5), n, p);
    for p in [0.0, 0.99, 4.01, -1.0, f64::NAN, f64::INFINITY] {
        let error = spaced(2, p).unwrap_err();
        assert!(matches!(error, ScheduleError::Spacing { .. }), "{p}: {error}");
        assert!(error.to_string().contains("from 1 to 4"), "{error}");
    }
    assert_eq!(spaced(6, 2.0), Err(ScheduleError::Steps { found: 6, level: 5 }));
    assert_eq!(spaced(0, 2.0), Err(ScheduleError::Steps { found: 0, level: 5 }));
}

#[test]
fn impossible_levels_and_steps_are_refused() {
    let (schedule, l) = (linear1000(), NoiseLevel::new);
    let ddim10 = Respacing::new(10);
    assert_eq!(Trajectory::every(&schedule, l(0)), Err(ScheduleError::NothingToDo { most: 1000 }));
    let error = Trajectory::every(&schedule, l(1001)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "noise level 1001, expected 1..=1000 (T = 1000); choose a lower --noise-level"
    );
    assert_eq!(Trajectory::steps(&schedule, l(5), 6), Err(ScheduleError::Steps { found: 6, level: 5 }));
    assert_eq!(Trajectory::steps(&schedule, l(5), 0), Err(ScheduleError::Steps { found: 0, level: 5 }));
    assert_eq!(Trajectory::respaced(&schedule, ddim10, l(0)), Err(ScheduleError::NothingToDo { most: 10 }));
    let error = Trajectory::respaced(&schedule, ddim10, l(11)).unwrap_err();
    assert!(matches!(error, ScheduleError::LevelTooHigh { found: 11, most: 10, .. }), "{error}");
    let spec = |timesteps| ScheduleSpec { kind: ScheduleKind::Linear, timesteps };
    assert_eq!(Schedule::new(&spec(0)), Err(ScheduleError::Empty));
    assert!(matches!(Schedule::new(&spec(20)), Err(ScheduleError::Beta { .. })));
}

proptest! {
    #[test]
    fn steps_increase_strictly_from_clean_to_the_level(level in 1usize..=1000, part in 0.0f64..1.0) {
        let n = 1 + ((level - 1) as f64 * part) as usize;
        let trajectory = Trajectory::steps(&linear1000(), NoiseLevel::new(level), n).unwrap();
        let levels = numbers(trajectory.levels());
        prop_assert_eq!(levels.len(), n + 1);
        prop_assert_eq!((levels[0], levels[n]), (0, level));
        prop_assert!(levels.windows(2).all(|w| w[0] < w[1]));
        prop_assert!((0..=n).all(|i| (levels[i] as f64 - (level * i) as f64 / n as f64).abs() <= 0.5));
    }

    #[test]
    fn spaced_steps_increase_strictly_to_the_level(level in 1usize..=1000, part in 0.0f64..1.0, p in 1.0f64..=4.0) {
        let n = 1 + ((level - 1) as f64 * part) as usize;
        let trajectory = Trajectory::spaced(&linear1000(), NoiseLevel::new(level), n, p).unwrap();
        let levels = numbers(trajectory.levels());
        prop_assert_eq!((levels.len(), levels[0], levels[n]), (n + 1, 0, level));
        prop_assert!(levels.windows(2).all(|w| w[0] < w[1]));
        let ideal = |j: usize| level as f64 * (j as f64 / n as f64).powf(p);
        prop_assert!((0..=n).all(|j| levels[j] as f64 >= ideal(j) - 0.5 - 1e-9));
    }

    #[test]
    fn alpha_bar_falls(timesteps in 21usize..2000, cosine: bool) {
        let kind = if cosine { ScheduleKind::Cosine } else { ScheduleKind::Linear };
        let schedule = schedule(kind, timesteps);
        let all: Vec<_> = (0..=timesteps).map(|t| schedule.alpha_bar(NoiseLevel::new(t)).unwrap()).collect();
        prop_assert_eq!(all[0], 1.0);
        prop_assert!(all.windows(2).all(|w| w[1] < w[0]) && all[timesteps] > 0.0);
    }
}
