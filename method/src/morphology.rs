//! Shapes of voxels in space: they grow and shrink by millimetres, whatever the voxels' sides.
//!
//! A mask is [slice, row, column]; what lies beyond the volume neither grows into it nor eats into it.

use std::collections::VecDeque;

use ndarray::{Array3, ArrayViewMut1, Axis};

/// All voxels within `radius` mm of a set one; `sides`: those of a voxel along each axis, mm.
pub fn dilate(mask: &Array3<bool>, radius: f64, sides: [f64; 3]) -> Array3<bool> {
    let limit = (radius * radius) as f32;
    squared_distance(mask, sides).mapv(|d| d <= limit)
}

/// The set voxels that are farther than `radius` mm from every other; `sides` as for [`dilate`].
pub fn erode(mask: &Array3<bool>, radius: f64, sides: [f64; 3]) -> Array3<bool> {
    dilate(&mask.mapv(|set| !set), radius, sides).mapv(|near| !near)
}

/// The squared distance of each voxel to the nearest set one, mm², between centres; infinite where none is set.
///
/// Exact, by lower envelopes of parabolas, axis by axis (Felzenszwalb and Huttenlocher, "Distance Transforms of Sampled
/// Functions", Theory of Computing 8, 2012).
fn squared_distance(mask: &Array3<bool>, sides: [f64; 3]) -> Array3<f32> {
    let mut distance = mask.mapv(|set| if set { 0.0 } else { f32::INFINITY });
    for (axis, side) in sides.into_iter().enumerate() {
        for lane in distance.lanes_mut(Axis(axis)) {
            nearest_along(lane, side);
        }
    }
    distance
}

/// One lane of the distance: d(p) = min over q of f(q) + (side (p − q))².
fn nearest_along(mut lane: ArrayViewMut1<'_, f32>, side: f64) {
    // The parabolas that are lowest somewhere, each with its height and the place from which on it is.
    let mut lowest: Vec<(f64, f64, f64)> = Vec::new();
    for (q, height) in lane.iter().enumerate().filter(|(_, height)| height.is_finite()) {
        let (q, height) = (q as f64 * side, f64::from(*height));
        let mut from = f64::NEG_INFINITY;
        while let Some(&(p, other, start)) = lowest.last() {
            from = ((height + q * q) - (other + p * p)) / (2.0 * (q - p));
            if from > start {
                break;
            }
            lowest.pop();
            from = f64::NEG_INFINITY;
        }
        lowest.push((q, height, from));
    }
    let mut i = 0;
    for (p, value) in lane.iter_mut().enumerate() {
        let p = p as f64 * side;
        while lowest.get(i + 1).is_some_and(|(_, _, from)| *from <= p) {
            i += 1;
        }
        if let Some((q, height, _)) = lowest.get(i) {
            *value = (height + (p - q) * (p - q)) as f32;
        }
    }
}

/// The largest part of any slice, and what follows from it from slice to slice: of the next one those parts of which at least
/// half lies over what was kept. Parts are joined by their pixels' sides.
///
/// What two slices show over each other need not be joined in the body: where slices lie far apart, there may be something
/// between them that neither shows.
pub fn follow(mask: &Array3<bool>) -> Array3<bool> {
    let mut left = mask.clone();
    let mut parts: Vec<Vec<Vec<[usize; 3]>>> = vec![Vec::new(); mask.dim().0];
    for (at, _) in mask.indexed_iter().filter(|(_, set)| **set) {
        if left[at] {
            parts[at.0].push(flood(&mut left, [at.into()], &[1, 2]));
        }
    }
    let mut kept = Array3::from_elem(mask.dim(), false);
    let sizes = parts.iter().enumerate().flat_map(|(k, parts)| parts.iter().map(move |part| (k, part)));
    let Some((first, largest)) = sizes.rev().max_by_key(|(_, part)| part.len()) else { return kept };
    largest.iter().for_each(|at| kept[*at] = true);
    let up = (first + 1..parts.len()).map(|k| (k, k - 1));
    for (k, before) in up.chain((0..first).rev().map(|k| (k, k + 1))) {
        for part in &parts[k] {
            let over = part.iter().filter(|[_, r, c]| kept[[before, *r, *c]]).count();
            if 2 * over >= part.len() {
                part.iter().for_each(|at| kept[*at] = true);
            }
        }
    }
    kept
}

/// The mask and all that it encloses within a slice.
pub fn fill_holes(mask: &Array3<bool>) -> Array3<bool> {
    let (n, h, w) = mask.dim();
    let mut outside = mask.mapv(|set| !set);
    let edge = |r: usize, c: usize| r == 0 || c == 0 || r + 1 == h || c + 1 == w;
    let cells = (0..n).flat_map(|k| (0..h).flat_map(move |r| (0..w).map(move |c| [k, r, c])));
    let edges: Vec<_> = cells.filter(|[_, r, c]| edge(*r, *c)).collect();
    let reached = flood(&mut outside, edges, &[1, 2]);
    let mut filled = Array3::from_elem(mask.dim(), true);
    reached.into_iter().for_each(|at| filled[at] = false);
    filled
}

/// The voxels of `open` that can be reached from `starts` along `axes`; they are closed.
fn flood(
    open: &mut Array3<bool>,
    starts: impl IntoIterator<Item = [usize; 3]>,
    axes: &[usize],
) -> Vec<[usize; 3]> {
    let size: [usize; 3] = open.dim().into();
    let (mut reached, mut queue) = (Vec::new(), VecDeque::new());
    let mut enter = |at: [usize; 3], queue: &mut VecDeque<_>| {
        if std::mem::take(&mut open[at]) {
            queue.push_back(at);
        }
    };
    for at in starts {
        enter(at, &mut queue);
    }
    while let Some(at) = queue.pop_front() {
        reached.push(at);
        for &axis in axes {
            for next in [at[axis].checked_sub(1), Some(at[axis] + 1)].into_iter().flatten() {
                if next < size[axis] {
                    let mut neighbour = at;
                    neighbour[axis] = next;
                    enter(neighbour, &mut queue);
                }
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [f64; 3] = [2.5, 1.0, 0.75];

    /// A mask without order.
    fn scattered(share: u32) -> Array3<bool> {
        let mut state = 7u32;
        Array3::from_shape_simple_fn((5, 11, 13), || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16 < share * 655
        })
    }

    #[test]
    fn distances_are_those_to_the_nearest_voxel() {
        let brute = |mask: &Array3<bool>, sides: [f64; 3], at: (usize, usize, usize)| {
            let set = mask.indexed_iter().filter(|(_, set)| **set);
            let far = set.map(|(other, _)| {
                let [a, b]: [[usize; 3]; 2] = [at.into(), other.into()];
                (0..3).map(|i| ((a[i] as f64 - b[i] as f64) * sides[i]).powi(2)).sum::<f64>()
            });
            far.fold(f64::INFINITY, f64::min)
        };
        for share in [0, 1, 10, 60] {
            let mask = scattered(share);
            let found = squared_distance(&mask, SIDES);
            let off = |sides| {
                let each = found.indexed_iter().map(|(at, found)| {
                    let expected = brute(&mask, sides, at);
                    if expected.is_infinite() { 0.0 } else { (f64::from(*found) - expected).abs() }
                });
                each.fold(0.0, f64::max)
            };
            assert!(off(SIDES) < 1e-4, "{share} %: off by {}", off(SIDES));
            assert_eq!(share == 0, found.iter().all(|d| d.is_infinite()));
            // Sides that are swapped are noticed.
            assert!(share == 0 || off([2.5, 0.75, 1.0]) > 0.1, "{share} %");
        }
    }

    #[test]
    fn what_grows_and_shrinks_is_a_ball_and_the_edge_is_no_outside() {
        let mut point = Array3::from_elem((7, 9, 9), false);
        point[[3, 4, 4]] = true;
        let ball = dilate(&point, 2.5, SIDES);
        // Along each axis as far as the radius reaches: one slice, two rows, three columns.
        assert!(ball[[2, 4, 4]] && ball[[3, 2, 4]] && ball[[3, 4, 1]]);
        assert!(!ball[[1, 4, 4]] && !ball[[3, 1, 4]] && !ball[[3, 4, 0]] && !ball[[2, 4, 3]]);
        assert_eq!(erode(&ball, 2.5 - 1e-9, SIDES), point);
        let full = Array3::from_elem((2, 3, 3), true);
        assert_eq!(erode(&full, 10.0, SIDES), full);
    }

    #[test]
    fn parts_are_followed_and_holes_filled() {
        // The lowest slice holds the largest part, and one that touches it at an edge only.
        let slices = [
            ["##......", "##......", "..#####.", "..#.#.#.", "..###.#."],
            ["........", "........", "..##....", "..#...##", ".....###"],
            ["........", "##......", "..#.....", "........", "......##"],
        ];
        let mask = Array3::from_shape_fn((3, 5, 8), |(k, r, c)| slices[k][r].as_bytes()[c] == b'#');
        let kept = follow(&mask);
        let count =
            |mask: &Array3<bool>, k: usize| mask.index_axis(Axis(0), k).iter().filter(|set| **set).count();
        // Of the second slice the left part lies over it, of the right one two pixels of five; of the third the middle one.
        assert_eq!([0, 1, 2].map(|k| count(&kept, k)), [12, 3, 1]);
        assert!(!kept[[0, 0, 0]] && kept[[1, 2, 2]] && !kept[[1, 4, 6]] && !kept[[2, 4, 7]]);
        assert_eq!(follow(&Array3::from_elem((2, 3, 3), false)), Array3::from_elem((2, 3, 3), false));
        let filled = fill_holes(&mask);
        assert!(filled[[0, 3, 3]] && !filled[[0, 3, 5]] && !filled[[0, 4, 5]] && !filled[[1, 3, 3]]);
        assert_eq!(count(&filled, 0), count(&mask, 0) + 1);
    }
}
