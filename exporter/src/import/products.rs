//! The import of products: Gemm and Einsum.

use anomalens_models::graph::{Dim, NodeId, Primitive, Shape};

use super::ImportError;
use super::call::Call;
use super::moves::merged;
use super::ops::Values;

/// α · op(A) · op(B) + β · C.
pub(super) fn gemm(c: &mut Call<'_>) -> Values {
    let (mut x, mut weight) = (c.operand(0)?, c.operand(1)?);
    let transposed = || Primitive::Transpose { perm: vec![1, 0] };
    if c.int("transA", 0) != 0 {
        x = c.primitive(transposed(), &[x])?;
    }
    // The graph's own takes weights [O, I].
    if c.int("transB", 0) == 0 {
        weight = c.primitive(transposed(), &[weight])?;
    }
    weight = scaled(c, weight, "alpha")?;
    let out = c.shape(weight).len(0);
    let bias = match c.optional(2)? {
        Some(bias) => Some(scaled(c, bias, "beta")?),
        None => None,
    };
    let row = |shape: &Shape| shape.rank() == 1 && shape.len(0) == out;
    match bias {
        Some(bias) if row(&c.shape(bias)) && c.shape(weight).open().is_none() => {
            Ok(vec![c.primitive(Primitive::Gemm, &[x, weight, bias])?])
        }
        None if c.shape(weight).open().is_none() => {
            let bias = c.build(|b| Ok(b.vector(vec![0.0; out.unwrap_or(0)])))?;
            Ok(vec![c.primitive(Primitive::Gemm, &[x, weight, bias])?])
        }
        bias => {
            let weight = c.primitive(transposed(), &[weight])?;
            let y = c.primitive(Primitive::MatMul, &[x, weight])?;
            Ok(vec![match bias {
                Some(bias) => c.primitive(Primitive::Add, &[y, bias])?,
                None => y,
            }])
        }
    }
}

fn scaled(c: &mut Call<'_>, x: NodeId, factor: &str) -> Result<NodeId, ImportError> {
    match c.float(factor, 1.0) {
        1.0 => Ok(x),
        factor => c.build(|b| b.scale(x, f64::from(factor))),
    }
}

/// The sum over products of one or two values, by letters: `bhqc,bhkc->bhqk`.
pub(super) fn einsum(c: &mut Call<'_>) -> Values {
    let text: String = c.string("equation", "").chars().filter(|l| !l.is_whitespace()).collect();
    let supported = "letters of one or two values, each once in a value, and '->'";
    let (left, out) = text.split_once("->").ok_or_else(|| c.unsupported("equation", supported))?;
    let terms: Vec<Vec<char>> = left.split(',').map(|term| term.chars().collect()).collect();
    let out: Vec<char> = out.chars().collect();
    let once = |term: &Vec<char>| {
        term.iter().enumerate().all(|(i, letter)| letter.is_ascii_alphabetic() && !term[..i].contains(letter))
    };
    let known = out.iter().all(|letter| terms.iter().any(|term| term.contains(letter)));
    if terms.len() != c.operands() || !terms.iter().chain([&out]).all(once) || !known {
        return Err(c.unsupported("equation", supported));
    }
    let mut values = Vec::new();
    for (operand, term) in terms.iter().enumerate() {
        let x = c.operand(operand)?;
        if c.shape(x).rank() != term.len() {
            return Err(c.bad(operand, c.shape(x).to_string(), "an axis a letter"));
        }
        // Letters that no other term and no result has are summed over at once.
        let elsewhere = |l: &char| {
            out.contains(l) || terms.iter().enumerate().any(|(o, t)| o != operand && t.contains(l))
        };
        values.push(alone(c, x, term, &elsewhere)?);
    }
    match <[(NodeId, Vec<char>); 2]>::try_from(values) {
        Ok([a, b]) => {
            let (product, letters) = product(c, a, b, &out)?;
            Ok(vec![ordered(c, product, &letters, &out)?])
        }
        Err(values) => match values.as_slice() {
            [(x, letters)] => Ok(vec![ordered(c, *x, letters, &out)?]),
            _ => Err(c.unsupported("equation", supported)),
        },
    }
}

/// A value summed over the letters that are not wanted, and those that are left.
fn alone(
    c: &mut Call<'_>,
    x: NodeId,
    letters: &[char],
    wanted: &dyn Fn(&char) -> bool,
) -> Result<(NodeId, Vec<char>), ImportError> {
    let axes: Vec<usize> = (0..letters.len()).filter(|&axis| !wanted(&letters[axis])).collect();
    if axes.is_empty() {
        return Ok((x, letters.to_vec()));
    }
    let shape = c.shape(x);
    let left = (0..letters.len()).filter(|axis| !axes.contains(axis));
    let dims = left.clone().map(|axis| shape.dims()[axis]).collect();
    let letters = left.map(|axis| letters[axis]).collect();
    let shape = Shape::from_dims(dims).expect("it had no more open axes before");
    let sum = c.primitive(Primitive::ReduceSum { axes }, &[x])?;
    Ok((c.primitive(Primitive::Reshape { shape }, &[sum])?, letters))
}

/// A matrix product: letters of both and the result stack matrices, letters of one are rows or columns, and over letters of both
/// that the result lacks is summed.
fn product(
    c: &mut Call<'_>,
    (a, a_letters): (NodeId, Vec<char>),
    (b, b_letters): (NodeId, Vec<char>),
    out: &[char],
) -> Result<(NodeId, Vec<char>), ImportError> {
    let of = |from: &[char], both: bool, kept: bool, other: &[char]| -> Vec<char> {
        from.iter().copied().filter(|l| other.contains(l) == both && out.contains(l) == kept).collect()
    };
    let stack = of(&a_letters, true, true, &b_letters);
    let summed = of(&a_letters, true, false, &b_letters);
    let (rows, cols) = (of(&a_letters, false, true, &b_letters), of(&b_letters, false, true, &a_letters));
    let dims = |c: &Call<'_>, x: NodeId, all: &[char], letters: &[char]| -> Vec<Dim> {
        let shape = c.shape(x);
        letters
            .iter()
            .filter_map(|l| all.iter().position(|a| a == l))
            .map(|axis| shape.dims()[axis])
            .collect()
    };
    let stack_dims = dims(c, a, &a_letters, &stack);
    let (row_dims, col_dims) = (dims(c, a, &a_letters, &rows), dims(c, b, &b_letters, &cols));
    let sum_dims = dims(c, a, &a_letters, &summed);
    let one =
        |c: &Call<'_>, dims: &[Dim]| merged(dims).ok_or_else(|| c.bad(0, "two open axes".into(), "one"));
    let (row, col, sum) = (one(c, &row_dims)?, one(c, &col_dims)?, one(c, &sum_dims)?);
    let mut matrices = Vec::new();
    for (x, letters, order, last) in [
        (a, &a_letters, [&stack[..], &rows, &summed], [row, sum]),
        (b, &b_letters, [&stack[..], &summed, &cols], [sum, col]),
    ] {
        let x = ordered(c, x, letters, &order.concat())?;
        let shape = Shape::from_dims([&stack_dims[..], &last].concat());
        let shape = shape.ok_or_else(|| c.bad(0, "two open axes".into(), "one"))?;
        matrices.push(c.primitive(Primitive::Reshape { shape }, &[x])?);
    }
    let y = c.primitive(Primitive::MatMul, &matrices)?;
    let shape = Shape::from_dims([stack_dims, row_dims, col_dims].concat());
    let shape = shape.ok_or_else(|| c.bad(0, "two open axes".into(), "one"))?;
    Ok((c.primitive(Primitive::Reshape { shape }, &[y])?, [stack, rows, cols].concat()))
}

/// A value's axes in another order.
fn ordered(c: &mut Call<'_>, x: NodeId, from: &[char], to: &[char]) -> Result<NodeId, ImportError> {
    if from == to {
        return Ok(x);
    }
    let perm = to.iter().filter_map(|letter| from.iter().position(|l| l == letter)).collect();
    c.primitive(Primitive::Transpose { perm }, &[x])
}
