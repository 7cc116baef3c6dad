//! Numbers that are known before the network runs: shapes, and what is computed of them.
//!
//! Of an input's shape only the batch is open. So what a model computes of shapes is computed here for a few batches side by
//! side; a number that a shape, an axis or a border takes must then be the same at each of them, or the same multiple of each.

use anomalens_models::graph::{Constant, Dim};
use ndarray::{ArrayD, Axis, IxDyn};

use super::ImportError;
use super::call::Call;
use crate::onnx::tensor_proto::DataType;

/// One sample, for what is only then different, and numbers without a factor in common.
const BATCHES: [usize; 4] = [1, 2, 3, 7];
/// More elements than any shape has; what is larger is no shape arithmetic.
pub(super) const MOST: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Integer,
    Float,
    Truth,
}

/// A small tensor at each of [`BATCHES`].
#[derive(Debug, Clone)]
pub(super) struct Known {
    sort: Sort,
    at: Vec<ArrayD<f64>>,
}

/// A whole number that may depend on the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// The same at any batch.
    Same(i64),
    /// So many times the batch.
    Batch(usize),
}

impl Known {
    /// The same at each batch.
    pub(super) fn same(sort: Sort, value: ArrayD<f64>) -> Self {
        Self { sort, at: vec![value; BATCHES.len()] }
    }

    /// The shape of a value.
    fn of_dims(dims: &[Dim]) -> Self {
        let at = |n: &usize| dims.iter().map(|dim| dim.at(*n) as f64).collect();
        Self { sort: Sort::Integer, at: BATCHES.iter().map(at).map(|lens: Vec<f64>| vector(lens)).collect() }
    }

    pub(super) fn is_integer(&self) -> bool {
        self.sort == Sort::Integer
    }

    /// Whole numbers, row by row; `None` where some are neither the same at each batch nor a multiple of it.
    pub(super) fn counts(&self) -> Option<Vec<Count>> {
        let count = |i: usize| {
            let at: Vec<f64> = self.at.iter().map(|a| a.iter().nth(i).copied()).collect::<Option<_>>()?;
            if at.iter().all(|v| *v == at[0]) {
                return Some(Count::Same(at[0] as i64));
            }
            let line = at[0] >= 1.0 && at.iter().zip(BATCHES).all(|(v, n)| *v == at[0] * n as f64);
            line.then_some(Count::Batch(at[0] as usize))
        };
        (self.at.iter().all(|a| a.len() == self.at[0].len()))
            .then(|| (0..self.at[0].len()).map(count).collect())?
    }

    /// Whether this is 0, 1, 2, … to the end of an axis, at each batch.
    pub(super) fn counts_up(&self, axis: Dim) -> bool {
        self.at
            .iter()
            .zip(BATCHES)
            .all(|(a, n)| a.len() == axis.at(n) && a.iter().enumerate().all(|(i, v)| *v == i as f64))
    }

    /// Its shape.
    pub(super) fn dims(&self) -> Option<Vec<Dim>> {
        let shape = |a: &ArrayD<f64>| vector(a.shape().iter().map(|&len| len as f64).collect());
        let shape = Self { sort: Sort::Integer, at: self.at.iter().map(shape).collect() };
        let dims = shape.counts()?.into_iter().map(|count| match count {
            Count::Same(len) => Dim::Len(len as usize),
            Count::Batch(each) => Dim::times(each),
        });
        Some(dims.collect())
    }

    /// Numbers or truths as a constant of the graph, where they are the same at any batch; integers never.
    pub(super) fn constant(&self) -> Option<Constant> {
        let first = &self.at[0];
        (self.sort != Sort::Integer && self.at.iter().all(|a| a == first)).then(|| Constant {
            shape: first.shape().to_vec(),
            values: first.iter().map(|&v| v as f32).collect(),
        })
    }

    /// The value, where it is the same at any batch.
    pub(super) fn fixed(&self) -> Option<&ArrayD<f64>> {
        self.at.iter().all(|a| *a == self.at[0]).then_some(&self.at[0])
    }
}

fn vector(values: Vec<f64>) -> ArrayD<f64> {
    ArrayD::from_shape_vec(IxDyn(&[values.len()]), values).expect("one axis")
}

/// What a node computes, if that is known beforehand.
///
/// Errors: [`ImportError::Operand`] for numbers that do not fit each other.
pub(super) fn evaluate(c: &Call<'_>) -> Result<Option<Known>, ImportError> {
    if c.op_type() == "Shape" {
        return shape(c).map(Some);
    }
    let Some(rule) = rule(c.op_type()) else { return Ok(None) };
    let mut operands = Vec::new();
    let mut computed = false;
    for operand in 0..c.operands() {
        let Some(known) = c.known(operand)? else {
            if c.is_left_out(operand) {
                operands.push(None);
                continue;
            }
            return Ok(None);
        };
        // What takes weights alone is part of the network, however few they are.
        computed |= c.is_computed(operand);
        operands.push(Some(known));
    }
    let whole = operands.iter().flatten().all(|known| known.sort != Sort::Float);
    if operands.is_empty() || !(computed || whole) {
        return Ok(None);
    }
    let sorts: Vec<Sort> = operands.iter().flatten().map(|known| known.sort).collect();
    let (first, second) = (sorts[0], sorts.get(1).copied().unwrap_or(sorts[0]));
    let sort = match c.op_type() {
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Not" | "And" | "Or" => Sort::Truth,
        "Cast" => match DataType::try_from(c.int("to", 0) as i32) {
            Ok(DataType::Float | DataType::Float16 | DataType::Double) => Sort::Float,
            Ok(DataType::Int64 | DataType::Int32) => Sort::Integer,
            Ok(DataType::Bool) => Sort::Truth,
            _ => return Err(c.unsupported("to", "floating point, i64, i32, bool")),
        },
        "ConstantOfShape" => match c.tensor("value") {
            None => Sort::Float,
            Some(tensor) => match DataType::try_from(tensor.data_type()) {
                Ok(DataType::Int64 | DataType::Int32) => Sort::Integer,
                Ok(DataType::Bool) => Sort::Truth,
                _ => Sort::Float,
            },
        },
        "Where" => second,
        _ => first,
    };
    let at = (0..BATCHES.len()).map(|batch| {
        let args: Vec<Option<&ArrayD<f64>>> =
            operands.iter().map(|known| known.as_ref().map(|known| &known.at[batch])).collect();
        rule(c, sort, &Args(&args)).map_err(|found| c.bad(0, found, "numbers that fit each other"))
    });
    let at = at.collect::<Result<_, _>>()?;
    Ok(Some(Known { sort, at }))
}

fn shape(c: &Call<'_>) -> Result<Known, ImportError> {
    let dims = c.dims(0)?;
    let rank = dims.len() as i64;
    let at = |place: i64| (if place < 0 { place + rank } else { place }).clamp(0, rank) as usize;
    let (start, end) = (at(c.int("start", 0)), at(c.int("end", rank)));
    Ok(Known::of_dims(dims.get(start..end).unwrap_or_default()))
}

/// The operands of a node at one batch.
struct Args<'a>(&'a [Option<&'a ArrayD<f64>>]);

impl<'a> Args<'a> {
    fn get(&self, i: usize) -> Result<&'a ArrayD<f64>, String> {
        self.0.get(i).copied().flatten().ok_or_else(|| format!("no operand {i}"))
    }

    /// Whole numbers; `None` where they are left out.
    fn ints(&self, i: usize) -> Option<Vec<i64>> {
        self.0.get(i).copied().flatten().map(|a| a.iter().map(|&v| v as i64).collect())
    }
}

type Rule = fn(&Call<'_>, Sort, &Args<'_>) -> Result<ArrayD<f64>, String>;

/// How an operator computes on numbers; `None` for one that networks alone use.
fn rule(op: &str) -> Option<Rule> {
    Some(match op {
        "Identity" | "Cast" => |_, sort, a| {
            Ok(a.get(0)?.mapv(|v| match sort {
                Sort::Integer => v.trunc(),
                Sort::Float => v,
                Sort::Truth => f64::from(v != 0.0),
            }))
        },
        "Add" => |_, _, a| pair(a, |x, y| x + y),
        "Sub" => |_, _, a| pair(a, |x, y| x - y),
        "Mul" => |_, _, a| pair(a, |x, y| x * y),
        "Div" => |_, sort, a| {
            if sort == Sort::Integer && a.get(1)?.iter().any(|v| *v == 0.0) {
                return Err("a division by zero".into());
            }
            pair(a, |x, y| if sort == Sort::Integer { (x / y).trunc() } else { x / y })
        },
        "Mod" => |_, _, a| {
            if a.get(1)?.iter().any(|v| *v == 0.0) {
                return Err("a division by zero".into());
            }
            pair(a, |x, y| x - y * (x / y).floor())
        },
        "Min" => |_, _, a| pair(a, f64::min),
        "Max" => |_, _, a| pair(a, f64::max),
        "Pow" => |_, _, a| pair(a, f64::powf),
        "Equal" => |_, _, a| pair(a, |x, y| f64::from(x == y)),
        "Greater" => |_, _, a| pair(a, |x, y| f64::from(x > y)),
        "GreaterOrEqual" => |_, _, a| pair(a, |x, y| f64::from(x >= y)),
        "Less" => |_, _, a| pair(a, |x, y| f64::from(x < y)),
        "LessOrEqual" => |_, _, a| pair(a, |x, y| f64::from(x <= y)),
        "And" => |_, _, a| pair(a, |x, y| x * y),
        "Or" => |_, _, a| pair(a, f64::max),
        "Not" => |_, _, a| Ok(a.get(0)?.mapv(|v| 1.0 - v)),
        "Neg" => |_, _, a| Ok(a.get(0)?.mapv(|v| -v)),
        "Abs" => |_, _, a| Ok(a.get(0)?.mapv(f64::abs)),
        "Sqrt" => |_, _, a| Ok(a.get(0)?.mapv(f64::sqrt)),
        "Floor" => |_, _, a| Ok(a.get(0)?.mapv(f64::floor)),
        "Ceil" => |_, _, a| Ok(a.get(0)?.mapv(f64::ceil)),
        "Reciprocal" => |_, _, a| Ok(a.get(0)?.mapv(f64::recip)),
        "Where" => |_, _, a| {
            let (truth, x, y) = (a.get(0)?, a.get(1)?, a.get(2)?);
            let shape = broadcast(&broadcast(truth.shape(), x.shape())?, y.shape())?;
            let [truth, x, y] = [truth, x, y].map(|v| v.broadcast(IxDyn(&shape)));
            let (Some(truth), Some(x), Some(y)) = (truth, x, y) else { return Err("other shapes".into()) };
            Ok(ArrayD::from_shape_fn(IxDyn(&shape), |i| if truth[&i] != 0.0 { x[&i] } else { y[&i] }))
        },
        "ReduceProd" => |c, _, a| {
            let x = a.get(0)?;
            let axes = a.ints(1).or_else(|| c.int_list("axes")).map_or(x.ndim(), |axes| axes.len());
            let kept = if c.int("keepdims", 1) == 0 { 0 } else { x.ndim() };
            if axes != x.ndim() {
                return Err(format!("{axes} axes of {}", x.ndim()));
            }
            Ok(ArrayD::from_elem(IxDyn(&vec![1; kept]), x.iter().product()))
        },
        "Gather" => gather,
        "Concat" => |c, _, a| {
            let parts: Vec<_> =
                (0..a.0.len()).map(|i| Ok(a.get(i)?.view())).collect::<Result<_, String>>()?;
            let axis = place(c.int("axis", 0), parts[0].ndim())?;
            ndarray::concatenate(Axis(axis), &parts).map_err(|e| e.to_string())
        },
        "Slice" => slice,
        "Squeeze" => |_, _, a| {
            let x = a.get(0)?;
            let axes = match a.ints(1) {
                Some(axes) => places(&axes, x.ndim())?,
                None => (0..x.ndim()).filter(|&axis| x.shape()[axis] == 1).collect(),
            };
            let left =
                (0..x.ndim()).filter(|axis| !axes.contains(axis)).map(|axis| x.shape()[axis]).collect();
            shaped(x, left)
        },
        "Transpose" => |c, _, a| {
            let x = a.get(0)?;
            let perm = c.int_list("perm").unwrap_or_else(|| (0..x.ndim() as i64).rev().collect());
            let perm = places(&perm, x.ndim())?;
            if (0..x.ndim()).any(|axis| !perm.contains(&axis)) || perm.len() != x.ndim() {
                return Err(format!("the order {perm:?} of {} axes", x.ndim()));
            }
            Ok(x.view().permuted_axes(IxDyn(&perm)).to_owned())
        },
        "Unsqueeze" => |_, _, a| {
            let (x, axes) = (a.get(0)?, a.ints(1).unwrap_or_default());
            let rank = x.ndim() + axes.len();
            let axes = places(&axes, rank)?;
            let mut lens = x.shape().iter().copied();
            let one = |axis| if axes.contains(&axis) { Some(1) } else { lens.next() };
            shaped(x, (0..rank).map(one).collect::<Option<_>>().ok_or("an axis twice")?)
        },
        "Reshape" => |_, _, a| {
            let (x, target) = (a.get(0)?, a.ints(1).unwrap_or_default());
            let keep = |(axis, &len): (usize, &i64)| match len {
                -1 => Some(1),
                0 => x.shape().get(axis).copied(),
                len => usize::try_from(len).ok(),
            };
            let shape: Option<Vec<usize>> = target.iter().enumerate().map(keep).collect();
            let mut shape = shape.ok_or_else(|| format!("the shape {target:?}"))?;
            let others = count(&shape)?.max(1);
            if let Some(open) = target.iter().position(|len| *len == -1) {
                shape[open] = x.len() / others;
            }
            shaped(x, shape)
        },
        "Expand" => |_, _, a| {
            let x = a.get(0)?;
            let shape = broadcast(x.shape(), &lengths(&a.ints(1).unwrap_or_default())?)?;
            count(&shape)?;
            Ok(x.broadcast(IxDyn(&shape)).ok_or("another shape")?.to_owned())
        },
        "ConstantOfShape" => |c, _, a| {
            let shape = lengths(&a.ints(0).unwrap_or_default())?;
            count(&shape)?;
            let value = c.stored("value")?.map_or(0.0, |value| value.first().copied().unwrap_or(0.0));
            Ok(ArrayD::from_elem(IxDyn(&shape), value))
        },
        "Range" => |_, _, a| {
            let [start, end, step] = [a.get(0)?, a.get(1)?, a.get(2)?].map(|v| v.first().copied());
            let (Some(start), Some(end), Some(step)) = (start, end, step) else {
                return Err("no number".into());
            };
            let long = ((end - start) / step).ceil().max(0.0);
            // What is not a number is not too long, and no length either.
            if long.is_nan() || long > MOST as f64 {
                return Err(format!("{long} numbers, of at most {MOST}"));
            }
            Ok(vector((0..long as usize).map(|i| start + step * i as f64).collect()))
        },
        _ => return None,
    })
}

/// Number of elements of a shape; one without any counts by its other lengths.
fn count(shape: &[usize]) -> Result<usize, String> {
    let count = shape.iter().try_fold(1usize, |all, &len| all.checked_mul(len.max(1)));
    count
        .filter(|count| *count <= MOST)
        .ok_or_else(|| format!("the shape {shape:?}, of at most {MOST} numbers"))
}

fn lengths(values: &[i64]) -> Result<Vec<usize>, String> {
    let lengths = values.iter().map(|&len| usize::try_from(len).ok()).collect::<Option<_>>();
    lengths.ok_or_else(|| format!("the shape {values:?}"))
}

fn place(axis: i64, rank: usize) -> Result<usize, String> {
    let place = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(place).ok().filter(|p| *p < rank).ok_or_else(|| format!("axis {axis} of {rank}"))
}

fn places(axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    axes.iter().map(|&axis| place(axis, rank)).collect()
}

fn shaped(x: &ArrayD<f64>, shape: Vec<usize>) -> Result<ArrayD<f64>, String> {
    x.as_standard_layout().into_owned().into_shape_with_order(IxDyn(&shape)).map_err(|e| e.to_string())
}

/// The shape that two broadcast to.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    let len = |i| match (at(a, i), at(b, i)) {
        (x, y) if x == y => Some(x),
        (1, x) | (x, 1) => Some(x),
        _ => None,
    };
    let shape: Option<Vec<usize>> = (0..rank).map(len).collect();
    let shape = shape.ok_or_else(|| format!("the shapes {a:?} and {b:?}"))?;
    count(&shape).map(|_| shape)
}

fn pair(a: &Args<'_>, f: impl Fn(f64, f64) -> f64) -> Result<ArrayD<f64>, String> {
    let [x, y] = [a.get(0)?, a.get(1)?];
    if a.0.len() != 2 {
        return Err(format!("{} operands", a.0.len()));
    }
    let shape = broadcast(x.shape(), y.shape())?;
    let (Some(x), Some(y)) = (x.broadcast(IxDyn(&shape)), y.broadcast(IxDyn(&shape))) else {
        return Err("other shapes".into());
    };
    Ok(ArrayD::from_shape_fn(IxDyn(&shape), |i| f(x[&i], y[&i])))
}

fn gather(c: &Call<'_>, _: Sort, a: &Args<'_>) -> Result<ArrayD<f64>, String> {
    let (x, index) = (a.get(0)?, a.get(1)?);
    let axis = place(c.int("axis", 0), x.ndim())?;
    let len = x.shape()[axis];
    let index: Vec<usize> = index.iter().map(|&i| place(i as i64, len)).collect::<Result<_, _>>()?;
    let indices = a.get(1)?.shape().iter().copied();
    let shape = x.shape()[..axis].iter().copied().chain(indices).chain(x.shape()[axis + 1..].iter().copied());
    let shape: Vec<usize> = shape.collect();
    count(&shape)?;
    shaped(&x.select(Axis(axis), &index), shape)
}

fn slice(_: &Call<'_>, _: Sort, a: &Args<'_>) -> Result<ArrayD<f64>, String> {
    let mut x = a.get(0)?.clone();
    let (starts, ends) = (a.ints(1).unwrap_or_default(), a.ints(2).unwrap_or_default());
    let axes = a.ints(3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = a.ints(4).unwrap_or_else(|| vec![1; starts.len()]);
    for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let axis = place(axis, x.ndim())?;
        let len = x.shape()[axis] as i64;
        // Backwards, an end may lie before the first element.
        let (least, most) = if step < 0 { (-1, len - 1) } else { (0, len) };
        let at = |place: i64| {
            (if place < 0 { place.saturating_add(len) } else { place }).clamp(least, most.max(least))
        };
        let (start, end) = (at(start), at(end));
        let stride = usize::try_from(step.unsigned_abs()).ok().filter(|s| *s > 0).ok_or("a step of 0")?;
        let taken: Vec<usize> = match step < 0 {
            true => (end + 1..=start).rev().step_by(stride).map(|i| i as usize).collect(),
            false => (start..end).step_by(stride).map(|i| i as usize).collect(),
        };
        x = x.select(Axis(axis), &taken);
    }
    Ok(x)
}
