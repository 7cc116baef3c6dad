//! The pixels of many images, ranked together.

use super::{Group, MetricError, Ranking, check, descending, rank, same_length};

/// Which pixels of an image count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// All.
    Whole,
    /// Those inside the region that was given with the image.
    Inside,
}

/// One pixel, in eight bytes, for there may be hundreds of millions.
#[derive(Debug, Clone, Copy)]
struct Pixel {
    score: f32,
    /// The image's number above two bits.
    tag: u32,
}

const TRUTH: u32 = 1;
const INSIDE: u32 = 2;
const IMAGE: u32 = 2;

impl Pixel {
    fn image(self) -> usize {
        (self.tag >> IMAGE) as usize
    }
}

/// The pixels of images numbered 0, 1, …, in any order.
#[derive(Debug, Default)]
pub struct Pool {
    pixels: Vec<Pixel>,
    images: u32,
}

impl Pool {
    /// Takes in the next image: a score a pixel, whether the pixel is in the truth and whether it is inside the region.
    /// Panics beyond 2^30 images.
    ///
    /// Errors: [`MetricError`].
    pub fn push(&mut self, scores: &[f32], truth: &[bool], inside: &[bool]) -> Result<(), MetricError> {
        check(scores, truth.len())?;
        same_length("region", inside.len(), truth.len())?;
        assert!(self.images < 1 << (32 - IMAGE), "more images than can be numbered");
        let image = self.images << IMAGE;
        let pixels = scores.iter().zip(truth).zip(inside);
        self.pixels.extend(pixels.map(|((&score, &truth), &inside)| Pixel {
            score,
            tag: image | if truth { TRUTH } else { 0 } | if inside { INSIDE } else { 0 },
        }));
        self.images += 1;
        Ok(())
    }

    /// Sorts them, once for all questions.
    pub fn rank(mut self) -> Ranked {
        self.pixels.sort_unstable_by(|a, b| descending(a.score, b.score));
        Ranked { pixels: self.pixels, images: self.images as usize }
    }
}

/// The pixels of many images by falling score.
#[derive(Debug)]
pub struct Ranked {
    pixels: Vec<Pixel>,
    images: usize,
}

/// How finely a [`Curve`] is kept for resampling: up to twice as many scores are kept as they are; of more, no step holds
/// more than this part of the truth's pixels, or of the others, unless more are tied. An area changes by the pairs within
/// steps that are not tied, by far less than resampling does.
const STEPS: u64 = 512;

impl Ranked {
    /// The ranking of the pixels of `region` in the images for which `subject` names a subject, 0..subjects.
    pub fn curve(&self, region: Region, subjects: usize, subject: impl Fn(usize) -> Option<usize>) -> Curve {
        let of: Vec<Option<usize>> = (0..self.images).map(&subject).collect();
        let counts = |pixel: &Pixel| -> Option<usize> {
            let chosen = region == Region::Whole || pixel.tag & INSIDE != 0;
            of[pixel.image()].filter(|_| chosen)
        };
        let mut groups = Vec::new();
        let mut all = Group::default();
        for tied in self.tied() {
            let mut group = Group::default();
            for pixel in tied.iter().filter(|pixel| counts(pixel).is_some()) {
                group.add(pixel);
            }
            if group != Group::default() {
                all.positives += group.positives;
                all.negatives += group.negatives;
                groups.push(group);
            }
        }
        let most =
            Group { positives: all.positives.div_ceil(STEPS), negatives: all.negatives.div_ceil(STEPS) };
        // A group that does not fit in begins the next step.
        let mut step_of_group = Vec::with_capacity(groups.len());
        let (mut step, mut held) = (0, Group::default());
        let few = groups.len() as u64 <= 2 * STEPS;
        for group in &groups {
            let full = few
                || held.positives + group.positives > most.positives
                || held.negatives + group.negatives > most.negatives;
            if full && held != Group::default() {
                step += 1;
                held = Group::default();
            }
            held.positives += group.positives;
            held.negatives += group.negatives;
            step_of_group.push(step);
        }
        let steps = if groups.is_empty() { 0 } else { step + 1 };
        let mut table = vec![[0u32; 2]; steps * subjects];
        let mut places = step_of_group.into_iter();
        for tied in self.tied() {
            let mut chosen = tied.iter().filter_map(|pixel| Some((counts(pixel)?, pixel))).peekable();
            if chosen.peek().is_none() {
                continue;
            }
            let step = places.next().expect("this group was counted above");
            for (subject, pixel) in chosen {
                table[subject * steps + step][usize::from(pixel.tag & TRUTH != 0)] += 1;
            }
        }
        Curve { ranking: rank(&groups), steps, table }
    }

    /// How a mask of the pixels above `threshold` meets the truth: for each image (pixels in both, pixels in the mask).
    pub fn marked(&self, threshold: f32) -> Vec<(u64, u64)> {
        let mut marked = vec![(0, 0); self.images];
        for pixel in self.pixels.iter().take_while(|pixel| pixel.score > threshold) {
            let (both, all) = &mut marked[pixel.image()];
            *both += u64::from(pixel.tag & TRUTH);
            *all += 1;
        }
        marked
    }

    fn tied(&self) -> impl Iterator<Item = &[Pixel]> {
        self.pixels.chunk_by(|a, b| a.score == b.score)
    }
}

impl Group {
    fn add(&mut self, pixel: &Pixel) {
        let positive = u64::from(pixel.tag & TRUTH);
        self.positives += positive;
        self.negatives += 1 - positive;
    }
}

/// The ranking of some of the pixels, and what it would be if subjects were there more or less often.
#[derive(Debug)]
pub struct Curve {
    ranking: Ranking,
    steps: usize,
    /// Pixels outside and in the truth, [subjects, steps].
    table: Vec<[u32; 2]>,
}

impl Curve {
    /// The ranking, exactly.
    pub fn ranking(&self) -> Ranking {
        self.ranking
    }

    /// How many subjects have pixels in the truth.
    pub fn marked_subjects(&self) -> usize {
        let rows = self.table.chunks(self.steps.max(1));
        rows.filter(|row| row.iter().any(|[_, positives]| *positives > 0)).count()
    }

    /// The ranking if subject i were there `weights[i]` times, its pixels put into some hundred steps.
    pub fn weighted(&self, weights: &[u32]) -> Ranking {
        let mut groups = vec![Group::default(); self.steps];
        if self.steps == 0 {
            return Ranking::default();
        }
        for (&weight, row) in weights.iter().zip(self.table.chunks(self.steps)).filter(|(w, _)| **w > 0) {
            for (group, [negatives, positives]) in groups.iter_mut().zip(row) {
                group.positives += u64::from(weight) * u64::from(*positives);
                group.negatives += u64::from(weight) * u64::from(*negatives);
            }
        }
        rank(&groups)
    }
}
