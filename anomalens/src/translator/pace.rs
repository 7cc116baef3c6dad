//! How long a translation will take, measured before it begins.

use std::time::{Duration, Instant};

use anomalens_method::ddim::{GradientScale, Guide};
use anomalens_method::heal::Healer;
use anomalens_method::saliency;
use anomalens_models::image::UnitImage;
use anomalens_runtime::translate;
use ndarray::{Array4, Axis, stack};

use super::{Approach, Translator};

/// What a batch costs: its steps, and the time of one on either way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Steps on the way up; a method of one pass has none.
    pub encode: usize,
    /// Steps on the way down.
    pub decode: usize,
    /// A step up: a call of the U-Net.
    pub up: Duration,
    /// A step down, on the average: with a call of the classifier's gradient where that guides.
    pub down: Duration,
}

impl Pace {
    /// The time for one batch.
    pub fn batch(&self) -> Duration {
        self.up * self.encode as u32 + self.down * self.decode as u32
    }

    /// The share, 0 to 1, of the time of `total` steps, those of several batches, that the first `done` take.
    pub fn share(&self, done: usize, total: usize) -> f64 {
        let (steps, batch) = (self.encode + self.decode, self.batch().as_secs_f64());
        if total == 0 || steps == 0 || batch == 0.0 {
            return done as f64 / total.max(1) as f64;
        }
        let (up, down) = (self.up.as_secs_f64(), self.down.as_secs_f64());
        let rest = done % steps;
        let begun = up * rest.min(self.encode) as f64 + down * rest.saturating_sub(self.encode) as f64;
        ((done / steps) as f64 * batch + begun) / (total as f64 / steps as f64 * batch)
    }
}

/// A measurement ends after so long, or so many calls.
const LONG: Duration = Duration::from_millis(500);
const MANY: u32 = 5;

/// What a call takes, the first one not counted: engines set up memory in it. `None` if it fails, which the work itself will
/// tell of.
fn measure<T, E>(mut call: impl FnMut() -> Result<T, E>) -> Option<Duration> {
    call().ok()?;
    let (began, mut calls) = (Instant::now(), 0);
    while calls < MANY && (calls == 0 || began.elapsed() < LONG) {
        call().ok()?;
        calls += 1;
    }
    Some(began.elapsed() / calls)
}

impl Translator {
    /// What a batch of images of the network's size, at least one, will cost: a step of each way is made some times. `None` where a
    /// network is missing or fails.
    pub fn pace(&mut self, images: &[UnitImage]) -> Option<Pace> {
        let views: Vec<_> = images.iter().map(|image| image.pixels().view()).collect();
        let x: Array4<f32> = stack(Axis(0), &views).ok()?;
        let one = |down| Some(Pace { encode: 0, decode: 1, up: Duration::ZERO, down });
        match &self.approach {
            Approach::Guided(options) => {
                let (mut stepper, schedule) = translate::stepper(&mut self.bundle, images, options).ok()?;
                let (plan, calls) = (options.plan(schedule).ok()?, options.calls(schedule).ok()?);
                let class = options.healthy_class;
                let last = plan.decode().last()?;
                stepper.begin(x).ok()?;
                // The smallest step there is, so that to repeat it leaves the images as they are.
                let up = measure(|| stepper.step(last, GradientScale::NONE, class))?;
                let pulled = if stepper.guided() { calls.gradient } else { 0 };
                let down = match pulled {
                    0 => up,
                    n => {
                        let pull = measure(|| stepper.step(last, options.scale, class))?;
                        up + pull.saturating_sub(up).mul_f64(n as f64 / calls.decode as f64)
                    }
                };
                Some(Pace { encode: calls.encode, decode: calls.decode, up, down })
            }
            Approach::Saliency(options) => {
                let classifier = self.bundle.guided().ok()?.1.classifier.as_mut()?;
                one(measure(|| classifier.gradient(&x, saliency::LEVEL.timestep(), options.healthy_class))?)
            }
            Approach::OnePass(_) => {
                let network = self.bundle.one_pass().ok()?.1;
                one(measure(|| network.healthy(&x))?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_under_guidance_weighs_more() {
        let second = Duration::from_secs(1);
        let pace = Pace { encode: 2, decode: 2, up: second, down: 3 * second };
        assert_eq!(pace.batch(), 8 * second);
        let shares: Vec<f64> = (0..=8).map(|done| pace.share(done, 8) * 16.0).collect();
        assert_eq!(shares, [0.0, 1.0, 2.0, 5.0, 8.0, 9.0, 10.0, 13.0, 16.0]);
        // By their number half of the steps are half of the time.
        let even = Pace { down: second, ..pace };
        assert_eq!((even.share(2, 4), pace.share(2, 4)), (0.5, 0.25));
        assert_eq!(Pace { up: Duration::ZERO, down: Duration::ZERO, ..pace }.share(1, 4), 0.25);
    }

    #[test]
    fn the_first_call_is_not_counted() {
        let mut calls = 0;
        let time = measure(|| -> Result<(), ()> {
            calls += 1;
            std::thread::sleep(if calls == 1 { LONG } else { Duration::from_millis(2) });
            Ok(())
        });
        assert_eq!(calls, 1 + MANY);
        assert!(time.unwrap() >= Duration::from_millis(2) && time.unwrap() < LONG / 2, "{time:?}");
        assert_eq!(measure(|| Err::<(), ()>(())), None);
    }
}
