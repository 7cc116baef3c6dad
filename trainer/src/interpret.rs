//! Runs a graph on libtorch tensors: the trainer's reader of a network, and with autograd the oracle of the exported
//! gradient.
//!
//! Composites are taken whole where libtorch has a kernel (group norm, SiLU); the others are walked into. In
//! [`Precision::Bf16`] products (convolutions, matrix products) read their operands rounded to bfloat16, as PyTorch's
//! autocast does; group norms compute in f32 inside, softmax and the outputs are f32. Parameters stay f32.

use std::collections::HashMap;

use anomalens_models::graph::{Composite, Constant, Graph, Node, Op, ParamSpec, Primitive, Window};
use tch::{Kind, TchError, Tensor};

/// Numbers that products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point throughout.
    F32,
    /// The same, but a GPU may round the operands of products to TF32 (10 bits of mantissa).
    Tf32,
    /// Products of bfloat16 (8 bits of mantissa), sums of f32.
    Bf16,
}

impl Precision {
    /// `f32`, `tf32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Why a graph could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterpretError {
    /// An input was not given.
    #[error("graph '{graph}': no input '{input}', expected {expected}; give every input")]
    Input {
        /// The graph.
        graph: String,
        /// The input.
        input: String,
        /// Its type.
        expected: String,
    },
    /// A parameter is missing or of another shape.
    #[error(
        "graph '{graph}': parameter '{name}': found {found}, expected shape {expected:?}; these are not this network's weights"
    )]
    Param {
        /// The graph.
        graph: String,
        /// The parameter.
        name: String,
        /// What was found.
        found: String,
        /// Its shape.
        expected: Vec<usize>,
    },
    /// libtorch refused an operation.
    #[error("graph '{graph}', at '{scope}': {op}: {source}")]
    Torch {
        /// The graph.
        graph: String,
        /// Place in the network.
        scope: String,
        /// The operation.
        op: &'static str,
        /// libtorch's words.
        source: Box<TchError>,
    },
}

/// Where parameters come from: a tensor of the device by name.
pub trait Params {
    /// The parameter, or none of this name.
    fn get(&self, name: &str) -> Option<&Tensor>;
}

impl Params for HashMap<String, Tensor> {
    fn get(&self, name: &str) -> Option<&Tensor> {
        HashMap::get(self, name)
    }
}

/// What only training does to the first operand of an operation, or nothing.
pub type Hook<'a> = &'a dyn Fn(&Node, &Tensor) -> Result<Option<Tensor>, TchError>;

/// Runs a graph as it is: [`run_with`] without a hook.
///
/// Errors: [`InterpretError`].
pub fn run(
    graph: &Graph,
    params: &dyn Params,
    inputs: &[(&str, &Tensor)],
    precision: Precision,
) -> Result<Vec<Tensor>, InterpretError> {
    run_with(graph, params, inputs, precision, &|_, _| Ok(None))
}

/// Runs a graph on named inputs and returns its outputs in the graph's order, in f32. All tensors must lie on one
/// device; the batch is whatever the inputs have. Values that nothing needs any more are let go.
/// `hook` is asked before each operation that computes.
///
/// Errors: [`InterpretError`].
pub fn run_with(
    graph: &Graph,
    params: &dyn Params,
    inputs: &[(&str, &Tensor)],
    precision: Precision,
    hook: Hook<'_>,
) -> Result<Vec<Tensor>, InterpretError> {
    let last = graph.last_uses();
    let mut values: Vec<Option<Tensor>> = (0..graph.nodes().len()).map(|_| None).collect();
    let device = inputs.first().map_or(tch::Device::Cpu, |(_, t)| t.device());
    let reader = Reader { graph, params, inputs, precision, device, hook };
    for (id, node) in graph.iter() {
        let args: Vec<&Tensor> = node
            .inputs
            .iter()
            .map(|i| values[i.index()].as_ref().expect("kept until its last use"))
            .collect();
        let value = reader.eval(node, &args)?;
        values[id.index()] = Some(value);
        for used in node.inputs.iter().chain([&id]) {
            if last[used.index()] <= id.index() {
                values[used.index()] = None;
            }
        }
    }
    let value = |id: anomalens_models::graph::NodeId| values[id.index()].as_ref().expect("outputs are kept");
    Ok(graph.outputs().iter().map(|(_, id)| value(*id).to_kind(Kind::Float)).collect())
}

struct Reader<'a> {
    graph: &'a Graph,
    params: &'a dyn Params,
    inputs: &'a [(&'a str, &'a Tensor)],
    precision: Precision,
    device: tch::Device,
    hook: Hook<'a>,
}

impl Reader<'_> {
    fn eval(&self, node: &Node, args: &[&Tensor]) -> Result<Tensor, InterpretError> {
        match &node.op {
            Op::Primitive(Primitive::Input { name, ty }) => {
                let found = self.inputs.iter().find(|(n, _)| n == name).map(|(_, t)| t.shallow_clone());
                found.ok_or_else(|| InterpretError::Input {
                    graph: self.graph.name().to_owned(),
                    input: name.clone(),
                    expected: format!("{:?} {}", ty.dtype, ty.shape),
                })
            }
            Op::Primitive(Primitive::Param(spec)) => self.param(spec),
            Op::Primitive(_) | Op::Composite(_) => self.compute(node, args).map_err(|e| self.torch(node, e)),
        }
    }

    fn compute(&self, node: &Node, args: &[&Tensor]) -> Result<Tensor, TchError> {
        let changed = args.first().map_or(Ok(None), |x| (self.hook)(node, x))?;
        let mut args = args.to_vec();
        if let Some(changed) = &changed {
            args[0] = changed;
        }
        match &node.op {
            Op::Primitive(op) => self.primitive(op, node, &args),
            Op::Composite(op) => self.composite(op, &args),
        }
    }

    fn param(&self, spec: &ParamSpec) -> Result<Tensor, InterpretError> {
        let found = self.params.get(&spec.name);
        let shape: Vec<i64> = spec.shape.iter().map(|&d| d as i64).collect();
        match found {
            Some(tensor) if tensor.size() == shape => Ok(tensor.shallow_clone()),
            other => Err(InterpretError::Param {
                graph: self.graph.name().to_owned(),
                name: spec.name.clone(),
                found: other.map_or("nothing".to_owned(), |t| format!("shape {:?}", t.size())),
                expected: spec.shape.clone(),
            }),
        }
    }

    fn torch(&self, node: &Node, source: TchError) -> InterpretError {
        let (graph, scope) = (self.graph.name().to_owned(), node.scope.clone());
        InterpretError::Torch { graph, scope, op: node.op.name(), source: source.into() }
    }

    /// An operand of a product, in the precision of products.
    fn operand(&self, x: &Tensor) -> Tensor {
        match self.precision {
            // The GPU's products round by themselves: see `device::allow_tf32`.
            Precision::F32 | Precision::Tf32 => x.shallow_clone(),
            Precision::Bf16 => x.to_kind(Kind::BFloat16),
        }
    }

    fn primitive(&self, op: &Primitive, node: &Node, args: &[&Tensor]) -> Result<Tensor, TchError> {
        use Primitive as P;
        let x = |i: usize| args[i];
        let product = |i: usize| self.operand(args[i]);
        // The batch, the one open dimension, is whatever is left over.
        let shape = |shape: &anomalens_models::graph::Shape| -> Vec<i64> {
            (0..shape.rank()).map(|axis| shape.len(axis).map_or(-1, |d| d as i64)).collect()
        };
        Ok(match op {
            P::Input { .. } | P::Param(_) => unreachable!("leaves are read by eval"),
            P::Constant(Constant { shape, values }) => {
                let shape: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
                Tensor::from_slice(values).f_reshape(shape)?.f_to_device(self.device)?
            }
            P::Cast => x(0).f_to_kind(Kind::Float)?,
            P::Add => pair(args, Tensor::f_add)?,
            P::Sub => pair(args, Tensor::f_sub)?,
            P::Mul => pair(args, Tensor::f_mul)?,
            P::Div => pair(args, Tensor::f_div)?,
            P::Sqrt => x(0).f_sqrt()?,
            P::Sigmoid => x(0).f_sigmoid()?,
            P::Relu => x(0).f_relu()?,
            // libtorch's own takes slopes of its default alone; this is the same in two kernels.
            P::LeakyRelu { slope } => x(0).f_maximum(&x(0).f_mul_scalar(f64::from(*slope))?)?,
            P::Exp => x(0).f_exp()?,
            P::Tanh => x(0).f_tanh()?,
            P::Sign => x(0).f_sign()?,
            P::Cos => x(0).f_cos()?,
            P::Sin => x(0).f_sin()?,
            P::Abs => x(0).f_abs()?,
            P::Log => x(0).f_log()?,
            P::Erf => x(0).f_erf()?,
            P::Pow { exponent } => x(0).f_pow_tensor_scalar(f64::from(*exponent))?,
            P::Clip { min, max } => x(0).f_clamp(f64::from(*min), f64::from(*max))?,
            P::Softmax { axis } => x(0).f_softmax(*axis as i64, Kind::Float)?,
            P::LogSoftmax { axis } => x(0).f_log_softmax(*axis as i64, Kind::Float)?,
            P::InstanceNormalization { epsilon } => x(0).f_instance_norm(
                None::<Tensor>,
                None::<Tensor>,
                None::<Tensor>,
                None::<Tensor>,
                true,
                0.0,
                f64::from(*epsilon),
                true,
            )?,
            P::Gemm => product(0).f_linear(&product(1), Some(&product(2)))?,
            P::MatMul => product(0).f_matmul(&product(1))?,
            P::Conv { window, groups } => {
                let (x, pads) = match even(window) {
                    Some(pads) => (product(0), pads),
                    None => (framed(&product(0), window, 0.0)?, [0, 0]),
                };
                x.f_conv2d(
                    &product(1),
                    Some(&product(2)),
                    two(window.strides),
                    pads,
                    two(window.dilations),
                    *groups as i64,
                )?
            }
            P::ConvTranspose { window, groups, output_padding } => {
                let pads = even(window);
                let y = product(0).f_conv_transpose2d(
                    &product(1),
                    None::<Tensor>,
                    two(window.strides),
                    pads.unwrap_or([0, 0]),
                    two(*output_padding),
                    *groups as i64,
                    two(window.dilations),
                )?;
                let side = |axis: usize| node.ty.shape.len(axis).expect("only the batch is open") as i64;
                match pads {
                    Some(_) => y,
                    None => {
                        let rows = y.f_narrow(2, window.pads[0] as i64, side(2))?;
                        rows.f_narrow(3, window.pads[1] as i64, side(3))?
                    }
                }
            }
            P::MaxPool { kernel, window } => framed(x(0), window, f64::NEG_INFINITY)?.f_max_pool2d(
                two(*kernel),
                two(window.strides),
                [0, 0],
                two(window.dilations),
                false,
            )?,
            P::AveragePool { kernel, window } => {
                let (kernel, strides) = (two(*kernel), two(window.strides));
                framed(x(0), window, 0.0)?.f_avg_pool2d(kernel, strides, [0, 0], false, true, None)?
            }
            P::Resize { factor } => {
                let (height, width) = (node.ty.shape.len(2), node.ty.shape.len(3));
                let size = [height, width].map(|d| d.expect("only the batch is open") as i64);
                let factor = Some(*factor as f64);
                x(0).f_upsample_nearest2d(size, factor, factor)?
            }
            P::Reshape { shape: to } => x(0).f_reshape(shape(to))?,
            P::Transpose { perm } => x(0).f_permute(axes(perm))?,
            P::Concat { axis } => Tensor::f_cat(args, *axis as i64)?,
            P::Slice { axis, start, end, step } => {
                x(0).f_slice(*axis as i64, *start as i64, *end as i64, *step as i64)?
            }
            P::Pad { axis, before, after, value } => {
                // From the last axis backwards, two numbers an axis.
                let mut pad = vec![0; 2 * (x(0).dim() - axis)];
                let n = pad.len();
                (pad[n - 2], pad[n - 1]) = (*before as i64, *after as i64);
                x(0).f_pad(pad, "constant", Some(f64::from(*value)))?
            }
            P::Expand { shape: to } => {
                // What is open keeps its length, which −1 says.
                x(0).f_expand(shape(to), false)?
            }
            P::ReduceSum { axes: over } => x(0).f_sum_dim_intlist(axes(over), true, None)?,
            P::ReduceMean { axes: over } => x(0).f_mean_dim(axes(over), true, None)?,
            P::ReduceMax { axes: over } => x(0).f_amax(axes(over), true)?,
            P::Gather => x(0).f_index_select(0, x(1))?,
            P::OneHot { depth } => x(0).f_one_hot(*depth as i64)?.f_to_kind(Kind::Float)?,
        })
    }

    fn composite(&self, op: &Composite, args: &[&Tensor]) -> Result<Tensor, TchError> {
        match op {
            Composite::Silu => args[0].f_silu(),
            Composite::GroupNorm { groups, epsilon } => {
                let norm = |x: &Tensor| {
                    x.f_group_norm(*groups as i64, Some(args[1]), Some(args[2]), f64::from(*epsilon), true)
                };
                // On the processor a bfloat16 image is normalised with an f32 scale and shift; a GPU wants all three alike.
                match args[0].kind() {
                    Kind::BFloat16 if self.device.is_cuda() => {
                        norm(&args[0].f_to_kind(Kind::Float)?)?.f_to_kind(Kind::BFloat16)
                    }
                    _ => norm(args[0]),
                }
            }
            Composite::Attention => {
                let scale = (args[0].size()[2] as f64).powf(-0.25);
                let [q, k, v] = [0, 1, 2].map(|i| self.operand(args[i]));
                let (q, k) = (q.f_mul_scalar(scale)?, k.f_mul_scalar(scale)?);
                let scores = q.f_transpose(2, 3)?.f_matmul(&k)?;
                let weights = scores.f_softmax(3, Kind::Float)?;
                v.f_matmul(&self.operand(&weights).f_transpose(2, 3)?)
            }
            Composite::TimestepEmbedding { dim } => {
                let half = *dim as i64 / 2;
                let place = Tensor::f_arange(half, (Kind::Float, self.device))?;
                let frequencies =
                    place.f_mul_scalar(-(10_000f64.ln() as f32) as f64)?.f_div_scalar(half)?.f_exp()?;
                let angle = args[0].f_to_kind(Kind::Float)?.f_unsqueeze(1)?.f_mul(&frequencies)?;
                Tensor::f_cat(&[angle.f_cos()?, angle.f_sin()?], 1)
            }
        }
    }
}

/// A sum or product of two values. Where one is bfloat16, so is the result: a constant or an embedding in f32 must not
/// turn the whole image into f32.
fn pair(
    args: &[&Tensor],
    op: impl Fn(&Tensor, &Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    let half = |x: &Tensor| x.kind() == Kind::BFloat16;
    match (half(args[0]), half(args[1])) {
        (true, false) => op(args[0], &args[1].f_to_kind(Kind::BFloat16)?),
        (false, true) => op(&args[0].f_to_kind(Kind::BFloat16)?, args[1]),
        (true, true) | (false, false) => op(args[0], args[1]),
    }
}

/// The border of a window, rows and columns, where it is the same on opposite sides: libtorch knows no other.
fn even(window: &Window) -> Option<[i64; 2]> {
    let [top, left, bottom, right] = window.pads;
    (top == bottom && left == right).then_some(two([top, left]))
}

/// An image within the border of a window.
fn framed(x: &Tensor, window: &Window, value: f64) -> Result<Tensor, TchError> {
    let [top, left, bottom, right] = window.pads.map(|pad| pad as i64);
    match window.pads {
        [0, 0, 0, 0] => Ok(x.shallow_clone()),
        _ => x.f_pad([left, right, top, bottom], "constant", Some(value)),
    }
}

fn two(numbers: [usize; 2]) -> [i64; 2] {
    numbers.map(|n| n as i64)
}

fn axes(axes: &[usize]) -> Vec<i64> {
    axes.iter().map(|&a| a as i64).collect()
}
