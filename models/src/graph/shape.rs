//! Types of values: element type and shape, with the batch as the one thing that is open.

use std::fmt;

/// Element type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// Floating point; f32 in files and engines, f64 in the reference interpreter.
    F32,
    /// Timesteps, labels and indices.
    I64,
}

/// One dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// The batch: open until the network runs.
    N,
    /// The batch and other axes as one: so many elements a sample, at least 2. Attention of several heads has them.
    Times(usize),
    /// A known length.
    Len(usize),
}

impl Dim {
    /// So many elements a sample.
    pub fn times(each: usize) -> Self {
        if each == 1 { Self::N } else { Self::Times(each) }
    }

    /// How many elements a sample an open dimension holds; `None` for a known length.
    pub fn each(self) -> Option<usize> {
        match self {
            Self::N => Some(1),
            Self::Times(each) => Some(each),
            Self::Len(_) => None,
        }
    }

    /// Its length at a batch of `n`.
    pub fn at(self, n: usize) -> usize {
        match self {
            Self::N => n,
            Self::Times(each) => each * n,
            Self::Len(len) => len,
        }
    }
}

/// A shape such as `[N, 4, 32, 32]` (a value of the batch) or `[32, 4, 3, 3]` (a parameter). At most one dimension is open; in
/// networks of this project it is the first one, in imported ones it may be any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(Vec<Dim>);

impl Shape {
    /// A shape of the batch: `Shape::batch(&[4, 32, 32])` is `[N, 4, 32, 32]`.
    pub fn batch(rest: &[usize]) -> Self {
        Self(std::iter::once(Dim::N).chain(rest.iter().map(|&d| Dim::Len(d))).collect())
    }

    /// A shape without batch.
    pub fn fixed(dims: &[usize]) -> Self {
        Self(dims.iter().map(|&d| Dim::Len(d)).collect())
    }

    /// A shape from dimensions; `None` where more than one of them is open.
    pub fn from_dims(dims: Vec<Dim>) -> Option<Self> {
        (dims.iter().filter(|d| d.each().is_some()).count() <= 1).then_some(Self(dims))
    }

    /// The dimensions.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Whether the first dimension is the batch.
    pub fn has_batch(&self) -> bool {
        self.0.first() == Some(&Dim::N)
    }

    /// The axis that is open, if one is.
    pub fn open(&self) -> Option<usize> {
        self.0.iter().position(|d| d.each().is_some())
    }

    /// The known length of a dimension; `None` for an open one or beyond the rank.
    pub fn len(&self, axis: usize) -> Option<usize> {
        match self.0.get(axis) {
            Some(Dim::Len(d)) => Some(*d),
            Some(Dim::N | Dim::Times(_)) | None => None,
        }
    }

    /// Elements of one sample: the number of elements at a batch of 1.
    pub fn sample_elements(&self) -> usize {
        self.0.iter().map(|d| d.at(1)).product()
    }

    /// The shape at a batch of `n`.
    pub fn concrete(&self, n: usize) -> Vec<usize> {
        self.0.iter().map(|d| d.at(n)).collect()
    }

    /// This shape with one dimension replaced.
    pub fn with(&self, axis: usize, dim: Dim) -> Self {
        let mut dims = self.0.clone();
        dims[axis] = dim;
        Self(dims)
    }

    /// The shape that two broadcast to (as NumPy and ONNX do; the batch broadcasts with 1 alone).
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        let rank = self.rank().max(other.rank());
        let at = |s: &Self, i: usize| (i + s.rank()).checked_sub(rank).map_or(Dim::Len(1), |j| s.0[j]);
        let dims: Option<Vec<Dim>> = (0..rank)
            .map(|i| match (at(self, i), at(other, i)) {
                (a, b) if a == b => Some(a),
                (Dim::Len(1), b) => Some(b),
                (a, Dim::Len(1)) => Some(a),
                _ => None,
            })
            .collect();
        dims.and_then(Self::from_dims)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self
            .0
            .iter()
            .map(|d| match d {
                Dim::N => "N".to_owned(),
                Dim::Times(each) => format!("{each}N"),
                Dim::Len(l) => l.to_string(),
            })
            .collect();
        write!(f, "[{}]", dims.join(", "))
    }
}

/// Type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Shape,
}

impl TensorType {
    /// A floating-point value.
    pub fn f32(shape: Shape) -> Self {
        Self { dtype: DType::F32, shape }
    }

    /// An integer value.
    pub fn i64(shape: Shape) -> Self {
        Self { dtype: DType::I64, shape }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::F32 => write!(f, "{}", self.shape),
            DType::I64 => write!(f, "{} i64", self.shape),
        }
    }
}
