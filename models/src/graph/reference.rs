//! A slow, obvious interpreter in f64: the oracle of tests and of the parity gate.
//!
//! Every primitive is written as its definition says, without any of the tricks that an engine plays, so that an
//! engine that agrees with it is right rather than merely consistent.

mod conv;
mod kernels;
mod pool;

use std::collections::HashMap;

use ndarray::{ArrayD, IxDyn};

use super::{Constant, DType, Graph, Node, Op, ParamSource, Primitive, Tensor};

/// A value of the interpreter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Floating point.
    Float(ArrayD<f64>),
    /// Timesteps, labels.
    Int(ArrayD<i64>),
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        match tensor {
            Tensor::F32(a) => Self::Float(a.mapv(f64::from)),
            Tensor::I64(a) => Self::Int(a),
        }
    }
}

impl Value {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Float(a) => a.shape(),
            Self::Int(a) => a.shape(),
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Self::Float(_) => DType::F32,
            Self::Int(_) => DType::I64,
        }
    }

    /// The array, where the graph's types say that it is floating point.
    fn float(&self) -> &ArrayD<f64> {
        match self {
            Self::Float(a) => a,
            Self::Int(_) => unreachable!("the shape rules keep integers from floating-point operations"),
        }
    }

    fn int(&self) -> &ArrayD<i64> {
        match self {
            Self::Int(a) => a,
            Self::Float(_) => unreachable!("the shape rules keep floating point from integer operations"),
        }
    }
}

/// Why a graph could not be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// An input is missing or of the wrong type.
    #[error(
        "graph '{graph}': input '{input}': found {found}, expected {expected}; give every input at one batch size"
    )]
    Input {
        /// The graph.
        graph: String,
        /// The input.
        input: String,
        /// What was given.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A parameter is missing or of the wrong shape.
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
    /// An index outside its table.
    #[error("graph '{graph}', at '{scope}': index {found}, expected 0..{bound}; check the class labels")]
    Index {
        /// The graph.
        graph: String,
        /// The place.
        scope: String,
        /// The index.
        found: i64,
        /// Rows of the table.
        bound: usize,
    },
}

/// Runs a graph on named inputs and returns its named outputs. Values are freed after their last use.
///
/// Errors: [`ReferenceError`].
pub fn run(
    graph: &Graph,
    params: &dyn ParamSource,
    inputs: &[(&str, Value)],
) -> Result<Vec<(String, ArrayD<f64>)>, ReferenceError> {
    let graph = &graph.expanded();
    let batch = batch_size(graph, inputs);
    let inputs: HashMap<&str, &Value> = inputs.iter().map(|(name, value)| (*name, value)).collect();
    let last = graph.last_uses();
    let mut values: Vec<Option<Value>> = vec![None; graph.nodes().len()];
    for (id, node) in graph.iter() {
        let value = {
            let args: Vec<&Value> = node
                .inputs
                .iter()
                .map(|i| values[i.index()].as_ref().expect("kept until its last use"))
                .collect();
            eval(graph, node, &args, params, &inputs, batch)?
        };
        values[id.index()] = Some(value);
        for used in node.inputs.iter().chain([&id]) {
            if last[used.index()] <= id.index() {
                values[used.index()] = None;
            }
        }
    }
    Ok(graph
        .outputs()
        .iter()
        .map(|(name, id)| {
            let value = values[id.index()].as_ref().expect("outputs are kept");
            (name.clone(), value.float().clone())
        })
        .collect())
}

/// The batch size that the inputs have in common, as far as they agree: [`run`] checks each of them against it.
fn batch_size(graph: &Graph, inputs: &[(&str, Value)]) -> usize {
    graph
        .inputs()
        .filter_map(|(name, _)| inputs.iter().find(|(n, _)| *n == name))
        .find_map(|(_, value)| value.shape().first().copied())
        .unwrap_or(1)
}

fn eval(
    graph: &Graph,
    node: &Node,
    args: &[&Value],
    params: &dyn ParamSource,
    inputs: &HashMap<&str, &Value>,
    batch: usize,
) -> Result<Value, ReferenceError> {
    use Primitive as P;
    let Op::Primitive(op) = &node.op else { unreachable!("the graph was expanded") };
    let shape = node.ty.shape.concrete(batch);
    let x = |i: usize| args[i].float();
    Ok(Value::Float(match op {
        P::Input { name, ty } => {
            let fits = |v: &&&Value| v.shape() == shape && v.dtype() == ty.dtype;
            return inputs.get(name.as_str()).filter(fits).map(|v| (*v).clone()).ok_or_else(|| {
                ReferenceError::Input {
                    graph: graph.name().to_owned(),
                    input: name.clone(),
                    found: inputs
                        .get(name.as_str())
                        .map_or("nothing".to_owned(), |v| format!("{:?} {:?}", v.dtype(), v.shape())),
                    expected: format!("{:?} {}", ty.dtype, ty.shape),
                }
            });
        }
        P::Param(spec) => {
            let found = params.param(&spec.name);
            match found {
                Some(array) if array.shape() == spec.shape => array.mapv(f64::from),
                other => {
                    return Err(ReferenceError::Param {
                        graph: graph.name().to_owned(),
                        name: spec.name.clone(),
                        found: other.map_or("nothing".to_owned(), |a| format!("shape {:?}", a.shape())),
                        expected: spec.shape.clone(),
                    });
                }
            }
        }
        P::Constant(Constant { shape, values }) => {
            let values = values.iter().map(|&v| f64::from(v)).collect();
            ArrayD::from_shape_vec(IxDyn(shape), values).expect("checked when built")
        }
        P::Cast => args[0].int().mapv(|v| v as f64),
        P::Add => x(0) + x(1),
        P::Sub => x(0) - x(1),
        P::Mul => x(0) * x(1),
        P::Div => x(0) / x(1),
        P::Sqrt => x(0).mapv(f64::sqrt),
        P::Sigmoid => x(0).mapv(|v| 1.0 / (1.0 + (-v).exp())),
        P::Relu => x(0).mapv(|v| if v < 0.0 { 0.0 } else { v }),
        P::LeakyRelu { slope } => x(0).mapv(|v| if v < 0.0 { v * f64::from(*slope) } else { v }),
        P::Exp => x(0).mapv(f64::exp),
        P::Tanh => x(0).mapv(f64::tanh),
        P::Sign => x(0).mapv(|v| if v == 0.0 { 0.0 } else { v.signum() }),
        P::Cos => x(0).mapv(f64::cos),
        P::Sin => x(0).mapv(f64::sin),
        P::Abs => x(0).mapv(f64::abs),
        P::Log => x(0).mapv(f64::ln),
        P::Erf => x(0).mapv(libm::erf),
        P::Pow { exponent } => x(0).mapv(|v| v.powf(f64::from(*exponent))),
        P::Clip { min, max } => x(0).mapv(|v| v.clamp(f64::from(*min), f64::from(*max))),
        P::Softmax { axis } => kernels::log_softmax(x(0), *axis).mapv(f64::exp),
        P::LogSoftmax { axis } => kernels::log_softmax(x(0), *axis),
        P::InstanceNormalization { epsilon } => kernels::instance_norm(x(0), f64::from(*epsilon)),
        P::Gemm => kernels::gemm(x(0), x(1), x(2)),
        P::MatMul => kernels::matmul(x(0), x(1), &shape),
        P::Conv { window, groups } => conv::conv([x(0), x(1), x(2)], window, *groups, &shape),
        P::ConvTranspose { window, groups, .. } => {
            conv::conv_transpose([x(0), x(1)], window, *groups, &shape)
        }
        P::MaxPool { kernel, window } => pool::max(x(0), *kernel, window, &shape),
        P::AveragePool { kernel, window } => pool::average(x(0), *kernel, window, &shape),
        P::Resize { factor } => {
            ArrayD::from_shape_fn(IxDyn(&shape), |i| x(0)[[i[0], i[1], i[2] / factor, i[3] / factor]])
        }
        P::Reshape { .. } => x(0)
            .as_standard_layout()
            .into_owned()
            .into_shape_with_order(IxDyn(&shape))
            .expect("same elements"),
        P::Transpose { perm } => x(0).clone().permuted_axes(IxDyn(perm)).as_standard_layout().into_owned(),
        P::Concat { axis } => {
            let views: Vec<_> = args.iter().map(|a| a.float().view()).collect();
            ndarray::concatenate(ndarray::Axis(*axis), &views).expect("checked when built")
        }
        P::Slice { axis, start, end, step } => {
            let elements = ndarray::Slice::from(*start..*end).step_by(*step as isize);
            x(0).slice_axis(ndarray::Axis(*axis), elements).to_owned()
        }
        P::Pad { axis, before, value, .. } => {
            let mut padded = ArrayD::from_elem(IxDyn(&shape), f64::from(*value));
            let end = before + x(0).shape()[*axis];
            padded.slice_axis_mut(ndarray::Axis(*axis), ndarray::Slice::from(*before..end)).assign(x(0));
            padded
        }
        P::Expand { .. } => x(0).broadcast(IxDyn(&shape)).expect("checked when built").to_owned(),
        P::ReduceSum { axes } => kernels::sum(x(0), axes),
        P::ReduceMean { axes } => {
            let count: usize = axes.iter().map(|&a| x(0).shape()[a]).product();
            kernels::sum(x(0), axes) / count as f64
        }
        P::ReduceMax { axes } => kernels::max(x(0), axes),
        P::Gather => return gather(graph, node, x(0), args[1].int()),
        P::OneHot { depth } => {
            let index = args[0].int();
            if let Some(&found) = index.iter().find(|i| !(0..*depth as i64).contains(i)) {
                return Err(index_error(graph, node, found, *depth));
            }
            ArrayD::from_shape_fn(IxDyn(&shape), |i| f64::from(index[[i[0]]] == i[1] as i64))
        }
    }))
}

fn gather(
    graph: &Graph,
    node: &Node,
    table: &ArrayD<f64>,
    index: &ArrayD<i64>,
) -> Result<Value, ReferenceError> {
    let (rows, width) = (table.shape()[0], table.shape()[1]);
    if let Some(&found) = index.iter().find(|i| !(0..rows as i64).contains(i)) {
        return Err(index_error(graph, node, found, rows));
    }
    Ok(Value::Float(ArrayD::from_shape_fn(IxDyn(&[index.len(), width]), |i| {
        table[[index[[i[0]]] as usize, i[1]]]
    })))
}

fn index_error(graph: &Graph, node: &Node, found: i64, bound: usize) -> ReferenceError {
    ReferenceError::Index { graph: graph.name().to_owned(), scope: node.scope.clone(), found, bound }
}
