//! A head around a brain, to try what is to find the brain in it: fluid, skull, scalp and air.
//!
//! From the brain's surface outwards layers follow each other, each of a thickness that varies smoothly around the head, with
//! the intensities that they have in scans of adults relative to white matter: bone is dark in every contrast, its marrow less so,
//! fat is bright. Vessels and dura run through fluid and bone as threads. There is a bias of its own, and Rician noise
//! everywhere, in the air too. There are no eyes, no face, no neck and no base of the skull: what is hardest in a real head.

use ndarray::{Array3, Array4, Axis, s};

use super::degrade::rician;
use super::field::Field;
use super::parameters::PerChannel;
use super::random::{Part, Stream};

/// From the brain outwards: the least and the largest thickness, mm, and the intensities in T1, T1ce, T2, FLAIR.
const LAYERS: [([f32; 2], PerChannel); 7] = [
    // Fluid.
    ([1.5, 5.0], [0.20, 0.19, 0.92, 0.16]),
    // The skull: bone, marrow, bone.
    ([1.5, 2.5], BONE),
    ([1.5, 4.5], [0.50, 0.45, 0.20, 0.25]),
    ([1.5, 2.5], BONE),
    // The scalp: muscle, fat, skin.
    ([1.0, 4.0], [0.50, 0.48, 0.12, 0.22]),
    ([3.0, 6.0], [1.10, 1.00, 0.45, 0.60]),
    ([1.5, 2.0], [0.60, 0.65, 0.25, 0.35]),
];
const BONE: PerChannel = [0.05, 0.05, 0.04, 0.04];
/// How many of the layers threads run through: fluid and skull.
const THREADED: usize = 4;
/// Threads in a head, their radius, mm, and their intensities.
const THREADS: usize = 16;
const THREAD_RADIUS_MM: [f32; 2] = [0.8, 1.6];
const THREAD: PerChannel = [0.55, 0.75, 0.10, 0.30];
/// Over this length thicknesses and bias change, mm.
const SMOOTH_MM: [f32; 2] = [40.0, 75.0];
/// Amplitude of the bias.
const BIAS: f32 = 0.25;
/// Standard deviation of the noise in both parts of the signal.
const NOISE: f32 = 0.012;

/// Puts a head around the brain of subject `number` of a seed. `image`: [4, S, H, W] in the units of
/// [`RawSlice`](super::RawSlice), of which nothing but what lies outside of `brain`, [S, H, W], is changed; `sides`: of a voxel,
/// from slice to slice, row to row, column to column, mm.
pub fn wrap(image: &mut Array4<f32>, brain: &Array3<bool>, sides: [f32; 3], seed: u64, number: u64) {
    let mut random = Stream::new(seed, number, Part::Head);
    let size: [usize; 3] = brain.dim().into();
    let bounds = [[0.0; 3], [0, 1, 2].map(|a| size[a] as f32 * sides[a])];
    let thickness = Field::<7>::draw(&mut random, bounds, SMOOTH_MM[0]);
    let bias = Field::<4>::draw(&mut random, bounds, SMOOTH_MM[1]);
    let threads: Vec<_> =
        (0..THREADS).map(|_| (random.direction(), random.within(THREAD_RADIUS_MM))).collect();
    let middle = middle(brain).map(|v| v as f32);
    let distance = distance(brain, sides);
    for (at, inside) in brain.indexed_iter() {
        if *inside {
            continue;
        }
        let (k, row, column) = at;
        let place = [k, row, column].map(|i| i as f32);
        let place: [f32; 3] = std::array::from_fn(|a| place[a] * sides[a]);
        let from_middle: [f32; 3] = std::array::from_fn(|a| place[a] - middle[a] * sides[a]);
        let threaded = threads.iter().any(|(direction, radius)| {
            let along: f32 = (0..3).map(|a| direction[a] * from_middle[a]).sum();
            let off = (0..3).map(|a| (from_middle[a] - along * direction[a]).powi(2)).sum::<f32>();
            along > 0.0 && off < radius * radius
        });
        let varied = thickness.at(place).map(|v| (v / 1.5).clamp(-1.0, 1.0));
        // The brain's surface lies half a pixel before its first neighbour's centre.
        let depth = distance[at] - sides[2] / 2.0;
        let signal = layers(depth, sides[2], &varied, threaded);
        let factor = bias.at(place).map(|v| 1.0 + BIAS * (v / 1.5).clamp(-1.0, 1.0));
        for c in 0..4 {
            let draws = [random.normal(), random.normal()];
            image[[c, k, row, column]] = rician(signal[c] * factor[c], NOISE, draws);
        }
    }
}

/// The intensities at a depth outside of the brain, mean over a pixel of this side.
fn layers(depth: f32, side: f32, varied: &[f32; 7], threaded: bool) -> PerChannel {
    let (low, high) = (depth - side / 2.0, depth + side / 2.0);
    let (mut from, mut signal) = (0.0f32, [0.0; 4]);
    for (i, ([least, most], levels)) in LAYERS.into_iter().enumerate() {
        let to = from + (least + most) / 2.0 + (most - least) / 2.0 * varied[i];
        let share = (high.min(to) - low.max(from)).max(0.0) / side;
        let levels = if threaded && i < THREADED { THREAD } else { levels };
        for c in 0..4 {
            signal[c] += share * levels[c];
        }
        from = to;
    }
    signal
}

/// The mean place of the set voxels.
fn middle(mask: &Array3<bool>) -> [f64; 3] {
    let (mut sum, mut n) = ([0.0; 3], 0.0f64);
    for ((k, r, c), _) in mask.indexed_iter().filter(|(_, set)| **set) {
        [k, r, c].into_iter().enumerate().for_each(|(a, i)| sum[a] += i as f64);
        n += 1.0;
    }
    sum.map(|v| v / n.max(1.0))
}

/// The distance of each voxel to the nearest set one, between centres, mm; axis by axis.
fn distance(mask: &Array3<bool>, sides: [f32; 3]) -> Array3<f32> {
    let mut squared = mask.mapv(|set| if set { 0.0 } else { f32::INFINITY });
    for (axis, side) in sides.into_iter().enumerate() {
        for mut lane in squared.lanes_mut(Axis(axis)) {
            let before = lane.to_vec();
            for (p, value) in lane.iter_mut().enumerate() {
                let from = |(q, d): (usize, &f32)| d + (side * (p as f32 - q as f32)).powi(2);
                *value = before.iter().enumerate().map(from).fold(f32::INFINITY, f32::min);
            }
        }
    }
    squared.mapv(f32::sqrt)
}

/// The volumes [4, S, H, W] and the brain [S, H, W] of a subject.
pub fn volumes(subject: &super::Subject) -> (Array4<f32>, Array3<bool>) {
    let (channels, h, w) = subject.slices[0].image.dim();
    let n = subject.slices.len();
    let mut image = Array4::zeros((channels, n, h, w));
    let mut brain = Array3::from_elem((n, h, w), false);
    for (i, slice) in subject.slices.iter().enumerate() {
        image.slice_mut(s![.., i, .., ..]).assign(&slice.image);
        brain.slice_mut(s![i, .., ..]).assign(&slice.brain);
    }
    (image, brain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_follow_each_other_around_the_brain() {
        let brain =
            Array3::from_shape_fn((3, 80, 80), |(_, r, c)| (r as f32 - 40.0).hypot(c as f32 - 40.0) < 18.0);
        let brain_only = Array4::from_elem((4, 3, 80, 80), 0.7);
        let mut image = brain_only.clone();
        wrap(&mut image, &brain, [6.0, 1.0, 1.0], 1, 1);
        for ((c, k, row, column), value) in image.indexed_iter() {
            assert!(!brain[[k, row, column]] || *value == brain_only[[c, k, row, column]], "the brain stays");
        }
        // Along a row, a mean over what no thread has got into: fluid, bone, fat, air in T1.
        let t1 = |distance: f32| {
            let near = |(r, c): (usize, usize)| {
                ((r as f32 - 40.0).hypot(c as f32 - 40.0) - 18.0 - distance).abs() < 0.5
            };
            let ring = image.slice(s![0, 1, .., ..]);
            let mut values: Vec<f32> =
                ring.indexed_iter().filter(|(at, _)| near(*at)).map(|(_, v)| *v).collect();
            values.sort_unstable_by(f32::total_cmp);
            values[values.len() / 2]
        };
        let (fluid, scalp, air) = (t1(0.7), t1(17.0), t1(28.0));
        let bone = (3..8).map(|d| t1(d as f32)).fold(f32::INFINITY, f32::min);
        assert!(
            (0.12..0.28).contains(&fluid) && bone < 0.15 && scalp > 0.6 && air < 0.05,
            "{fluid} {bone} {scalp} {air}"
        );
        let mut other = brain_only.clone();
        wrap(&mut other, &brain, [6.0, 1.0, 1.0], 1, 2);
        assert_ne!(image, other, "no two heads are alike");
        let mut again = brain_only;
        wrap(&mut again, &brain, [6.0, 1.0, 1.0], 1, 1);
        assert_eq!(image, again);
    }
}
