use std::num::NonZero;

use tempfile::tempdir;

use super::plane::Plane;
use super::*;
use crate::synthetic::Source;

/// Path lengths over a grid are sums of samples: this share of the true volume may be missing or too much.
const VOLUME: f32 = 0.03;
/// The same where a ball spans two points of the grid only.
const THIN_VOLUME: f32 = 0.08;

#[test]
fn the_number_of_threads_changes_nothing() {
    let place = tempdir().unwrap();
    let settings = Settings { slices: 5, seed: 2, size: 16, source: Source::Chest, first: 1 };
    let [one, two, three] = [1, 2, 3].map(|threads| {
        let dir = place.path().join(threads.to_string());
        write(&dir, &settings, NonZero::new(threads).unwrap(), |_, _| true).unwrap();
        ["cohort.json", "images.npy", "masks.npy", "brains.npy"]
            .map(|name| std::fs::read(dir.join(name)).unwrap())
    });
    assert!(one == two && two == three);
}

fn volume(step: f32, draw: impl Fn(&mut Plane)) -> f32 {
    let mut plane = Plane::new(step);
    draw(&mut plane);
    let (mut sum, edge) = (0.0, plane.edge());
    for (row, column) in (0..edge * edge).map(|i| (i / edge, i % edge)) {
        sum += plane.value(row, column);
    }
    sum * step * step
}

#[test]
fn a_body_attenuates_by_its_volume() {
    let pi = std::f32::consts::PI;
    // A tube's volume is the same from whatever side it is seen; a turn only shears it.
    let across = [[-60.0, 0.0, 10.0, 6.0], [60.0, 0.0, 10.0, 6.0]];
    let along = [[5.0, -60.0, 0.0, 6.0], [5.0, 60.0, 0.0, 6.0]];
    let thin = [[-60.0, 0.0, -60.0, 0.5], [60.0, 0.0, 60.0, 0.5]];
    struct Case<'a> {
        name: &'a str,
        found: f32,
        expected: f32,
        tolerance: f32,
    }
    let cases = [
        Case {
            name: "ball",
            found: volume(1.0, |p| p.ball([3.3, -7.1], 12.0, 0.5)),
            expected: 0.5 * 4.0 / 3.0 * pi * 12.0 * 12.0 * 12.0,
            tolerance: VOLUME,
        },
        Case {
            name: "across",
            found: volume(1.0, |p| p.tube(&across, 0.1, 1.0)),
            expected: pi * 36.0 * 120.0,
            tolerance: VOLUME,
        },
        Case {
            name: "along",
            found: volume(1.0, |p| p.tube(&along, 0.0, 2.0)),
            expected: 2.0 * pi * 36.0 * 120.0,
            tolerance: VOLUME,
        },
        Case {
            name: "thinner than the grid",
            found: volume(2.0, |p| p.tube(&thin, 0.0, 1.0)),
            expected: pi * 0.25 * 120.0 * 2f32.sqrt(),
            tolerance: THIN_VOLUME,
        },
    ];
    let wrong: Vec<String> = cases
        .iter()
        .filter(|case| (case.found / case.expected - 1.0).abs() > case.tolerance)
        .map(|case| format!("{}: {} of {}", case.name, case.found, case.expected))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let half = volume(1.0, |p| p.tube(&across, 0.0, 0.5)) / (pi * 36.0 * 120.0);
    assert!((half - 1.0).abs() > VOLUME, "half of the attenuation must not pass");
}

/// Along the middle of a tube seen from its end the whole length counts.
#[test]
fn a_tube_along_the_rays_is_as_long_as_it_is() {
    let mut plane = Plane::new(1.0);
    plane.tube(&[[0.0, -60.0, 0.0, 10.0], [0.0, 60.0, 0.0, 10.0]], 0.0, 1.0);
    // Balls in a row are a little denser in the middle than a tube is.
    let found = plane.at([0.0, 0.0]);
    assert!((120.0..=1.5 * 120.0 + 1.0).contains(&found), "{found}");
}
