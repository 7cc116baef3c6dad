//! One step: a phase or two of loss, gradients, Adam, average.

use tch::{Kind, Tensor};

use super::{EXPLODED, Settings};
use crate::adam::{average, clip_gradients};
use crate::batches::Batch;
use crate::checkpoint::State;
use crate::error::TrainError;
use crate::interpret::{InterpretError, Precision};
use crate::task::{Figure, Loss, Part, Phase, Task};
use crate::weights::Named;

/// Makes the step after those that `state` has made, on its batch. On an exploded loss the phase's parameters are left as
/// they were.
pub(super) fn step(
    task: &dyn Task,
    settings: &Settings,
    state: &mut State,
    batch: &Batch,
) -> Result<Loss, TrainError> {
    let drawn = task.draw(batch, settings.seed, state.step);
    let work = Work { task, batch, drawn, precision: settings.precision };
    let mut all: Option<Loss> = None;
    for phase in task.phases(state.step + 1) {
        let loss = change(&work, settings, state, phase)?;
        match &mut all {
            None => all = Some(loss),
            Some(all) => {
                all.guard = all.guard.max(loss.guard);
                all.figures.extend(loss.figures);
            }
        }
    }
    state.step += 1;
    Ok(all.expect("a step has a phase"))
}

/// One phase: gradients, Adam and average of its parameters alone.
fn change(work: &Work<'_>, settings: &Settings, state: &mut State, phase: Phase) -> Result<Loss, TrainError> {
    let (recipe, part) = (&settings.recipe, phase.part);
    let mut loss = work
        .gradients(part, &mut state.model, recipe.accumulate)
        .map_err(|e| work.room(part, &mut state.model, recipe.accumulate, e))?;
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
    let norm = clip_gradients(&mut state.model, part, recipe.clip_gradient);
    if !norm.is_finite() {
        return Err(exploded("the gradient's norm", norm));
    }
    loss.figures.push(Figure { name: part.norm_name(), value: norm, images: recipe.batch });
    state.adam.step(&mut state.model, phase, settings.rate(state.step));
    if let (Some(ema), Some(rate)) = (&mut state.ema, recipe.ema) {
        average(ema, &state.model, part, rate);
    }
    Ok(loss)
}

/// What gradients are computed of.
struct Work<'a> {
    task: &'a dyn Task,
    batch: &'a Batch,
    drawn: Vec<Tensor>,
    precision: Precision,
}

impl Work<'_> {
    /// Leaves in `model` the gradient of the mean loss of all images, computed in `parts` as even as can be, one after
    /// the other. No image meets another in these networks, so that any number of parts gives the same.
    fn gradients(&self, phase: Part, model: &mut Named, parts: usize) -> Result<Loss, TrainError> {
        model.zero_grad();
        let images = self.batch.labels.numel();
        let mut all = Loss {
            total: Tensor::zeros([], (Kind::Float, self.batch.images.device())),
            guard: 0.0,
            figures: Vec::new(),
        };
        for part in 0..parts {
            let (start, end) = (part * images / parts, (part + 1) * images / parts);
            let of = |x: &Tensor| x.narrow(0, start as i64, (end - start) as i64);
            let batch = Batch { images: of(&self.batch.images), labels: of(&self.batch.labels) };
            let drawn: Vec<Tensor> = self.drawn.iter().map(of).collect();
            let loss = self.task.loss(phase, &*model, &batch, &drawn, self.precision)?;
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
    fn room(&self, phase: Part, model: &mut Named, parts: usize, error: TrainError) -> TrainError {
        if !is_want_of_memory(&error) {
            return error;
        }
        let images = self.batch.labels.numel();
        let doubled = std::iter::successors(Some(2 * parts), |parts| Some(2 * parts));
        let tried = doubled.take_while(|parts| *parts < images).chain([images]);
        let fits =
            tried.filter(|more| *more > parts).find(|more| self.gradients(phase, model, *more).is_ok());
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
    use anomalens_models::preset::{Preset, Recipe};
    use anomalens_models::weights::RandomWeights;
    use tch::Device;

    use super::*;
    use crate::task::{CRITIC_STEPS, Network};
    use crate::weights::{tensor, values};

    /// Sums of the same products in another order, in f32 through up to 40 layers and back, of the largest value.
    const ROUNDING: f64 = 1e-4;

    /// The largest difference over the largest value of `b`.
    fn difference(a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len());
        let most = b.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let apart = a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        f64::from(apart / most)
    }

    #[test]
    fn a_batch_in_parts_has_the_gradient_of_the_whole() {
        let [tiny, vae, gan] = ["tiny", "demo-vae", "demo-fpgan"].map(|name| Preset::load(name).unwrap());
        for (network, preset, part) in [
            (Network::Ddpm, &tiny, Part::Whole),
            (Network::Classifier, &tiny, Part::Whole),
            (Network::Vae, &vae, Part::Whole),
            (Network::FixedPointGan, &gan, Part::Critic),
            (Network::FixedPointGan, &gan, Part::Generator),
        ] {
            let task = network.task(preset, network.recipe(&preset.train), Device::Cpu).unwrap();
            // Random in every layer: much of a fresh network has no gradient.
            let specs = task.params();
            let random = RandomWeights::new(1, &specs);
            let weight = |name: &str| tensor(&random.param(name).unwrap()).set_requires_grad(true);
            let mut model = Named::new(specs.iter().map(|p| (p.name.clone(), weight(&p.name))).collect());
            tch::manual_seed(3);
            let labels = Tensor::from_slice(&[0i64, 1, 1, 0, 1]);
            let side = preset.image.size as i64;
            let images = Tensor::rand([5, 4, side, side], (Kind::Float, Device::Cpu));
            let batch = Batch { images, labels };
            let drawn = task.draw(&batch, 7, 0);
            let work = Work { task: task.as_ref(), batch: &batch, drawn, precision: Precision::F32 };
            let mut gradients = |parts| {
                let loss = work.gradients(part, &mut model, parts).unwrap();
                let own = model.iter().filter(|(name, _)| part.owns(name));
                let all = own.flat_map(|(_, p)| values(&p.grad())).collect::<Vec<f32>>();
                (loss, all)
            };
            let (whole, expected) = gradients(1);
            // 5 images in 2 or 3 parts are of unequal sizes.
            for parts in [2, 3, 5] {
                let (loss, found) = gradients(parts);
                let error = difference(&found, &expected);
                assert!(error <= ROUNDING, "{network:?} {part:?} in {parts} parts: {error:.1e}");
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

    /// What a phase changes depends on its own parameters' gradients alone: a run that goes on from a checkpoint has no
    /// gradients of others, one that was not cut off has.
    #[test]
    fn a_phase_sees_its_own_gradients_alone() {
        let preset = Preset::load("demo-fpgan").unwrap();
        let recipe = Recipe { clip_gradient: Some(1e-3), ema: Some(0.5), ..preset.train.fpgan.clone() };
        let task = Network::FixedPointGan.task(&preset, &recipe, Device::Cpu).unwrap();
        let settings = Settings {
            network: Network::FixedPointGan,
            preset,
            recipe,
            start_from: None,
            seed: 1,
            precision: Precision::F32,
            log_every: 1,
            checkpoint_every: 1,
            keep: 1,
            machine: Vec::new(),
        };
        tch::manual_seed(3);
        let batch = Batch {
            images: Tensor::rand([2, 4, 64, 64], (Kind::Float, Device::Cpu)),
            labels: Tensor::from_slice(&[0i64, 1]),
        };
        let work = || {
            let drawn = task.draw(&batch, 7, 0);
            Work { task: task.as_ref(), batch: &batch, drawn, precision: Precision::F32 }
        };
        for phase in task.phases(CRITIC_STEPS) {
            let after = |stale: f64| {
                let mut state = State::initial(task.as_ref(), 1, None, true, Device::Cpu).unwrap();
                let before = state.model.copied();
                work().gradients(phase.part, &mut state.model, 1).unwrap();
                // As if another phase had left them.
                for (_, p) in state.model.iter_mut().filter(|(name, _)| !phase.part.owns(name)) {
                    let mut gradient = p.grad();
                    if gradient.defined() {
                        let _ = gradient.fill_(stale);
                    }
                }
                let norm = clip_gradients(&mut state.model, phase.part, settings.recipe.clip_gradient);
                state.adam.step(&mut state.model, phase, 1e-3);
                average(state.ema.as_mut().unwrap(), &state.model, phase.part, 0.5);
                let moved = |owned: bool| {
                    let pairs = state.model.iter().zip(before.iter());
                    let pairs = pairs.filter(|((name, _), _)| phase.part.owns(name) == owned);
                    pairs.flat_map(|((_, a), (_, b))| values(&(a - b))).collect::<Vec<f32>>()
                };
                (norm, moved(true), moved(false))
            };
            let (norm, own, others) = after(0.0);
            let (norm_beside_stale, own_beside_stale, others_beside_stale) = after(1e6);
            assert_eq!((norm, &own), (norm_beside_stale, &own_beside_stale), "{phase:?}");
            assert!(own.iter().any(|&v| v != 0.0), "{phase:?}");
            assert!(others.iter().chain(&others_beside_stale).all(|&v| v == 0.0), "{phase:?}");
        }
        // A clip over all parameters, as of one phase, would be another.
        let mut state = State::initial(task.as_ref(), 1, None, true, Device::Cpu).unwrap();
        work().gradients(Part::Generator, &mut state.model, 1).unwrap();
        let own = clip_gradients(&mut state.model, Part::Generator, None);
        assert_ne!(own, clip_gradients(&mut state.model, Part::Whole, None));
    }
}
