//! Named tensors: the parameters of a network, their average, the moments of the optimiser.

use anomalens_models::graph::ParamSpec;
use anomalens_models::weights::{Weights, initial};
use ndarray::ArrayD;
use tch::{Device, Kind, Tensor};

use crate::error::TrainError;
use crate::interpret::Params;

/// Tensors by name, in a fixed order: that of the parameters.
#[derive(Debug, Default)]
pub struct Named {
    tensors: Vec<(String, Tensor)>,
    places: std::collections::HashMap<String, usize>,
}

impl Named {
    /// Takes tensors and their names, which must differ.
    pub fn new(tensors: Vec<(String, Tensor)>) -> Self {
        let places = tensors.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
        Self { tensors, places }
    }

    /// The parameters that training of a network starts from, on a device, asking for gradients: those of `start`
    /// where name and shape agree, else fresh ones.
    ///
    /// Errors: [`TrainError::Weights`]; [`TrainError::Start`] where nothing in `start` fits the network.
    pub fn initial(
        network: &str,
        params: &[ParamSpec],
        seed: u64,
        start: Option<&Weights>,
        device: Device,
    ) -> Result<Self, TrainError> {
        let mut taken = 0;
        let mut tensors = Vec::with_capacity(params.len());
        let shapes = start.map(Weights::shapes).unwrap_or_default();
        for spec in params {
            let array = match start.filter(|_| shapes.get(&spec.name) == Some(&spec.shape)) {
                Some(start) => {
                    taken += 1;
                    start.read(&spec.name)?
                }
                None => initial(seed, spec),
            };
            tensors.push((spec.name.clone(), tensor(&array).to_device(device).set_requires_grad(true)));
        }
        match start.filter(|_| taken == 0) {
            Some(start) => Err(TrainError::Start {
                path: start.path().to_owned(),
                found: shapes.len(),
                graph: network.to_owned(),
            }),
            None => Ok(Self::new(tensors)),
        }
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names and tensors in order, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Tensor)> {
        self.tensors.iter_mut().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Zeros of the same names and shapes, without gradients.
    pub fn zeros(&self) -> Self {
        self.map(|t| Tensor::zeros_like(t).set_requires_grad(false))
    }

    /// The same tensors, of which those that `keep` names.
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        let kept = self.iter().filter(|(name, _)| keep(name));
        Self::new(kept.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect())
    }

    /// A copy, without gradients.
    pub fn copied(&self) -> Self {
        self.map(|t| t.detach().copy())
    }

    fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Self::new(self.iter().map(|(name, tensor)| (name.to_owned(), f(tensor))).collect())
    }

    /// Sets every gradient to zero.
    pub fn zero_grad(&mut self) {
        self.tensors.iter_mut().for_each(|(_, tensor)| tensor.zero_grad());
    }
}

impl Params for Named {
    fn get(&self, name: &str) -> Option<&Tensor> {
        self.places.get(name).map(|&i| &self.tensors[i].1)
    }
}

/// An array as a tensor of the processor, f32.
pub fn tensor(array: &ArrayD<f32>) -> Tensor {
    let shape: Vec<i64> = array.shape().iter().map(|&d| d as i64).collect();
    let values = array.as_standard_layout();
    Tensor::from_slice(values.as_slice().expect("made contiguous by the line above")).reshape(shape)
}

/// A tensor's values in row order.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous().flatten(0, -1);
    Vec::<f32>::try_from(&flat).expect("a flat f32 tensor of the processor")
}
