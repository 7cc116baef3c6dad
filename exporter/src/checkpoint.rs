//! A checkpoint that a person brings: a guided-diffusion `.pt` or a `.safetensors`, told apart by their content.

mod error;
mod numbers;
mod place;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anomalens_models::graph::{ParamSource, ParamSpec};
use anomalens_models::weights::{Element, Shapes, TensorSpec, Weights, WeightsError, check_keys};
use ndarray::ArrayD;

pub use self::error::CheckpointError;
use self::numbers::{index_of, not_finite, to_f32};
use crate::pt::PtFile;

/// Named tensors, read one at a time.
pub struct Checkpoint {
    path: PathBuf,
    /// What stands before each name: empty, or the keys with a dot after each.
    prefix: String,
    /// The part of it that was asked for.
    asked: usize,
    /// Whether anything was, be it the top.
    keyed: bool,
    format: Format,
}

enum Format {
    Pt(PtFile),
    Safetensors(Weights),
}

impl Checkpoint {
    /// Opens a checkpoint and reads its table of contents. `key` names the entry that holds the network, where
    /// the file holds more: `{"model": {…}}`, or names that begin with `model.`. One guided-diffusion network under
    /// some key (or `module.` and the like) is found without it. An empty key is the top, without other networks below
    /// it.
    ///
    /// Errors: [`CheckpointError`].
    pub fn open(path: &Path, key: Option<&str>) -> Result<Self, CheckpointError> {
        let format = Self::format(path)?;
        let prefix = key.filter(|key| !key.is_empty()).map(|key| format!("{key}.")).unwrap_or_default();
        let (asked, keyed) = (prefix.len(), key.is_some());
        let mut checkpoint = Self { path: path.to_owned(), prefix, asked, keyed, format };
        if let Some(key) = key
            && !checkpoint.names().any(|name| name.starts_with(&checkpoint.prefix))
        {
            return Err(CheckpointError::Key {
                path: path.to_owned(),
                key: key.to_owned(),
                found: checkpoint.top_level_keys(),
            });
        }
        if let [only] = &checkpoint.networks()[..] {
            checkpoint.prefix += only;
        }
        Ok(checkpoint)
    }

    fn format(path: &Path) -> Result<Format, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        // The first block of a tar archive.
        let mut head = Vec::new();
        File::open(path).map_err(io)?.take(512).read_to_end(&mut head).map_err(io)?;
        let found = match head.as_slice() {
            [b'P', b'K', 3, 4, ..] => return PtFile::open(path).map(Format::Pt),
            // Eight bytes of header length, then the header's JSON.
            [_, _, _, _, _, _, _, _, b'{', ..] => return Ok(Format::Safetensors(Weights::open(path)?)),
            // A pickle of protocol 2 or later.
            [0x80, 2..=5, ..] => return Err(CheckpointError::Legacy { path: path.to_owned() }),
            block if block.get(257..262) == Some(b"ustar") => {
                return Err(CheckpointError::Tar { path: path.to_owned() });
            }
            [] => "an empty file".into(),
            [0x1f, 0x8b, ..] => "a file packed by gzip".into(),
            other => format!("a file that begins with {:02x?}", &other[..other.len().min(9)]),
        };
        Err(CheckpointError::Unknown { path: path.to_owned(), found })
    }

    /// Finds the network of these parameters where it stands: under the key that was given, or a prefix below it such as
    /// `module.`. What does not fit anywhere is left to [`Checkpoint::check`]. `network` names it in the error,
    /// `option` the option that takes a key.
    ///
    /// Errors: [`CheckpointError::Ambiguous`] if it stands at two places.
    pub fn place(
        mut self,
        option: &str,
        network: &str,
        params: &[ParamSpec],
    ) -> Result<Self, CheckpointError> {
        let places = self.meant(place::places(&self.shapes_below(self.asked), params));
        match &places[..] {
            [] => {}
            [only] => {
                self.prefix.truncate(self.asked);
                self.prefix += only;
            }
            several => return Err(self.ambiguous(option, network, several)),
        }
        Ok(self)
    }

    /// The checkpoint, if one guided-diffusion network of whatever preset stands in it, or none: then everything in it
    /// is meant. `option` names the option that takes a key.
    ///
    /// Errors: [`CheckpointError::Ambiguous`].
    pub fn one_network(self, option: &str) -> Result<Self, CheckpointError> {
        match &self.networks()[..] {
            [] | [_] => Ok(self),
            several => Err(self.ambiguous(option, "a network", several)),
        }
    }

    /// What stands before the names of each guided-diffusion network, of whatever preset, below the key that was given.
    fn networks(&self) -> Vec<String> {
        self.meant(place::networks(&self.shapes_below(self.asked)))
    }

    /// The places that a key can mean: a network directly under it is the one, whatever else stands deeper.
    fn meant(&self, places: Vec<String>) -> Vec<String> {
        if self.keyed && places.iter().any(String::is_empty) { vec![String::new()] } else { places }
    }

    /// The error for networks at several places.
    fn ambiguous(&self, option: &str, network: &str, places: &[String]) -> CheckpointError {
        let asked = &self.prefix[..self.asked];
        let key = |place: &String| match format!("{asked}{place}").strip_suffix('.') {
            Some(key) => format!("'{key}'"),
            None => "'' (the top)".into(),
        };
        CheckpointError::Ambiguous {
            path: self.path.clone(),
            network: network.to_owned(),
            keys: places.iter().map(key).collect::<Vec<_>>().join(", "),
            option: option.to_owned(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key that the tensors stand under, e.g. `ema.module`; `None` at the file's top.
    pub fn key(&self) -> Option<&str> {
        self.prefix.strip_suffix('.')
    }

    /// The part of [`Checkpoint::key`] that was found without being asked for.
    pub fn found(&self) -> Option<&str> {
        self.prefix[self.asked..].strip_suffix('.')
    }

    /// Names (below the key) and shapes, of the tensors that can be read; those of another network that stands deeper
    /// are not among them.
    pub fn shapes(&self) -> Shapes {
        let mut shapes = self.shapes_below(self.prefix.len());
        let deeper = place::deeper(&shapes);
        shapes.retain(|name, _| !place::is_within(name, 0, &deeper));
        shapes
    }

    /// Checks that the checkpoint holds every parameter of a network, of a floating-point type and in the right shape,
    /// and nothing else. `network` names it in the error.
    ///
    /// Errors: [`CheckpointError::Unreadable`], [`CheckpointError::Keys`], [`CheckpointError::DType`].
    pub fn check(&self, network: &str, params: &[ParamSpec]) -> Result<(), CheckpointError> {
        // What cannot be read has no shape: it would be called missing.
        for param in params.iter().filter(|param| self.has(&param.name)) {
            self.element(&param.name)?;
        }
        let mut place = self.path.display().to_string();
        if let Some(key) = self.found() {
            place += &format!("' under '{key}");
        }
        check_keys(&place, network, &self.shapes(), params)?;
        params.iter().try_for_each(|param| self.float(&param.name).map(drop))
    }

    /// What a person should know of how these parameters are read: where they were found, what is converted to f32.
    pub fn remarks(&self, params: &[ParamSpec]) -> Vec<String> {
        let mut remarks: Vec<String> =
            self.found().map(|key| format!("found under '{key}'")).into_iter().collect();
        let mut types = BTreeMap::new();
        for element in params.iter().filter_map(|param| self.element(&param.name).ok()) {
            *types.entry(element).or_insert(0) += 1;
        }
        for (element, count) in types {
            let how = match element {
                Element::F64 => "rounded to f32",
                Element::F16 | Element::Bf16 => "widened to f32, exactly",
                _ => continue,
            };
            remarks.push(format!("{count} of {} tensors are {element}, {how}", params.len()));
        }
        remarks
    }

    /// The tensors of [`Checkpoint::shapes`] with their types. A tensor that cannot be read, or of a type that PyTorch
    /// does not have, is refused.
    ///
    /// Errors: [`CheckpointError::Unreadable`], [`CheckpointError::Weights`].
    pub fn tensors(&self) -> Result<Vec<TensorSpec>, CheckpointError> {
        let deeper = place::deeper(&self.shapes_below(self.prefix.len()));
        let below = self.names().filter_map(|name| name.strip_prefix(&self.prefix));
        let mut tensors = Vec::new();
        for name in below.filter(|name| !place::is_within(name, 0, &deeper)).map(str::to_owned) {
            let element = self.element(&name)?;
            let shape = self.shape(&name).to_vec();
            // So many that their bytes, be it as f32, are no number, though an axis of none makes them 0.
            let bytes = element.bytes().max(Element::F32.bytes());
            if shape.iter().try_fold(bytes, |n, &axis| n.checked_mul(axis.max(1))).is_none() {
                return Err(WeightsError::Shape { path: self.path.clone(), name, shape }.into());
            }
            tensors.push(TensorSpec { name, element, shape });
        }
        Ok(tensors)
    }

    /// Number of tensors in the whole file.
    pub fn len(&self) -> usize {
        self.names().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A tensor's data, row-major, little-endian. Its numbers are finite.
    ///
    /// Errors: those of [`Checkpoint::read`], but for [`CheckpointError::DType`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let full = self.full(name);
        let (element, bytes) = match &self.format {
            Format::Pt(file) => (file.element(&full)?, file.bytes(&full)?),
            Format::Safetensors(weights) => (weights.element(&full)?, Cow::Borrowed(weights.bytes(&full)?)),
        };
        match not_finite(element, &bytes) {
            None => Ok(bytes),
            Some((place, value)) => Err(self.not_finite(name, place, value.to_string())),
        }
    }

    /// A copy of one tensor's numbers, row-major, as f32.
    ///
    /// Errors: [`CheckpointError::Damaged`], [`CheckpointError::Unreadable`], [`CheckpointError::DType`],
    /// [`CheckpointError::NotFinite`] (also for a number that f32 cannot hold), [`CheckpointError::Weights`].
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let element = self.float(name)?;
        let bytes = self.bytes(name)?;
        let values = to_f32(element, &bytes).expect("a floating-point type");
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(place) => Err(self.not_finite(name, place, "a number beyond f32".into())),
        }
    }

    /// A copy of one tensor.
    ///
    /// Errors: those of [`Checkpoint::read_f32`].
    pub fn read(&self, name: &str) -> Result<ArrayD<f32>, CheckpointError> {
        let values = self.read_f32(name)?;
        let shape = self.shape(name).to_vec();
        ArrayD::from_shape_vec(shape.clone(), values)
            .map_err(|_| WeightsError::Shape { path: self.path.clone(), name: self.full(name), shape }.into())
    }

    /// Element type of a tensor.
    fn element(&self, name: &str) -> Result<Element, CheckpointError> {
        match &self.format {
            Format::Pt(file) => file.element(&self.full(name)),
            Format::Safetensors(weights) => Ok(weights.element(&self.full(name))?),
        }
    }

    /// Element type of a tensor of weights.
    fn float(&self, name: &str) -> Result<Element, CheckpointError> {
        let element = self.element(name)?;
        if element.is_float() {
            return Ok(element);
        }
        let (path, name) = (self.path.clone(), self.full(name));
        Err(CheckpointError::DType { path, name, found: element.to_string() })
    }

    fn not_finite(&self, name: &str, place: usize, value: String) -> CheckpointError {
        let index = index_of(place, self.shape(name));
        CheckpointError::NotFinite { path: self.path.clone(), name: self.full(name), value, index }
    }

    /// The shape of a tensor that can be read.
    fn shape(&self, name: &str) -> &[usize] {
        let full = self.full(name);
        match &self.format {
            Format::Pt(file) => file.shape(&full),
            Format::Safetensors(weights) => weights.shape(&full),
        }
        .unwrap_or_default()
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether there is such a tensor, be it one that cannot be read.
    fn has(&self, name: &str) -> bool {
        let full = self.full(name);
        match &self.format {
            Format::Pt(file) => file.has(&full),
            Format::Safetensors(weights) => weights.shape(&full).is_some(),
        }
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.format {
            Format::Pt(file) => Box::new(file.names()),
            Format::Safetensors(weights) => Box::new(weights.names()),
        }
    }

    fn all_shapes(&self) -> Shapes {
        match &self.format {
            Format::Pt(file) => file.shapes(),
            Format::Safetensors(weights) => weights.shapes(),
        }
    }

    /// Names and shapes below the first `length` bytes of the prefix.
    fn shapes_below(&self, length: usize) -> Shapes {
        let below = |(name, shape): (String, Vec<usize>)| {
            Some((name.strip_prefix(&self.prefix[..length])?.into(), shape))
        };
        self.all_shapes().into_iter().filter_map(below).collect()
    }

    fn top_level_keys(&self) -> String {
        let mut keys: Vec<&str> = self.names().filter_map(|name| name.split('.').next()).collect();
        keys.dedup();
        if keys.is_empty() { "no tensors at all".into() } else { keys.join(", ") }
    }
}

impl ParamSource for Checkpoint {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.read(name).ok()
    }
}
