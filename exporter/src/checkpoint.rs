//! A checkpoint that a person brings: a `.pt` or a `.safetensors`, told apart by their content, of guided-diffusion or of
//! another package that has the same networks.
//!
//! ```text
//! file.rs      the tensors as the file names them
//! contents.rs  … by guided-diffusion's names: map.rs finds the networks of family.rs among them
//! place.rs     where in that a network stands
//! ```

mod config;
mod contents;
mod error;
mod family;
mod file;
mod map;
mod numbers;
mod place;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anomalens_models::graph::{ParamSource, ParamSpec};
use anomalens_models::weights::{Element, Shapes, TensorSpec, WeightsError, check_keys};
use ndarray::ArrayD;

pub use self::config::Config;
use self::contents::Contents;
pub use self::error::CheckpointError;
pub use self::family::Family;

/// Whose a network is, with what is known of it by that and stands in no tensor.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Origin {
    /// guided-diffusion's, or of a program that names its tensors so.
    #[default]
    GuidedDiffusion,
    /// MONAI's `DiffusionModelUNet`.
    Monai,
    /// diffusers' `UNet2DModel`.
    Diffusers(Config),
}

impl Origin {
    /// Whose it is, alone.
    pub fn family(&self) -> Family {
        match self {
            Self::GuidedDiffusion => Family::GuidedDiffusion,
            Self::Monai => Family::Monai,
            Self::Diffusers(_) => Family::Diffusers,
        }
    }
}

/// Named tensors, read one at a time.
pub struct Checkpoint {
    path: PathBuf,
    /// What stands before each name: empty, or the keys with a dot after each.
    prefix: String,
    /// The part of it that was asked for.
    asked: usize,
    /// Whether anything was, be it the top.
    keyed: bool,
    contents: Box<Contents>,
}

impl Checkpoint {
    /// Opens a checkpoint and reads its table of contents. The networks of MONAI and diffusers in it have guided-diffusion's
    /// names from here on, where these can be given to them. `key` names the entry that holds the network, where
    /// the file holds more: `{"model": {…}}`, or names that begin with `model.`. One guided-diffusion network under
    /// some key (or `module.` and the like) is found without it. An empty key is the top, without other networks below
    /// it.
    ///
    /// Errors: [`CheckpointError`].
    pub fn open(path: &Path, key: Option<&str>) -> Result<Self, CheckpointError> {
        let contents = Box::new(Contents::open(path)?);
        let prefix = key.filter(|key| !key.is_empty()).map(|key| format!("{key}.")).unwrap_or_default();
        let (asked, keyed) = (prefix.len(), key.is_some());
        let mut checkpoint = Self { path: path.to_owned(), prefix, asked, keyed, contents };
        if let Some(key) = key
            && !checkpoint.contents.names().any(|name| name.starts_with(&checkpoint.prefix))
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

    /// Whose the network is.
    ///
    /// Errors: [`CheckpointError::Unmappable`] where one of another package alone stands here, which no preset describes;
    /// [`CheckpointError::NoConfig`], [`CheckpointError::Config`].
    pub fn origin(&self) -> Result<Origin, CheckpointError> {
        self.mappable()?;
        match self.family() {
            Family::GuidedDiffusion => Ok(Origin::GuidedDiffusion),
            Family::Monai => Ok(Origin::Monai),
            Family::Diffusers => Config::beside(&self.path).map(Origin::Diffusers),
        }
    }

    /// Whose names and layout the network has in the file.
    pub fn family(&self) -> Family {
        self.contents.family(&self.prefix)
    }

    /// Refuses a checkpoint that has a network of another package and none that a preset describes.
    fn mappable(&self) -> Result<(), CheckpointError> {
        let other = if self.networks().is_empty() { self.contents.unmappable(&self.prefix) } else { None };
        other.map_or(Ok(()), Err)
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
    /// Errors: [`CheckpointError::Unreadable`], [`CheckpointError::Keys`], [`CheckpointError::DType`],
    /// [`CheckpointError::Mixed`], [`CheckpointError::Unmappable`].
    pub fn check(&self, network: &str, params: &[ParamSpec]) -> Result<(), CheckpointError> {
        self.mappable()?;
        // What cannot be read has no shape: it would be called missing.
        for param in params.iter().filter(|param| self.has(&param.name)) {
            self.element(&param.name)?;
        }
        let mut place = self.path.display().to_string();
        if let Some(key) = self.found() {
            place += &format!("' under '{key}");
        }
        check_keys(&place, network, &self.shapes(), params)?;
        params.iter().try_for_each(|param| self.contents.float(&self.full(&param.name)))
    }

    /// What a person should know of how these parameters are read: where they were found, whose names they have there,
    /// what is converted to f32.
    pub fn remarks(&self, params: &[ParamSpec]) -> Vec<String> {
        let mut remarks: Vec<String> =
            self.found().map(|key| format!("found under '{key}'")).into_iter().collect();
        remarks.extend(self.renamed());
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

    /// That the tensors have other names here than in the file, if they have.
    pub fn renamed(&self) -> Option<String> {
        match self.family() {
            Family::GuidedDiffusion => None,
            family @ (Family::Monai | Family::Diffusers) => {
                Some(format!("of {family}, read by the names that guided-diffusion has for its layers"))
            }
        }
    }

    /// The tensors of [`Checkpoint::shapes`] with their types. A tensor that cannot be read, or of a type that PyTorch
    /// does not have, is refused.
    ///
    /// Errors: [`CheckpointError::Unreadable`], [`CheckpointError::Weights`].
    pub fn tensors(&self) -> Result<Vec<TensorSpec>, CheckpointError> {
        let deeper = place::deeper(&self.shapes_below(self.prefix.len()));
        let below = self.contents.names().filter_map(|name| name.strip_prefix(&self.prefix));
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

    /// Number of tensors in the whole file, by their names here.
    pub fn len(&self) -> usize {
        self.contents.names().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A tensor's data, row-major, little-endian. Its numbers are finite.
    ///
    /// Errors: those of [`Checkpoint::read`], but for [`CheckpointError::DType`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        self.contents.bytes(&self.full(name))
    }

    /// A copy of one tensor's numbers, row-major, as f32.
    ///
    /// Errors: [`CheckpointError::Damaged`], [`CheckpointError::Unreadable`], [`CheckpointError::DType`],
    /// [`CheckpointError::Mixed`], [`CheckpointError::NotFinite`] (also for a number that f32 cannot hold),
    /// [`CheckpointError::Weights`].
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.contents.read_f32(&self.full(name))
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
        self.contents.element(&self.full(name))
    }

    /// The shape of a tensor that can be read.
    fn shape(&self, name: &str) -> &[usize] {
        self.contents.shape(&self.full(name)).unwrap_or_default()
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether there is such a tensor, be it one that cannot be read.
    fn has(&self, name: &str) -> bool {
        self.contents.has(&self.full(name))
    }

    /// Names and shapes below the first `length` bytes of the prefix.
    fn shapes_below(&self, length: usize) -> Shapes {
        let below = |(name, shape): (String, Vec<usize>)| {
            Some((name.strip_prefix(&self.prefix[..length])?.into(), shape))
        };
        self.contents.shapes().into_iter().filter_map(below).collect()
    }

    fn top_level_keys(&self) -> String {
        let keys: BTreeSet<&str> = self.contents.names().filter_map(|name| name.split('.').next()).collect();
        if keys.is_empty() { "no tensors at all".into() } else { Vec::from_iter(keys).join(", ") }
    }
}

impl ParamSource for Checkpoint {
    fn param(&self, name: &str) -> Option<ArrayD<f32>> {
        self.read(name).ok()
    }
}
