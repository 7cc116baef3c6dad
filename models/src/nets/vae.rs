//! The variational autoencoder, a comparison method: trained on healthy images, it gives every image back as one of those.
//!
//! After X. Chen and E. Konukoglu, "Unsupervised Detection of Lesions in Brain MRI using constrained adversarial
//! auto-encoders" (MIDL 2018), which Wolleb et al. compare with.
//!
//! | taken from the paper and its authors' code | different here |
//! |---|---|
//! | a convolutional residual encoder and decoder, the latent an image | widths and latent channels are the preset's |
//! | a block: two convolutions, a third beside them, leaky ReLU of slope 0.2 | group norm, not batch norm: an image's result must not depend on its neighbours in the batch |
//! | down by convolutions of stride 2 | up by doubling pixels, not by transposed convolutions, which leave a checkerboard |
//! | a Gaussian decoder without a last non-linearity | – |
//! | mean and log-variance by a convolution each | – |
//!
//! The adversarial variants of that paper, and its restoration by iteration, are not here: the map is |x − reconstruction|,
//! as Wolleb et al. have it.

use super::blocks::{self, conv};
use crate::graph::{Builder, DType, Graph, GraphError, NodeId, Primitive, Shape};
use crate::preset::{Norm, Preset, VaeConfig};

/// Slope of every leaky ReLU.
const SLOPE: f32 = 0.2;
const NORM: Norm = Norm { groups: VaeConfig::GROUPS, epsilon: 1e-5 };

/// The autoencoder of a preset, as it is trained.
///
/// Inputs `x` `[N, C, H, W]` in [0, 1] and `noise` `[N, Z, h, w]`, standard normal; outputs `reconstruction`
/// `[N, C, H, W]`, `mean` and `log_variance` `[N, Z, h, w]`, of the latent image that the noise is scaled and shifted to.
///
/// Errors: [`GraphError`] where the preset has another method.
pub fn vae(preset: &Preset) -> Result<Graph, GraphError> {
    let config = preset.vae()?;
    let mut builder = Builder::new("vae");
    let b = &mut builder;
    let x = image(b, preset);
    let (mean, h) = encode(b, x, config)?;
    let log_variance = b.within("log_variance", |b| conv(b, h, config.latent_channels, 1, 1))?;
    let latent = b.shape(mean).clone();
    let noise = b.input("noise", DType::F32, latent);
    let half = b.scale(log_variance, 0.5)?;
    let deviation = b.primitive(Primitive::Exp, &[half])?;
    let scaled = b.mul(deviation, noise)?;
    let z = b.add(mean, scaled)?;
    let reconstruction = decode(b, z, config, preset.channels())?;
    b.output("reconstruction", reconstruction);
    b.output("mean", mean);
    b.output("log_variance", log_variance);
    Ok(builder.finish())
}

/// The same as it is used: the latent image is its mean, and nothing is drawn.
///
/// Input `x` `[N, C, H, W]` in [0, 1]; output `healthy` `[N, C, H, W]`. Its parameters are those of [`vae`] but for
/// `log_variance`.
///
/// Errors: [`GraphError`] where the preset has another method.
pub(super) fn healthy(preset: &Preset) -> Result<Graph, GraphError> {
    let config = preset.vae()?;
    let mut builder = Builder::new("vae");
    let b = &mut builder;
    let x = image(b, preset);
    let (mean, _) = encode(b, x, config)?;
    let healthy = decode(b, mean, config, preset.channels())?;
    b.output("healthy", healthy);
    Ok(builder.finish())
}

fn image(b: &mut Builder, preset: &Preset) -> NodeId {
    let size = preset.image.size;
    b.input("x", DType::F32, Shape::batch(&[preset.channels(), size, size]))
}

/// The mean of the latent image, and the value that it is made of.
fn encode(b: &mut Builder, x: NodeId, config: &VaeConfig) -> Result<(NodeId, NodeId), GraphError> {
    let h = b.within("encoder", |b| {
        let mut h = b.within("first", |b| convolved(b, x, config.widths[0], 1))?;
        h = leaky(b, h)?;
        for (level, &width) in config.widths.iter().enumerate().skip(1) {
            h = b.within(&level.to_string(), |b| down(b, h, width))?;
        }
        Ok::<_, GraphError>(h)
    })?;
    let mean = b.within("mean", |b| conv(b, h, config.latent_channels, 1, 1))?;
    Ok((mean, h))
}

/// From the latent image to one of so many channels.
fn decode(b: &mut Builder, z: NodeId, config: &VaeConfig, channels: usize) -> Result<NodeId, GraphError> {
    b.within("decoder", |b| {
        let deepest = *config.widths.last().expect("a preset has at least two widths");
        let mut h = b.within("first", |b| convolved(b, z, deepest, 1))?;
        h = leaky(b, h)?;
        for (level, &width) in config.widths.iter().enumerate().rev().skip(1) {
            h = b.within(&level.to_string(), |b| up(b, h, width))?;
        }
        b.within("last", |b| conv(b, h, channels, 3, 1))
    })
}

/// Half the resolution.
fn down(b: &mut Builder, x: NodeId, width: usize) -> Result<NodeId, GraphError> {
    let before = blocks::channels(b, x);
    let h = b.within("0", |b| convolved(b, x, before, 2))?;
    let h = leaky(b, h)?;
    let h = b.within("1", |b| convolved(b, h, width, 1))?;
    let beside = b.within("beside", |b| convolved(b, x, width, 2))?;
    let sum = b.add(h, beside)?;
    leaky(b, sum)
}

/// Twice the resolution.
fn up(b: &mut Builder, x: NodeId, width: usize) -> Result<NodeId, GraphError> {
    let double = |b: &mut Builder, x| b.primitive(Primitive::Resize { factor: 2 }, &[x]);
    let h = b.within("0", |b| convolved(b, x, width, 1))?;
    let h = leaky(b, h)?;
    let h = double(b, h)?;
    let h = b.within("1", |b| convolved(b, h, width, 1))?;
    let beside = b.within("beside", |b| convolved(b, x, width, 1))?;
    let beside = double(b, beside)?;
    let sum = b.add(h, beside)?;
    leaky(b, sum)
}

/// A convolution and its norm.
fn convolved(b: &mut Builder, x: NodeId, width: usize, stride: usize) -> Result<NodeId, GraphError> {
    let h = b.within("conv", |b| conv(b, x, width, 3, stride))?;
    b.within("norm", |b| blocks::norm(b, h, NORM))
}

fn leaky(b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
    b.primitive(Primitive::LeakyRelu { slope: SLOPE }, &[x])
}
