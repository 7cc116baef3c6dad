//! The writer: the header first, then tensor by tensor, so that no more than one tensor is in memory.

use std::io::{self, BufWriter, Write};

use half::f16;
use serde_json::json;

use super::{Element, Precision};
use crate::graph::ParamSpec;

/// A tensor as it is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the file.
    pub name: String,
    /// The type of its elements.
    pub element: Element,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the data.
    pub fn bytes(&self) -> usize {
        self.len() * self.element.bytes()
    }
}

/// Writes tensors of any type as safetensors, in the order that was announced.
pub struct TensorWriter<W: Write> {
    out: BufWriter<W>,
    left: std::vec::IntoIter<TensorSpec>,
}

impl<W: Write> TensorWriter<W> {
    /// Writes the header for these tensors.
    ///
    /// Errors: those of `out`.
    pub fn new(out: W, tensors: Vec<TensorSpec>) -> io::Result<Self> {
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for tensor in &tensors {
            let start = end;
            end += tensor.bytes();
            let TensorSpec { name, element, shape } = tensor;
            header.insert(
                name.clone(),
                json!({ "dtype": element.dtype(), "shape": shape, "data_offsets": [start, end] }),
            );
        }
        let mut header = serde_json::Value::Object(header).to_string();
        // The format asks for a start of the data that is a multiple of 8; spaces fill the header up.
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let mut out = BufWriter::with_capacity(1 << 20, out);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        Ok(Self { out, left: tensors.into_iter() })
    }

    /// Writes the next tensor's data, row-major, little-endian. `name` must be the next one announced.
    ///
    /// Errors: those of the output; [`io::ErrorKind::InvalidInput`] for another name or length.
    pub fn write(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        self.next(name, data.len())?.write_all(data)
    }

    /// Flushes and gives the output back.
    ///
    /// Errors: those of the output; [`io::ErrorKind::InvalidInput`] if a tensor was not written.
    pub fn finish(mut self) -> io::Result<W> {
        match self.left.next() {
            Some(next) => Err(out_of_step("the end", format!("'{}'", next.name))),
            None => self.out.into_inner().map_err(io::IntoInnerError::into_error),
        }
    }

    /// The output, for the `length` bytes of the tensor `name`.
    fn next(&mut self, name: &str, length: usize) -> io::Result<&mut BufWriter<W>> {
        let next = self.left.next().ok_or_else(|| out_of_step(name, "no more tensors".into()))?;
        if next.name != name || next.bytes() != length {
            let expected = format!("{} bytes of '{}'", next.bytes(), next.name);
            return Err(out_of_step(&format!("{length} bytes of '{name}'"), expected));
        }
        Ok(&mut self.out)
    }
}

/// Writes a network's weights as safetensors, in the order that was announced.
pub struct WeightsWriter<W: Write>(TensorWriter<W>);

impl<W: Write> WeightsWriter<W> {
    /// Writes the header for these tensors, all f32.
    ///
    /// Errors: those of `out`.
    pub fn new(out: W, tensors: Vec<ParamSpec>) -> io::Result<Self> {
        Self::mixed(out, tensors.into_iter().map(|spec| (spec, Precision::F32)).collect())
    }

    /// Writes the header for these tensors, each in a precision of its own.
    ///
    /// Errors: those of `out`.
    pub fn mixed(out: W, tensors: Vec<(ParamSpec, Precision)>) -> io::Result<Self> {
        let spec = |(ParamSpec { name, shape, .. }, precision): (ParamSpec, Precision)| TensorSpec {
            name,
            element: precision.element(),
            shape,
        };
        TensorWriter::new(out, tensors.into_iter().map(spec).collect()).map(Self)
    }

    /// Writes the next tensor's values, row-major, rounded to its precision. `name` must be the next one announced.
    ///
    /// Errors: those of the output; [`io::ErrorKind::InvalidInput`] for another name or number of values.
    pub fn write(&mut self, name: &str, values: &[f32]) -> io::Result<()> {
        let half = self.0.left.as_slice().first().is_some_and(|next| next.element == Element::F16);
        let precision = if half { Precision::F16 } else { Precision::F32 };
        let out = self.0.next(name, values.len() * precision.element().bytes())?;
        match precision {
            Precision::F32 => values.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Precision::F16 => values.iter().try_for_each(|v| out.write_all(&f16::from_f32(*v).to_le_bytes())),
        }
    }

    /// Flushes and gives the output back.
    ///
    /// Errors: those of the output; [`io::ErrorKind::InvalidInput`] if a tensor was not written.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

fn out_of_step(found: &str, expected: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("weights are written in their announced order: found {found}, expected {expected}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Init;
    use crate::weights::Weights;

    fn specs() -> Vec<ParamSpec> {
        [("b.weight", vec![2, 2]), ("a", vec![]), ("empty", vec![0, 3])]
            .map(|(name, shape)| ParamSpec { name: name.into(), shape, init: Init::Zeros })
            .into()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = WeightsWriter::new(file.reopen().unwrap(), specs()).unwrap();
        writer.write("b.weight", &[1.0, f32::MIN_POSITIVE, -0.0, f32::MAX]).unwrap();
        writer.write("a", &[4.0]).unwrap();
        writer.write("empty", &[]).unwrap();
        writer.finish().unwrap();

        let weights = Weights::open(file.path()).unwrap();
        assert_eq!(weights.shapes(), specs().into_iter().map(|p| (p.name, p.shape)).collect());
        let b = weights.read("b.weight").unwrap();
        assert_eq!(b.as_slice().unwrap(), [1.0, f32::MIN_POSITIVE, -0.0, f32::MAX]);
        assert_eq!(weights.location("b.weight").unwrap().offset % 8, 0);
        // A second reader of the format agrees.
        let bytes = std::fs::read(file.path()).unwrap();
        let other = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(other.tensor("a").unwrap().data(), 4.0f32.to_le_bytes());
    }

    #[test]
    fn every_type_is_named_as_the_format_names_it() {
        let spec = |element: Element| TensorSpec { name: element.to_string(), element, shape: vec![3] };
        let mut writer = TensorWriter::new(Vec::new(), Element::ALL.map(spec).into()).unwrap();
        for element in Element::ALL {
            writer.write(&element.to_string(), &vec![element as u8; 3 * element.bytes()]).unwrap();
        }
        let file = writer.finish().unwrap();
        let other = safetensors::SafeTensors::deserialize(&file).unwrap();
        for element in Element::ALL {
            let tensor = other.tensor(&element.to_string()).unwrap();
            assert_eq!(Element::of(tensor.dtype()), Some(element));
            assert_eq!(tensor.data(), vec![element as u8; 3 * element.bytes()]);
        }
    }

    #[test]
    fn halves_are_rounded_and_read_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let precisions = [Precision::F16, Precision::F32, Precision::F16];
        let tensors = specs().into_iter().zip(precisions).collect();
        let mut writer = WeightsWriter::mixed(file.reopen().unwrap(), tensors).unwrap();
        let values = [1.0, 0.1, -0.0, 7e4];
        writer.write("b.weight", &values).unwrap();
        writer.write("a", &[0.1]).unwrap();
        writer.write("empty", &[]).unwrap();
        writer.finish().unwrap();

        let weights = Weights::open(file.path()).unwrap();
        let found = weights.read("b.weight").unwrap();
        assert_eq!(found.as_slice().unwrap(), values.map(|v| Precision::F16.round(v)));
        assert_eq!(weights.read("a").unwrap().first(), Some(&0.1));
        assert_eq!(
            (weights.dtype("b.weight").unwrap(), weights.dtype("a").unwrap()),
            ("f16".into(), "f32".into())
        );
        let bytes = std::fs::read(file.path()).unwrap();
        let other = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(other.tensor("b.weight").unwrap().data()[2..4], 0x2e66u16.to_le_bytes());
    }

    #[test]
    fn out_of_step_is_refused() {
        let writer = || WeightsWriter::new(Vec::new(), specs()).unwrap();
        assert!(writer().write("a", &[4.0]).is_err(), "another name");
        assert!(writer().write("b.weight", &[4.0]).is_err(), "another size");
        assert!(writer().finish().is_err(), "nothing written");
    }
}
