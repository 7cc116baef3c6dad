//! Reads what `torch.save` writes: a zip with a pickle (names, shapes, strides) and one entry a storage.
//!
//! The pickle is parsed by candle into plain objects; nothing in it is executed. Dictionaries within dictionaries
//! are flattened: `{"model": {"out.0.bias": T}}` holds the tensor `model.out.0.bias`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anomalens_models::weights::Shapes;
use candle_core::pickle::{Object, Stack};
use ndarray::{ArrayD, ArrayView, IxDyn, ShapeBuilder};
use zip::ZipArchive;

use crate::checkpoint::CheckpointError;

/// A tensor as the pickle describes it: a view into a storage, in elements.
struct View {
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
    /// E.g. `f32`.
    dtype: String,
    /// Entry of the zip.
    entry: String,
}

/// An open `.pt` file.
pub struct PtFile {
    path: PathBuf,
    tensors: BTreeMap<String, View>,
    archive: RefCell<Archive>,
}

struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// The storage that was read last: many tensors may be views into one.
    storage: (String, Vec<f32>),
}

impl PtFile {
    /// Opens a file and reads its pickle.
    ///
    /// Errors: [`CheckpointError::Io`], [`CheckpointError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file =
            File::open(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        let damaged = |what: &str, cause: String| CheckpointError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
            cause,
        };
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| damaged("zip", e.to_string()))?;
        let pickle = (0..zip.len())
            .filter_map(|i| Some(zip.by_index_raw(i).ok()?.name().ok()?.into_owned()))
            .find(|name| name == "data.pkl" || name.ends_with("/data.pkl"))
            .ok_or_else(|| damaged("zip", "no data.pkl in it".into()))?;
        let entry = zip.by_name(&pickle).map_err(|e| damaged(&pickle, e.to_string()))?;
        let mut stack = Stack::empty();
        let object = stack.read_loop(&mut BufReader::new(entry)).and_then(|()| stack.finalize());
        let object = object.map_err(|e| damaged(&pickle, e.to_string()))?;
        let mut tensors = BTreeMap::new();
        let folder = pickle.strip_suffix(".pkl").expect("found by this suffix");
        flatten(&object, "", folder, &mut tensors);
        if tensors.is_empty() {
            return Err(damaged(&pickle, "no tensors by name in it (a state_dict() is wanted)".into()));
        }
        let archive = RefCell::new(Archive { zip, storage: Default::default() });
        Ok(Self { path: path.to_owned(), tensors, archive })
    }

    /// Names and shapes.
    pub fn shapes(&self) -> Shapes {
        self.tensors.iter().map(|(name, view)| (name.clone(), view.shape.clone())).collect()
    }

    /// Element type of a tensor, e.g. `f32`; empty if there is no such tensor.
    pub fn dtype(&self, name: &str) -> String {
        self.tensors.get(name).map(|view| view.dtype.clone()).unwrap_or_default()
    }

    /// A copy of one tensor, row-major whatever its strides are in the file.
    ///
    /// Errors: [`CheckpointError::DType`], [`CheckpointError::Damaged`].
    pub fn read(&self, name: &str) -> Result<ArrayD<f32>, CheckpointError> {
        let damaged = |cause: String| CheckpointError::Damaged {
            path: self.path.clone(),
            what: name.to_owned(),
            cause,
        };
        let view = self.tensors.get(name).ok_or_else(|| damaged("no such tensor".into()))?;
        if view.dtype != "f32" {
            let found = view.dtype.clone();
            return Err(CheckpointError::DType { path: self.path.clone(), name: name.to_owned(), found });
        }
        let mut archive = self.archive.borrow_mut();
        archive.load(&view.entry).map_err(|e| damaged(format!("{}: {e}", view.entry)))?;
        let from_start = archive.storage.1.get(view.offset..).unwrap_or_default();
        let shape = IxDyn(&view.shape).strides(IxDyn(&view.strides));
        match ArrayView::from_shape(shape, from_start) {
            Ok(array) => Ok(ArrayD::from_shape_vec(view.shape.clone(), array.iter().copied().collect())
                .expect("as many values as the shape has")),
            Err(e) => Err(damaged(format!("shape {:?} in {}: {e}", view.shape, view.entry))),
        }
    }
}

impl Archive {
    /// Reads a whole storage, whose checksum the zip reader then compares.
    fn load(&mut self, entry: &str) -> Result<(), String> {
        if self.storage.0 == entry {
            return Ok(());
        }
        self.storage = Default::default();
        let mut reader = self.zip.by_name(entry).map_err(|e| e.to_string())?;
        let mut values = Vec::with_capacity(reader.size() as usize / 4);
        let mut block = vec![0; 1 << 16];
        loop {
            let mut filled = 0;
            while filled < block.len() {
                match reader.read(&mut block[filled..]).map_err(|e| e.to_string())? {
                    0 => break,
                    n => filled += n,
                }
            }
            values.extend(
                block[..filled].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            );
            if filled < block.len() {
                break;
            }
        }
        self.storage = (entry.to_owned(), values);
        Ok(())
    }
}

fn flatten(object: &Object, prefix: &str, folder: &str, tensors: &mut BTreeMap<String, View>) {
    let Object::Dict(entries) = object else { return };
    for (key, value) in entries {
        let name = match key {
            Object::Unicode(key) => format!("{prefix}{key}"),
            Object::Int(key) => format!("{prefix}{key}"),
            _ => continue,
        };
        match tensor(value, folder) {
            Some(view) => {
                tensors.insert(name, view);
            }
            None => flatten(value, &format!("{name}."), folder, tensors),
        }
    }
}

/// The view that an object describes; `None` if it is no tensor.
fn tensor(object: &Object, folder: &str) -> Option<View> {
    let Object::Reduce { callable, args } = object else { return None };
    let (Object::Class { class_name, .. }, Object::Tuple(args)) = (&**callable, &**args) else { return None };
    match (class_name.as_str(), args.as_slice()) {
        ("_rebuild_parameter", [inner, ..]) => tensor(inner, folder),
        ("_rebuild_from_type_v2", [callable, _, args, ..]) => {
            tensor(&Object::Reduce { callable: callable.clone().into(), args: args.clone().into() }, folder)
        }
        ("_rebuild_tensor_v2", [Object::PersistentLoad(storage), offset, size, strides, ..]) => {
            let Object::Tuple(storage) = &**storage else { return None };
            let [_, Object::Class { class_name, .. }, Object::Unicode(key), ..] = storage.as_slice() else {
                return None;
            };
            Some(View {
                shape: numbers(size)?,
                strides: numbers(strides)?,
                offset: number(offset)?,
                dtype: match class_name.as_str() {
                    "FloatStorage" => "f32".into(),
                    "DoubleStorage" => "f64".into(),
                    "HalfStorage" => "f16".into(),
                    "BFloat16Storage" => "bf16".into(),
                    other => other.trim_end_matches("Storage").to_lowercase(),
                },
                entry: format!("{folder}/{key}"),
            })
        }
        _ => None,
    }
}

fn numbers(object: &Object) -> Option<Vec<usize>> {
    let Object::Tuple(items) = object else { return None };
    items.iter().map(number).collect()
}

fn number(object: &Object) -> Option<usize> {
    match object {
        Object::Int(n) => usize::try_from(*n).ok(),
        Object::Long(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}
