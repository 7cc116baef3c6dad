//! Writes a state_dict() as `torch.save` does, so that `torch.load(weights_only=True)` reads it.

use std::io::{self, BufWriter, Write};

use anomalens_models::weights::TensorSpec;

use super::tensors::storage_class;
use super::zip::ZipWriter;

/// The folder in the zip; PyTorch takes any.
const FOLDER: &str = "archive";

/// Writes tensors as a `.pt` file, in the order that was announced. No more than one tensor is in memory.
pub struct PtWriter<W: Write> {
    zip: ZipWriter<BufWriter<W>>,
    left: std::vec::IntoIter<TensorSpec>,
    written: usize,
}

impl<W: Write> PtWriter<W> {
    /// Writes the pickle that describes these tensors.
    ///
    /// Errors: those of `out`.
    pub fn new(out: W, tensors: Vec<TensorSpec>) -> io::Result<Self> {
        let mut zip = ZipWriter::new(BufWriter::with_capacity(1 << 20, out));
        zip.entry(format!("{FOLDER}/data.pkl"), &pickle(&tensors))?;
        zip.entry(format!("{FOLDER}/byteorder"), b"little")?;
        Ok(Self { zip, left: tensors.into_iter(), written: 0 })
    }

    /// Writes the next tensor's data, row-major, little-endian. `name` must be the next one announced.
    ///
    /// Errors: those of the output; [`io::ErrorKind::InvalidInput`] for another name or length.
    pub fn write(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        let next = self.left.next().filter(|next| next.name == name && next.bytes() == data.len());
        if next.is_none() {
            let found = format!("tensors are written in their announced order: found '{name}'");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, found));
        }
        self.zip.entry(format!("{FOLDER}/data/{}", self.written), data)?;
        self.written += 1;
        Ok(())
    }

    /// Writes the end of the file, flushes and gives the output back.
    ///
    /// Errors: those of the output; [`io::ErrorKind::InvalidInput`] if a tensor was not written.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(next) = self.left.next() {
            let missing = format!("tensor '{}' was not written", next.name);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, missing));
        }
        self.zip.entry(format!("{FOLDER}/version"), b"3\n")?;
        self.zip.finish()?.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";

/// An OrderedDict of tensors, each the whole of a storage of its own, in protocol 2.
fn pickle(tensors: &[TensorSpec]) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    out.extend(ORDERED_DICT);
    out.push(b'(');
    for (number, TensorSpec { name, element, shape }) in tensors.iter().enumerate() {
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{}\n", storage_class(*element)).as_bytes());
        text(&mut out, &number.to_string());
        text(&mut out, "cpu");
        integer(&mut out, shape.iter().product());
        out.extend(b"tQK\0");
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            // As PyTorch has it for tensors without elements.
            strides[axis - 1] = strides[axis] * shape[axis].max(1);
        }
        for numbers in [shape, &strides] {
            out.push(b'(');
            numbers.iter().for_each(|&n| integer(&mut out, n));
            out.push(b't');
        }
        // requires_grad, and hooks: none.
        out.push(0x89);
        out.extend(ORDERED_DICT);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn integer(out: &mut Vec<u8>, n: usize) {
    match i32::try_from(n) {
        Ok(n) => {
            out.push(b'J');
            out.extend(n.to_le_bytes());
        }
        Err(_) => {
            out.extend([0x8a, 8]);
            out.extend((n as i64).to_le_bytes());
        }
    }
}
