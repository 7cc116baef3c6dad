//! The Fixed-Point GAN, a comparison method: a generator turns an image into one of another domain, or of its own, and a
//! critic tells made images from real ones and their domains apart.
//!
//! M. M. Rahman Siddiquee et al., "Learning Fixed Points in Generative Adversarial Networks: From Image-to-Image
//! Translation to Disease Detection and Localization" (ICCV 2019). The networks are those of StarGAN (Choi et al., CVPR
//! 2018), the generator made to give a difference; parameters are named as in both authors' code.
//!
//! | taken from the paper and its code | different here |
//! |---|---|
//! | the generator's image is tanh(x + difference), all images in [−1, 1] | channels are the preset's, not three |
//! | a domain is one plane of ones among planes of zeros, behind the image's channels | – |
//! | instance norm by each image's own statistics, as the code does: it never leaves training mode | its running statistics, which nothing reads, are not kept |
//! | the critic's two heads: a map of sources, and one value a domain | – |

use super::blocks::{self, bare_conv, conv, same};
use crate::graph::{Builder, DType, Graph, GraphError, Init, NodeId, Primitive, Shape, Window};
use crate::preset::{FixedPointGanConfig, Norm, Preset};

/// Slope of the critic's leaky ReLUs.
const SLOPE: f32 = 0.01;
/// PyTorch's.
const EPSILON: f64 = 1e-5;

/// The generator of a preset, as it is trained.
///
/// Inputs `x` `[N, C, H, W]` in [−1, 1] and `y` `[N]` (integer), the domain to translate to; output `image`
/// `[N, C, H, W]` in (−1, 1).
///
/// Errors: [`GraphError`] where the preset has another method.
pub fn fixed_point_generator(preset: &Preset) -> Result<Graph, GraphError> {
    let config = preset.fixed_point_gan()?;
    let size = preset.image.size;
    let mut builder = Builder::new("fpgan");
    let b = &mut builder;
    let x = image(b, preset);
    let y = b.input("y", DType::I64, Shape::batch(&[]));
    let code = b.primitive(Primitive::OneHot { depth: config.classes }, &[y])?;
    let code = b.reshape(code, Shape::batch(&[config.classes, 1, 1]))?;
    let planes =
        b.primitive(Primitive::Expand { shape: Shape::batch(&[config.classes, size, size]) }, &[code])?;
    let image = generate(b, x, planes, config)?;
    b.output("image", image);
    Ok(builder.finish())
}

/// The same as it is used, on images in [0, 1] and to the healthy domain always.
///
/// Input `x` `[N, C, H, W]` in [0, 1]; output `healthy` `[N, C, H, W]` in (0, 1). Its parameters are those of
/// [`fixed_point_generator`].
///
/// Errors: [`GraphError`] where the preset has another method.
pub(super) fn healthy(preset: &Preset) -> Result<Graph, GraphError> {
    let config = preset.fixed_point_gan()?;
    let size = preset.image.size;
    let mut builder = Builder::new("fpgan");
    let b = &mut builder;
    let x = image(b, preset);
    let one = b.scalar(1.0);
    let twice = b.scale(x, 2.0)?;
    let signed = b.sub(twice, one)?;
    // Planes of the batch, as none of an operation's inputs but an image knows how large the batch is.
    let plane = b.slice(signed, 1, 0, 1)?;
    let zeros = b.scale(plane, 0.0)?;
    let ones = b.add(zeros, one)?;
    let planes: Vec<NodeId> =
        (0..config.classes).map(|class| if class == config.healthy_class { ones } else { zeros }).collect();
    let planes = b.concat(&planes, 1)?;
    debug_assert_eq!(*b.shape(planes), Shape::batch(&[config.classes, size, size]));
    let image = generate(b, signed, planes, config)?;
    let raised = b.add(image, one)?;
    let healthy = b.scale(raised, 0.5)?;
    b.output("healthy", healthy);
    Ok(builder.finish())
}

/// The critic of a preset: StarGAN's discriminator.
///
/// Input `x` `[N, C, H, W]` in [−1, 1]; outputs `source` `[N, 1, h, w]`, larger for real images, and `logits` `[N, K]`,
/// one a domain.
///
/// Errors: [`GraphError`] where the preset has another method.
pub fn fixed_point_critic(preset: &Preset) -> Result<Graph, GraphError> {
    let config = preset.fixed_point_gan()?;
    let mut builder = Builder::new("critic");
    let b = &mut builder;
    let mut h = image(b, preset);
    for level in 0..config.critic_levels {
        let width = config.critic_channels << level;
        h = b.within(&format!("main.{}", 2 * level), |b| conv(b, h, width, 4, 2))?;
        h = b.primitive(Primitive::LeakyRelu { slope: SLOPE }, &[h])?;
    }
    let source = b.within("conv1", |b| bare_conv(b, h, 1, 3, 1, 1))?;
    let side = preset.image.size >> config.critic_levels;
    let logits = b.within("conv2", |b| bare_conv(b, h, config.classes, side, 1, 0))?;
    let logits = b.reshape(logits, Shape::batch(&[config.classes]))?;
    b.output("source", source);
    b.output("logits", logits);
    Ok(builder.finish())
}

fn image(b: &mut Builder, preset: &Preset) -> NodeId {
    let size = preset.image.size;
    b.input("x", DType::F32, Shape::batch(&[preset.channels(), size, size]))
}

/// tanh(x + difference), the difference by the generator's network from image and planes.
fn generate(
    b: &mut Builder,
    x: NodeId,
    planes: NodeId,
    config: &FixedPointGanConfig,
) -> Result<NodeId, GraphError> {
    let channels = blocks::channels(b, x);
    // Layers are numbered as in the published `Sequential`, where the ReLUs count.
    let mut place = 0;
    let mut next = |layers: usize| {
        place += layers;
        format!("main.{}", place - layers)
    };
    let mut h = b.concat(&[x, planes], 1)?;
    let mut width = config.generator_channels;
    h = b.within(&next(1), |b| bare_conv(b, h, width, 7, 1, same(7)))?;
    h = b.within(&next(2), |b| normed(b, h))?;
    h = b.primitive(Primitive::Relu, &[h])?;
    for _ in 0..FixedPointGanConfig::GENERATOR_LEVELS {
        width *= 2;
        h = b.within(&next(1), |b| bare_conv(b, h, width, 4, 2, same(4)))?;
        h = b.within(&next(2), |b| normed(b, h))?;
        h = b.primitive(Primitive::Relu, &[h])?;
    }
    for _ in 0..config.generator_blocks {
        h = b.within(&format!("{}.main", next(1)), |b| residual(b, h, width))?;
    }
    for _ in 0..FixedPointGanConfig::GENERATOR_LEVELS {
        width /= 2;
        h = b.within(&next(1), |b| doubled(b, h, width))?;
        h = b.within(&next(2), |b| normed(b, h))?;
        h = b.primitive(Primitive::Relu, &[h])?;
    }
    let difference = b.within(&next(1), |b| bare_conv(b, h, channels, 7, 1, same(7)))?;
    let sum = b.add(x, difference)?;
    b.primitive(Primitive::Tanh, &[sum])
}

fn residual(b: &mut Builder, x: NodeId, width: usize) -> Result<NodeId, GraphError> {
    let h = b.within("0", |b| bare_conv(b, x, width, 3, 1, 1))?;
    let h = b.within("1", |b| normed(b, h))?;
    let h = b.primitive(Primitive::Relu, &[h])?;
    let h = b.within("3", |b| bare_conv(b, h, width, 3, 1, 1))?;
    let h = b.within("4", |b| normed(b, h))?;
    b.add(x, h)
}

/// Twice the resolution by a transposed convolution of kernel 4 without bias.
fn doubled(b: &mut Builder, x: NodeId, width: usize) -> Result<NodeId, GraphError> {
    const KERNEL: usize = 4;
    let channels = blocks::channels(b, x);
    // As PyTorch counts the inputs of a transposed convolution: by the weight's second dimension.
    let init = Init::FanIn(width * KERNEL * KERNEL);
    let weight = b.param("weight", &[channels, width, KERNEL, KERNEL], init);
    let op = Primitive::ConvTranspose {
        window: Window::square(2, same(KERNEL)),
        groups: 1,
        output_padding: [0, 0],
    };
    b.primitive(op, &[x, weight])
}

/// Instance norm with parameters `weight` and `bias`: a group norm of one channel a group.
fn normed(b: &mut Builder, x: NodeId) -> Result<NodeId, GraphError> {
    let groups = blocks::channels(b, x);
    blocks::norm(b, x, Norm { groups, epsilon: EPSILON })
}
