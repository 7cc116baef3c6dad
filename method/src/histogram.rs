//! A histogram of 256 bins, as `numpy.histogram` has it for values in f32.

/// Bins.
pub const BINS: usize = 256;

/// How many values lie where: equal bins from the smallest to the largest value.
pub struct Histogram {
    /// The values in each bin.
    pub counts: [u64; BINS],
    /// The middle of each bin.
    pub centres: [f32; BINS],
}

impl Histogram {
    /// Counts values of which the smallest is `low` and the largest, which is larger, `high`.
    ///
    /// All in f32 and in numpy's order: another rounding puts values at the edges into other bins.
    pub fn new(values: impl IntoIterator<Item = f32>, low: f32, high: f32) -> Self {
        let width = (high - low) / BINS as f32;
        let edges: [f32; BINS + 1] =
            std::array::from_fn(|i| if i == BINS { high } else { i as f32 * width + low });
        let mut counts = [0; BINS];
        for value in values {
            // Edge i belongs to bin i, and the last bin is closed.
            let bin = edges.partition_point(|edge| *edge <= value).clamp(1, BINS) - 1;
            counts[bin] += 1;
        }
        Self { counts, centres: std::array::from_fn(|i| (edges[i] + edges[i + 1]) / 2.0) }
    }
}
