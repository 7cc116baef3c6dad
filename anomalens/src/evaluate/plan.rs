//! Which slices are looked at, and in which batches: always the same, however often a run is interrupted and however many
//! machines share it, for engines round by the size of a batch.

use super::shard::Shard;

/// The golden section of 2^64: whichever part of the multiples k · φ mod 1 is taken, their k are evenly spaced.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Which slices make which batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every slice of the cohort, in the order in which they are looked at.
    order: Vec<usize>,
    /// Slices at once, at least 1.
    batch: usize,
    /// How many of the slices are looked at, at least 1.
    limit: usize,
}

impl Plan {
    /// Diseased and healthy slices by turns while there are both, each class from all over the cohort: the first N
    /// are few slices of many subjects.
    pub fn new(diseased: &[bool], batch: usize, limit: Option<usize>) -> Self {
        let class = |of: bool| {
            let items = (0..diseased.len()).filter(|&i| diseased[i] == of);
            let mut ranked: Vec<(u64, usize)> =
                (0u64..).map(|rank| rank.wrapping_mul(GOLDEN)).zip(items).collect();
            ranked.sort_unstable();
            ranked.into_iter().map(|(_, item)| item)
        };
        let (mut sick, mut well) = (class(true), class(false));
        let mut order = Vec::with_capacity(diseased.len());
        while order.len() < diseased.len() {
            order.extend(sick.next());
            order.extend(well.next());
        }
        let limit = limit.unwrap_or(order.len()).min(order.len());
        Self { order, batch, limit }
    }

    /// The slices that are looked at, ascending.
    pub fn slices(&self) -> Vec<usize> {
        let mut slices = self.order[..self.limit].to_vec();
        slices.sort_unstable();
        slices
    }

    /// How many batches they make.
    pub fn batches(&self) -> usize {
        self.limit.div_ceil(self.batch)
    }

    /// The batches of a part of the evaluation, or of all of it.
    pub fn batches_of(&self, shard: Option<Shard>) -> Vec<usize> {
        (0..self.batches()).filter(|&batch| shard.is_none_or(|shard| shard.has(batch))).collect()
    }

    /// The slices of batch `number`: as many as are looked at.
    pub fn batch(&self, number: usize) -> &[usize] {
        &self.order[number * self.batch..self.limit.min((number + 1) * self.batch)]
    }

    /// Whether slices that were kept as batch `number` are that batch: as it is now, or as it is without a limit.
    pub fn accepts(&self, number: usize, items: &[usize]) -> bool {
        let whole = number * self.batch..self.order.len().min((number + 1) * self.batch);
        items == self.batch(number) || items == &self.order[whole]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slices_are_even_and_batches_do_not_move() {
        // Healthy 0, 1, 2, 5 come as 0, 2 (2φ mod 1 = 0.24), 1 (0.62), 5 (0.85).
        let diseased = [false, false, false, true, true, false];
        let plan = Plan::new(&diseased, 2, None);
        assert_eq!(plan.order, [3, 0, 4, 2, 1, 5]);
        assert_eq!(plan.slices(), [0, 1, 2, 3, 4, 5]);
        let limited = Plan::new(&diseased, 2, Some(3));
        assert_eq!((limited.slices(), limited.batches()), (vec![0, 3, 4], 2));
        assert_eq!((limited.batch(0), limited.batch(1)), (plan.batch(0), &[4][..]));
        // A cut batch is not the whole one; the whole one has what the cut one wants.
        assert!(!plan.accepts(1, &[4]) && limited.accepts(1, &[4]) && limited.accepts(1, &[4, 2]));
        assert_eq!(Plan::new(&diseased, 4, Some(99)).slices().len(), 6);
        let spread = Plan::new(&[true; 80], 4, Some(8)).slices();
        assert!(spread.windows(2).all(|w| (5..=13).contains(&(w[1] - w[0]))), "{spread:?}");
    }
}
