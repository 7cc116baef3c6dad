//! The state of a run on disk: one safetensors file a checkpoint, complete or absent.
//!
//! ```text
//! model.<parameter>      ema.<parameter>      adam.first.<parameter>      adam.second.<parameter>
//! __metadata__: step; the settings are in run.json
//! ```
//!
//! Generators and data order need no place in it: they are functions of the seed and the step.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anomalens_models::weights::Weights;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use tch::{Device, Tensor};

use crate::adam::Adam;
use crate::error::TrainError;
use crate::task::Task;
use crate::weights::{Named, values};

/// Everything that changes while a network is trained.
#[derive(Debug)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// Every parameter that is trained; they ask for gradients.
    pub model: Named,
    /// Their average, if the run keeps one.
    pub ema: Option<Named>,
    /// The optimiser's moments.
    pub adam: Adam,
}

impl State {
    /// The state that training starts from.
    ///
    /// Errors: [`TrainError::Start`] where nothing in `start` fits the network.
    pub fn initial(
        task: &dyn Task,
        seed: u64,
        start: Option<&Weights>,
        ema: bool,
        device: Device,
    ) -> Result<Self, TrainError> {
        let model = Named::initial(task.graph().name(), &task.params(), seed, start, device)?;
        let ema = ema.then(|| model.copied());
        let adam = Adam::new(&model);
        Ok(Self { step: 0, model, ema, adam })
    }

    /// What the run gives: the average of the task's network, or its parameters themselves where there is none.
    pub fn result(&self, task: &dyn Task) -> Named {
        let params = task.graph().params();
        let all = self.ema.as_ref().unwrap_or(&self.model);
        all.only(|name| params.iter().any(|spec| spec.name == name))
    }

    /// Writes `folder/step-NNNNNNN.safetensors`, flushed and by rename, puts its name into `latest`, and removes all but the last
    /// `keep`, at least 1.
    ///
    /// Errors: [`TrainError::NotFinite`], [`TrainError::Io`]; the checkpoints before stay as they are.
    pub fn save(&self, folder: &Path, keep: usize) -> Result<PathBuf, TrainError> {
        let path = folder.join(file_name(self.step));
        let (first, second) = self.adam.moments();
        let parts = [
            ("model.", Some(&self.model)),
            ("ema.", self.ema.as_ref()),
            ("adam.first.", Some(first)),
            ("adam.second.", Some(second)),
        ];
        let mut tensors = Vec::new();
        for (prefix, named) in parts {
            for (name, tensor) in named.into_iter().flat_map(Named::iter) {
                tensors.push((format!("{prefix}{name}"), tensor));
            }
        }
        let before = last_name(folder);
        // The last step may have made them so, and no loss has been seen since.
        if let Some((name, _)) = tensors.iter().find(|(_, tensor)| !finite(tensor)) {
            let (step, name) = (self.step, name.clone());
            return Err(TrainError::NotFinite { step, name, kept: before });
        }
        let metadata = HashMap::from([("step".to_owned(), self.step.to_string())]);
        let bytes = encode(&tensors, metadata);
        let latest = format!("{}\n", file_name(self.step));
        let written =
            write_whole(&path, &bytes).and_then(|()| write_whole(&folder.join(LATEST), latest.as_bytes()));
        written.map_err(|source| TrainError::Io {
            path: path.clone(),
            source,
            kept: format!("nothing half-written is left; the last good checkpoint is {before}: free space or mend the permissions, then give the same command again to go on"),
        })?;
        prune(folder, keep);
        Ok(path)
    }

    /// The newest checkpoint in `folder`, or none.
    ///
    /// Errors: [`TrainError::Checkpoint`] where it is damaged or belongs to another network.
    pub fn latest(
        folder: &Path,
        task: &dyn Task,
        ema: bool,
        device: Device,
    ) -> Result<Option<Self>, TrainError> {
        let Some(step) = list(folder).pop() else { return Ok(None) };
        let params = task.params();
        let path = folder.join(file_name(step));
        let bytes = fs::read(&path).map_err(|source| TrainError::Io {
            path: path.clone(),
            source,
            kept: "nothing was changed".into(),
        })?;
        let wrong = |what: String, found: String, expected: String| TrainError::Checkpoint {
            path: path.clone(),
            what,
            found,
            expected,
            before: match list(folder).into_iter().rev().nth(1) {
                Some(step) => format!("'{}'", folder.join(file_name(step)).display()),
                None => "the first step, as none is before it".to_owned(),
            },
        };
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| wrong("file".into(), e.to_string(), "a whole safetensors file".into()))?;
        let read = |prefix: &str, gradients: bool| -> Result<Named, TrainError> {
            let mut tensors = Vec::new();
            for spec in &params {
                let name = format!("{prefix}{}", spec.name);
                let expected = format!("f32 {:?}, as the preset's network has", spec.shape);
                let view = file
                    .tensor(&name)
                    .map_err(|_| wrong(name.clone(), "nothing".into(), expected.clone()))?;
                if view.dtype() != Dtype::F32 || view.shape() != spec.shape {
                    return Err(wrong(name, format!("{:?} {:?}", view.dtype(), view.shape()), expected));
                }
                let values: Vec<f32> =
                    view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                let shape: Vec<i64> = spec.shape.iter().map(|&d| d as i64).collect();
                let tensor = Tensor::from_slice(&values).reshape(shape).to_device(device);
                tensors.push((spec.name.clone(), tensor.set_requires_grad(gradients)));
            }
            Ok(Named::new(tensors))
        };
        let model = read("model.", true)?;
        let ema = if ema { Some(read("ema.", false)?) } else { None };
        let adam = Adam::resume(read("adam.first.", false)?, read("adam.second.", false)?);
        Ok(Some(Self { step, model, ema, adam }))
    }
}

/// Removes all checkpoints but the last `keep`.
pub fn prune(folder: &Path, keep: usize) {
    for old in list(folder).into_iter().rev().skip(keep) {
        // A file that cannot be removed costs space, not the run.
        let _ = fs::remove_file(folder.join(file_name(old)));
    }
}

/// The name of the last checkpoint in a folder, for messages.
pub fn last_name(folder: &Path) -> String {
    list(folder)
        .pop()
        .map_or("none yet".to_owned(), |step| folder.join(file_name(step)).display().to_string())
}

/// Holds the name of the newest checkpoint, for scripts: a file and no link, since not every disk knows links.
const LATEST: &str = "latest";

fn file_name(step: usize) -> String {
    format!("step-{step:07}.safetensors")
}

/// The steps of the checkpoints in a folder, ascending.
fn list(folder: &Path) -> Vec<usize> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let step = |name: std::ffi::OsString| {
        name.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
    };
    let mut steps: Vec<usize> = names.filter_map(step).collect();
    steps.sort_unstable();
    steps
}

fn finite(tensor: &Tensor) -> bool {
    tensor.isfinite().all().int64_value(&[]) != 0
}

/// Tensors as the bytes of a safetensors file.
pub fn encode(tensors: &[(String, &Tensor)], metadata: HashMap<String, String>) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, t)| values(t).iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        let shape = tensor.size().iter().map(|&d| d as usize).collect();
        (name, TensorView::new(Dtype::F32, shape, bytes).expect("as many bytes as the shape says"))
    });
    serialize(views, Some(metadata)).expect("names differ")
}

/// What the name of a file begins with while it is written.
const PARTIAL: &str = ".partial-";

/// Removes files that a killed program was writing. Nobody else may be writing into the folder.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PARTIAL)) {
            // One that cannot be removed costs space, not the run.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes a file that is either whole or absent, also when the power fails.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("a file in a folder");
    let mut builder = tempfile::Builder::new();
    builder.prefix(PARTIAL);
    // As any other file: the folder's owner decides who may read it, by the umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    fs::File::open(folder)?.sync_all()
}
