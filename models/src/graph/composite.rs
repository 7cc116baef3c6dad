//! Composites: operations that carry their own body in primitives.

use super::{Builder, GraphError, NodeId, Primitive, Shape, TensorType};

/// An operation made of primitives. A reader that knows a better kernel may take it whole; every other reader
/// walks into [`Composite::body`].
#[derive(Debug, Clone, PartialEq)]
pub enum Composite {
    /// x · sigmoid(x).
    Silu,
    /// Group normalisation with affine parameters: `[N, C, …]`, `[C]`, `[C]` → `[N, C, …]` (Wu and He 2018).
    GroupNorm {
        /// Groups that the channels are divided into.
        groups: usize,
        /// Added to the variance.
        epsilon: f32,
    },
    /// v · softmax(qᵀ k / √c)ᵀ: `[N, heads, c, Q]`, `[N, heads, c, K]`, `[N, heads, c, K]` → `[N, heads, c, Q]`
    /// (Vaswani et al. 2017, Eq. 1, with positions last).
    Attention,
    /// Sinusoidal embedding of a timestep: `[N]` integer → `[N, dim]`, cosines first (Vaswani et al. 2017, Sec. 3.5).
    TimestepEmbedding {
        /// Length of the embedding; even.
        dim: usize,
    },
}

impl Composite {
    /// The operation's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Silu => "Silu",
            Self::GroupNorm { .. } => "GroupNorm",
            Self::Attention => "Attention",
            Self::TimestepEmbedding { .. } => "TimestepEmbedding",
        }
    }

    /// Builds the body in primitives and returns its value.
    ///
    /// Errors: [`GraphError`] where the inputs do not fit.
    pub fn body(&self, b: &mut Builder, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        match (self, inputs) {
            (Self::Silu, &[x]) => {
                let gate = b.primitive(Primitive::Sigmoid, &[x])?;
                b.mul(x, gate)
            }
            (Self::GroupNorm { groups, epsilon }, &[x, gamma, beta]) => {
                group_norm(b, x, gamma, beta, *groups, *epsilon)
            }
            (Self::Attention, &[q, k, v]) => attention(b, q, k, v),
            (Self::TimestepEmbedding { dim }, &[t]) => timestep_embedding(b, t, *dim),
            (Self::Silu | Self::GroupNorm { .. } | Self::Attention | Self::TimestepEmbedding { .. }, _) => {
                Err(GraphError::Shape {
                    graph: b.graph().name().to_owned(),
                    scope: String::new(),
                    op: self.name().to_owned(),
                    found: format!("{} values", inputs.len()),
                    expected: "as many values as the operation takes".to_owned(),
                })
            }
        }
    }
}

/// The type that a composite makes: that of its body, built on the side.
pub(super) fn infer(composite: &Composite, inputs: &[TensorType]) -> Result<TensorType, String> {
    let mut scratch = Builder::new(composite.name());
    let ids: Vec<NodeId> = inputs
        .iter()
        .enumerate()
        .map(|(i, ty)| scratch.input(&i.to_string(), ty.dtype, ty.shape.clone()))
        .collect();
    let out = composite.body(&mut scratch, &ids).map_err(|e| format!("its body to fit ({e})"))?;
    Ok(scratch.ty(out).clone())
}

fn group_norm(
    b: &mut Builder,
    x: NodeId,
    gamma: NodeId,
    beta: NodeId,
    groups: usize,
    epsilon: f32,
) -> Result<NodeId, GraphError> {
    let shape = b.shape(x).clone();
    let channels = shape.len(1).unwrap_or(0);
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(GraphError::Config {
            graph: b.graph().name().to_owned(),
            what: "channels of a group norm",
            found: format!("{channels} channels in {groups} groups"),
            expected: "channels that divide evenly: multiples of the groups".to_owned(),
        });
    }
    // A group's channels and pixels become one long axis, so that normalising an instance normalises a group.
    let grouped = b.reshape(x, Shape::batch(&[groups, shape.sample_elements() / groups.max(1)]))?;
    let normal = b.primitive(Primitive::InstanceNormalization { epsilon }, &[grouped])?;
    let normal = b.reshape(normal, shape.clone())?;
    let mut per_channel = vec![1; shape.rank() - 1];
    per_channel[0] = channels;
    let gamma = b.reshape(gamma, Shape::fixed(&per_channel))?;
    let beta = b.reshape(beta, Shape::fixed(&per_channel))?;
    let scaled = b.mul(normal, gamma)?;
    b.add(scaled, beta)
}

fn attention(b: &mut Builder, q: NodeId, k: NodeId, v: NodeId) -> Result<NodeId, GraphError> {
    let channels = b.shape(q).len(2).unwrap_or(1);
    // The reference scales q and k by c^-1/4 each, rather than the product by c^-1/2, to stay in range in fp16.
    let factor = (channels as f64).powf(-0.25);
    let (q, k) = (b.scale(q, factor)?, b.scale(k, factor)?);
    let q = b.transpose_last(q)?;
    let scores = b.matmul(q, k)?;
    let weights = b.primitive(Primitive::Softmax { axis: 3 }, &[scores])?;
    let weights = b.transpose_last(weights)?;
    b.matmul(v, weights)
}

fn timestep_embedding(b: &mut Builder, t: NodeId, dim: usize) -> Result<NodeId, GraphError> {
    let half = dim / 2;
    // In f32, step by step as the reference computes it: at t = 999 the rounding of a frequency is visible.
    let frequencies =
        (0..half).map(|i| (-(10_000f64.ln() as f32) * i as f32 / half as f32).exp()).collect::<Vec<f32>>();
    let t = b.primitive(Primitive::Cast, &[t])?;
    let t = b.reshape(t, Shape::batch(&[1]))?;
    let frequencies = b.vector(frequencies);
    let angle = b.mul(t, frequencies)?;
    let cos = b.primitive(Primitive::Cos, &[angle])?;
    let sin = b.primitive(Primitive::Sin, &[angle])?;
    b.concat(&[cos, sin], 1)
}
