//! The two networks on libtorch, as the method wants them: a noise predictor and a guide.
//!
//! All in f32: the classifier's gradient of bfloat16 products is a fifth off.

use anomalens_method::ddim::{ClassLabel, Guide, NetworkError, NoisePredictor};
use anomalens_models::graph::Graph;
use anomalens_models::schedule::Timestep;
use ndarray::Array4;
use tch::{Device, Kind, Tensor};

use crate::interpret::{self, Params, Precision};
use crate::weights::values;

/// A network, its parameters and where they lie.
pub struct Net<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// Its parameters, on `device`.
    pub params: &'a dyn Params,
    /// Where it is computed.
    pub device: Device,
}

impl Net<'_> {
    fn run(&self, x: &Tensor, t: Timestep, y: Option<ClassLabel>) -> Result<Tensor, NetworkError> {
        let n = x.size()[0];
        let repeated = |value: usize| Tensor::full([n], value as i64, (Kind::Int64, self.device));
        let (t, y) = (repeated(t.get()), y.map(|y| repeated(y.get())));
        let mut inputs = vec![("x", x), ("t", &t)];
        inputs.extend(y.iter().map(|y| ("y", y)));
        let outputs = interpret::run(self.graph, self.params, &inputs, Precision::F32);
        Ok(outputs.map_err(NetworkError::new)?.swap_remove(0))
    }

    fn tensor(&self, x: &Array4<f32>) -> Tensor {
        crate::weights::tensor(&x.clone().into_dyn()).to_device(self.device)
    }
}

/// A U-Net; its parameters must ask for no gradients.
pub struct Unet<'a> {
    /// The network.
    pub net: Net<'a>,
    /// Whether it takes a class.
    pub conditional: bool,
}

impl NoisePredictor for Unet<'_> {
    fn eps(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        Ok(self.eps_and_variance(x, t, y)?.0)
    }

    fn eps_and_variance(
        &mut self,
        x: &Array4<f32>,
        t: Timestep,
        y: ClassLabel,
    ) -> Result<(Array4<f32>, Option<Array4<f32>>), NetworkError> {
        tch::no_grad(|| {
            let out = self.net.run(&self.net.tensor(x), t, self.conditional.then_some(y))?;
            let channels = x.dim().1 as i64;
            let part = |start| array(&out.narrow(1, start, channels), x.dim());
            Ok((part(0), (out.size()[1] > channels).then(|| part(channels))))
        })
    }
}

/// A noisy classifier; its parameters must ask for no gradients.
pub struct Classifier<'a> {
    /// The network.
    pub net: Net<'a>,
}

impl Guide for Classifier<'_> {
    fn gradient(&mut self, x: &Array4<f32>, t: Timestep, y: ClassLabel) -> Result<Array4<f32>, NetworkError> {
        let dim = x.dim();
        let x = self.net.tensor(x).set_requires_grad(true);
        let logits = self.net.run(&x, t, None)?;
        // Each image's logit depends on that image alone, so the sum has the gradients of all.
        let chosen = logits.log_softmax(1, Kind::Float).select(1, y.get() as i64).sum(Kind::Float);
        let gradient = Tensor::f_run_backward(&[chosen], &[&x], false, false).map_err(NetworkError::new)?;
        Ok(array(&gradient[0], dim))
    }
}

fn array(tensor: &Tensor, dim: (usize, usize, usize, usize)) -> Array4<f32> {
    Array4::from_shape_vec(dim, values(tensor)).expect("a network gives what its graph says")
}
