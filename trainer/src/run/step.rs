//! One step: loss, gradients, Adam, average.

use tch::{Kind, Tensor};

use super::{EXPLODED, Settings};
use crate::adam::{average, clip_gradients};
use crate::batches::{self, Batch};
use crate::checkpoint::State;
use crate::error::TrainError;
use crate::interpret::{InterpretError, Precision};
use crate::task::{Figure, Loss, Task};
use crate::weights::Named;

/// Makes the step after those that `state` has made, on its batch. On an exploded loss the state is left as it was.
pub(super) fn step(
    task: &Task,
    settings: &Settings,
    state: &mut State,
    batch: &Batch,
) -> Result<Loss, TrainError> {
    let recipe = &settings.recipe;
    let timesteps = recipe.max_level.unwrap_or(task.timesteps());
    let (t, noise) = batches::noise(&batch.images, timesteps, settings.seed, state.step);
    let work = Work { task, batch, t, noise, timesteps, precision: settings.precision };
    let mut loss = work
        .gradients(&mut state.model, recipe.accumulate)
        .map_err(|e| work.room(&mut state.model, recipe.accumulate, e))?;
    let exploded = |what, found: f64| TrainError::Exploded {
        step: state.step + 1,
        what,
        found,
        most: EXPLODED,
        kept: String::new(),
    };
    if loss.guard.is_nan() || loss.guard >= EXPLODED {
        return Err(exploded("the loss", loss.guard));
    }
    let norm = clip_gradients(&mut state.model, recipe.clip_gradient);
    if !norm.is_finite() {
        return Err(exploded("the gradient's norm", norm));
    }
    loss.figures.push(Figure { name: "gradient_norm", value: norm, images: recipe.batch });
    let rate = settings.rate(state.step);
    state.step += 1;
    state.adam.step(&mut state.model, state.step, rate);
    if let (Some(ema), Some(rate)) = (&mut state.ema, recipe.ema) {
        average(ema, &state.model, rate);
    }
    Ok(loss)
}

/// What gradients are computed of.
struct Work<'a> {
    task: &'a Task,
    batch: &'a Batch,
    /// Timesteps `[N]`, all below `timesteps`.
    t: Tensor,
    /// Like the images.
    noise: Tensor,
    timesteps: usize,
    precision: Precision,
}

impl Work<'_> {
    /// Leaves in `model` the gradient of the mean loss of all images, computed in `parts` as even as can be, one after
    /// the other. No image meets another in these networks, so that any number of parts gives the same.
    fn gradients(&self, model: &mut Named, parts: usize) -> Result<Loss, TrainError> {
        model.zero_grad();
        let images = self.t.numel();
        let mut all = Loss {
            total: Tensor::zeros([], (Kind::Float, self.t.device())),
            guard: 0.0,
            figures: Vec::new(),
        };
        for part in 0..parts {
            let (start, end) = (part * images / parts, (part + 1) * images / parts);
            let of = |x: &Tensor| x.narrow(0, start as i64, (end - start) as i64);
            let batch = Batch { images: of(&self.batch.images), labels: of(&self.batch.labels) };
            let loss = self.task.loss(
                &*model,
                &batch,
                &of(&self.t),
                self.timesteps,
                &of(&self.noise),
                self.precision,
            )?;
            let share = (end - start) as f64 / images as f64;
            (&loss.total * share).f_backward().map_err(|source| InterpretError::Torch {
                graph: self.task.graph().name().to_owned(),
                scope: "loss".into(),
                op: "backward",
                source: source.into(),
            })?;
            all.total += loss.total.detach() * share;
            all.guard += loss.guard * share;
            all.figures.extend(loss.figures);
        }
        Ok(all)
    }

    /// Where an error of so many parts is want of memory: the same with the number of parts that fits, which is tried.
    fn room(&self, model: &mut Named, parts: usize, error: TrainError) -> TrainError {
        if !is_want_of_memory(&error) {
            return error;
        }
        let images = self.t.numel();
        let doubled = std::iter::successors(Some(2 * parts), |parts| Some(2 * parts));
        let tried = doubled.take_while(|parts| *parts < images).chain([images]);
        let fits = tried.filter(|more| *more > parts).find(|more| self.gradients(model, *more).is_ok());
        TrainError::Memory {
            images: images.div_ceil(parts),
            fits: fits.map(|parts| (parts, images.div_ceil(parts))),
            source: Box::new(error),
        }
    }
}

/// By the words of libtorch's allocators, of the processor and of CUDA.
fn is_want_of_memory(error: &TrainError) -> bool {
    let TrainError::Interpret(InterpretError::Torch { source, .. }) = error else { return false };
    let words = source.to_string();
    ["can't allocate memory", "not enough memory", "out of memory"].iter().any(|part| words.contains(part))
}

#[cfg(test)]
mod tests {
    use anomalens_models::graph::ParamSource;
    use anomalens_models::preset::Preset;
    use anomalens_models::weights::RandomWeights;
    use tch::Device;

    use super::*;
    use crate::task::Network;
    use crate::weights::{tensor, values};

    /// Sums of the same products in another order, in f32, of the largest value.
    const ROUNDING: f64 = 1e-5;

    /// The largest difference over the largest value of `b`.
    fn difference(a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len());
        let most = b.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let apart = a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        f64::from(apart / most)
    }

    #[test]
    fn a_batch_in_parts_has_the_gradient_of_the_whole() {
        let preset = Preset::load("tiny").unwrap();
        for network in [Network::Ddpm, Network::Classifier] {
            let task = Task::new(network, &preset, Device::Cpu).unwrap();
            // Random in every layer: much of a fresh network has no gradient.
            let random = RandomWeights::new(1, task.graph().params());
            let weight = |name: &str| tensor(&random.param(name).unwrap()).set_requires_grad(true);
            let params = task.graph().params().iter().map(|p| (p.name.clone(), weight(&p.name)));
            let mut model = Named::new(params.collect());
            tch::manual_seed(3);
            let labels = Tensor::from_slice(&[0i64, 1, 1, 0, 1]);
            let batch = Batch { images: Tensor::rand([5, 4, 32, 32], (Kind::Float, Device::Cpu)), labels };
            let (t, noise) = batches::noise(&batch.images, task.timesteps(), 7, 0);
            let timesteps = task.timesteps();
            let work = Work { task: &task, batch: &batch, t, noise, timesteps, precision: Precision::F32 };
            let mut gradients = |parts| {
                let loss = work.gradients(&mut model, parts).unwrap();
                let all = model.iter().flat_map(|(_, p)| values(&p.grad())).collect::<Vec<f32>>();
                (loss, all)
            };
            let (whole, expected) = gradients(1);
            // 5 images in 2 or 3 parts are of unequal sizes.
            for parts in [2, 3, 5] {
                let (loss, found) = gradients(parts);
                let error = difference(&found, &expected);
                assert!(error <= ROUNDING, "{network:?} in {parts} parts: {error:.1e}");
                assert!((loss.guard - whole.guard).abs() <= ROUNDING * whole.guard, "{network:?} in {parts}");
                let images = |loss: &Loss, name| {
                    loss.figures.iter().filter(|f| f.name == name).map(|f| f.images).sum::<usize>()
                };
                let name = whole.figures[0].name;
                assert_eq!((images(&loss, name), images(&whole, name)), (5, 5), "{network:?} in {parts}");
                // Parts that all count the same, whatever their size, would be noticed, and so would a plain sum.
                let wrong: Vec<f32> = found.iter().map(|g| g * 1.001).collect();
                assert!(difference(&wrong, &expected) > ROUNDING);
            }
        }
    }
}
