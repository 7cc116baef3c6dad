//! The writer: the header first, then tensor by tensor, so that no more than one tensor is in memory.

use std::io::{self, BufWriter, Write};

use half::f16;
use serde_json::json;

use super::Precision;
use crate::graph::ParamSpec;

/// Writes tensors as safetensors, in the order that was announced.
pub struct WeightsWriter<W: Write> {
    out: BufWriter<W>,
    left: std::vec::IntoIter<(ParamSpec, Precision)>,
}

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
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for (ParamSpec { name, shape, .. }, precision) in &tensors {
            let start = end;
            end += shape.iter().product::<usize>() * precision.bytes();
            let dtype = precision.name().to_uppercase();
            header.insert(
                name.clone(),
                json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }),
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

    /// Writes the next tensor's values, row-major, rounded to its precision. `name` must be the next one announced.
    ///
    /// Errors: those of the output; [`io::ErrorKind::InvalidInput`] for another name or number of values.
    pub fn write(&mut self, name: &str, values: &[f32]) -> io::Result<()> {
        let (next, precision) =
            self.left.next().ok_or_else(|| out_of_step(name, "no more tensors".into()))?;
        let length: usize = next.shape.iter().product();
        if next.name != name || length != values.len() {
            let expected = format!("{length} values of '{}'", next.name);
            return Err(out_of_step(&format!("{} values of '{name}'", values.len()), expected));
        }
        match precision {
            Precision::F32 => values.iter().try_for_each(|v| self.out.write_all(&v.to_le_bytes())),
            Precision::F16 => {
                values.iter().try_for_each(|v| self.out.write_all(&f16::from_f32(*v).to_le_bytes()))
            }
        }
    }

    /// Flushes and gives the output back.
    ///
    /// Errors: those of the output; [`io::ErrorKind::InvalidInput`] if a tensor was not written.
    pub fn finish(mut self) -> io::Result<W> {
        match self.left.next() {
            Some((next, _)) => Err(out_of_step("the end", format!("'{}'", next.name))),
            None => self.out.into_inner().map_err(io::IntoInnerError::into_error),
        }
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
