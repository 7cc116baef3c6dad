//! What a translation keeps while it runs: what the method has made of each finished batch, in `OUT.partial`. The same command
//! goes on from there, however the last one ended, and other networks, images, options or versions do not take it over.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anomalens_method::translate::{FirstNoise, Options, Procedure};
use anomalens_models::image::UnitImage;
use anomalens_models::output::OutputError;
use ndarray::{Array3, Array4};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::options::computing;
use crate::TOOL;
use crate::args::TranslateArgs;
use crate::parts::{self, Part, Parts, SETTINGS, Settings, StoreError};
use crate::translator::{Approach, Made, Method};

/// Of the file of settings; another one is not read.
const FORMAT: u64 = 1;

/// What makes the results what they are. `images`: as the networks see them; `engine`: in words.
pub fn settings(
    args: &TranslateArgs,
    bundle_hash: &str,
    engine: &str,
    approach: &Approach,
    images: &[UnitImage],
) -> Settings {
    let mut settings = Settings::new();
    let mut add = |name: &str, value: String| settings.push((name.to_owned(), value));
    add("version", TOOL.to_owned());
    add("bundle", bundle_hash.to_owned());
    add("input", digest(images.iter().flat_map(|image| image.pixels())));
    add("number of slices", images.len().to_string());
    if let Approach::Guided(Options {
        procedure: Procedure::Reference { first_noise: FirstNoise::Array(noise), .. },
        ..
    }) = approach
    {
        add("first noise", digest(noise));
    }
    add("threads", args.engine.threads.map_or("one a core".to_owned(), |n| n.to_string()));
    add("trajectory", if args.trajectory.is_some() { "kept" } else { "not kept" }.to_owned());
    settings.extend(computing(&args.engine, engine, args.batch()));
    settings.extend(approach.describe());
    settings
}

/// SHA-256 of values.
fn digest<'a>(values: impl IntoIterator<Item = &'a f32>) -> String {
    let mut hash = Sha256::new();
    values.into_iter().for_each(|value| hash.update(value.to_le_bytes()));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The finished batches of a translation.
pub struct Store {
    parts: Parts,
    method: Method,
    /// Images that are translated, `batch` of them a part.
    images: usize,
    batch: usize,
    /// The finished parts, and what each took.
    done: BTreeMap<usize, Duration>,
    /// Whether another run may go on with it.
    lasting: bool,
    /// Parts that were found damaged and will be made again.
    pub damaged: Vec<String>,
}

impl Store {
    /// Opens the folder, or begins it. `images` are translated, `batch` of them a part; if it is not `lasting`, in one run or not at
    /// all.
    ///
    /// Errors: [`StoreError`].
    pub fn open(
        folder: PathBuf,
        settings: &Settings,
        method: Method,
        [images, batch]: [usize; 2],
        lasting: bool,
    ) -> Result<Self, StoreError> {
        let file = folder.join(SETTINGS);
        if holds_parts(&folder) {
            let cause = || StoreError::Part { path: folder.clone(), cause: format!("no {SETTINGS} in it") };
            let found = read(&file).ok_or_else(cause)?;
            if let Some((name, found, expected)) = parts::difference(&found, settings) {
                let (path, work) = (place(&folder).to_owned(), "an unfinished translation");
                return Err(StoreError::Settings { path, work, name, found, expected });
            }
        }
        if !lasting {
            let _ = fs::remove_dir_all(&folder);
        }
        fs::create_dir_all(&folder).map_err(|e| OutputError::new(&folder, e))?;
        let mut store = Self {
            parts: Parts::new(folder),
            method,
            images,
            batch,
            done: BTreeMap::new(),
            lasting,
            damaged: vec![],
        };
        let value = json!({ "format": FORMAT, "settings": parts::object(settings) });
        parts::write(&file, format!("{value:#}\n").as_bytes())?;
        store.scan();
        Ok(store)
    }

    /// Takes in every finished part.
    fn scan(&mut self) {
        for number in 0..self.images.div_ceil(self.batch) {
            let items: Vec<usize> = self.range(number).collect();
            match self.parts.part(self.method.column(), number) {
                None => {}
                Some(Ok(part)) if part.items == items => {
                    self.done.insert(number, part.time);
                }
                Some(Ok(part)) => self.damaged.push(format!("part {number} has the images {:?}", part.items)),
                Some(Err(damaged)) => self.damaged.push(damaged),
            }
        }
    }

    /// The images of a part.
    pub fn range(&self, number: usize) -> Range<usize> {
        number * self.batch..self.images.min((number + 1) * self.batch)
    }

    /// The parts that are to be made, in order.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.images.div_ceil(self.batch)).filter(|number| !self.done.contains_key(number)).collect()
    }

    /// Finished images that another run would go on with.
    pub fn finished(&self) -> usize {
        if self.lasting { self.done.keys().map(|&number| self.range(number).len()).sum() } else { 0 }
    }

    /// All images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// What the finished parts took, those of earlier runs among them.
    pub fn time(&self) -> Duration {
        self.done.values().sum()
    }

    /// Where everything is, as a person knows it: `OUT.partial`.
    pub fn place(&self) -> &Path {
        place(self.parts.folder())
    }

    /// Keeps a part.
    ///
    /// Errors: [`StoreError::Io`].
    pub fn put(&mut self, number: usize, made: &Made) -> Result<(), StoreError> {
        let part = Part { items: self.range(number).collect(), time: made.time };
        let pixels: &Array4<f32> = &made.kept();
        self.parts.keep(self.method.column(), number, &part, pixels)?;
        self.done.insert(number, part.time);
        Ok(())
    }

    /// What is kept of an image, of a part that is finished: see [`Made::kept`].
    ///
    /// Errors: [`StoreError::Part`].
    pub fn read(&mut self, image: usize) -> Result<Array3<f32>, StoreError> {
        self.parts.image(self.method.column(), image / self.batch, image % self.batch)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.finished() == 0 {
            let _ = fs::remove_dir_all(self.parts.folder());
        }
    }
}

fn place(parts: &Path) -> &Path {
    parts.parent().unwrap_or(parts)
}

/// Whether some part is finished there, of whatever run.
fn holds_parts(folder: &Path) -> bool {
    let finished = |entry: fs::DirEntry| {
        let path = entry.path();
        path.extension().is_some_and(|end| end == "json") && !path.ends_with(SETTINGS)
    };
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(finished))
}

fn read(path: &Path) -> Option<Settings> {
    let value: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    (value["format"] == FORMAT).then(|| parts::settings(&value["settings"]))?
}

#[cfg(test)]
mod tests {
    use anomalens_models::image::AnomalyMap;
    use ndarray::{Array2, Array4};

    use super::*;

    fn made(first: usize, n: usize) -> Made {
        let maps = (0..n).map(|_| AnomalyMap::from_values(Array2::zeros((2, 2)))).collect();
        let healthy = Array4::from_shape_fn((n, 1, 2, 2), |(i, ..)| (first + i) as f32);
        Made { healthy: Some(healthy), maps, trajectory: None, time: Duration::from_secs(n as u64) }
    }

    fn told(value: &str) -> Settings {
        vec![("input".into(), value.into()), ("noise level".into(), "500".into())]
    }

    fn open(folder: &Path, value: &str, lasting: bool) -> Result<Store, StoreError> {
        Store::open(folder.join("out.partial/parts"), &told(value), Method::Ours, [5, 2], lasting)
    }

    #[test]
    fn what_is_finished_is_found_again_by_its_like_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path(), "abc", true).unwrap();
        assert_eq!((store.missing(), store.finished()), (vec![0, 1, 2], 0));
        store.put(0, &made(0, 2)).unwrap();
        store.put(2, &made(4, 1)).unwrap();
        drop(store);
        let error = open(folder.path(), "def", true).err().unwrap().to_string();
        let words =
            "out.partial': holds an unfinished translation with input abc, now it is def; expected the same";
        assert!(error.contains(words), "{error}");
        let mut store = open(folder.path(), "abc", true).unwrap();
        assert_eq!((store.missing(), store.finished()), (vec![1], 3));
        assert_eq!(store.time(), Duration::from_secs(3));
        assert_eq!([0, 1, 4].map(|i| store.read(i).unwrap()[[0, 1, 1]]), [0.0, 1.0, 4.0]);
        // One that is spoilt is made again; without settings nobody knows whose it is.
        fs::write(folder.path().join("out.partial/parts/ours-000000.npy"), b"torn").unwrap();
        let store = open(folder.path(), "abc", true).unwrap();
        assert_eq!((store.missing(), store.damaged.len()), (vec![0, 1], 1));
        fs::remove_file(folder.path().join("out.partial/parts/settings.json")).unwrap();
        let error = open(folder.path(), "abc", true).err().unwrap().to_string();
        assert!(error.contains("no settings.json in it"), "{error}");
    }

    #[test]
    fn what_does_not_last_or_was_not_begun_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("out.partial/parts");
        drop(open(folder.path(), "abc", true).unwrap());
        assert!(!parts.exists());
        let mut store = open(folder.path(), "abc", false).unwrap();
        store.put(0, &made(0, 2)).unwrap();
        // Killed here, it leaves a part that the next run does not take for its own.
        std::mem::forget(store);
        assert!(holds_parts(&parts));
        let store = open(folder.path(), "abc", false).unwrap();
        assert_eq!((store.missing(), store.finished()), (vec![0, 1, 2], 0));
        drop(store);
        assert!(!parts.exists());
        // Settings alone bind nobody.
        fs::create_dir_all(&parts).unwrap();
        fs::write(parts.join(SETTINGS), "{}").unwrap();
        drop(open(folder.path(), "def", true).unwrap());
    }

    #[test]
    fn values_are_told_apart() {
        assert_eq!(digest(&[0.0]), digest(&[0.0]));
        assert_ne!(digest(&[0.0]), digest(&[-0.0]));
        assert_ne!(digest(&[0.0]), digest(&[0.0, 0.0]));
    }
}
