//! `.npy` input for researchers: images [C, H, W] or [N, C, H, W].

use std::fs::File;
use std::path::{Path, PathBuf};

use ndarray::{Array4, ArrayD, Axis, Ix4};
use ndarray_npy::{ReadNpyError, ReadNpyExt};

/// Images from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// [N, C, H, W].
    pixels: Array4<f32>,
    /// Whether the file had N.
    batched: bool,
}

/// Why an array is no stack of images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// The file system said no.
    #[error("{}: {source}; check the path and its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not an array of floating-point numbers.
    #[error("{}: {cause}; expected a .npy file of float32 or float64, as numpy.save writes it", path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// Not three or four dimensions, or an empty one.
    #[error("{}: shape {found:?}, expected [C, H, W] or [N, C, H, W], none of them 0", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The shape.
        found: Vec<usize>,
    },
    /// Not the bundle's channels.
    #[error("{}: shape {shape:?} has {found} channel(s), bundle '{bundle}' wants {expected} ({names}); choose a {found}-channel bundle, or put the channels in this order", path.display())]
    Channels {
        /// The file.
        path: PathBuf,
        /// The shape as [N, C, H, W].
        shape: Vec<usize>,
        /// Its channels.
        found: usize,
        /// The preset's name.
        bundle: String,
        /// The preset's number of channels.
        expected: usize,
        /// Their names.
        names: String,
    },
}

/// Reads float32 or float64; values are not looked at.
///
/// Errors: [`ArrayError`].
pub fn read(path: &Path) -> Result<Images, ArrayError> {
    let open = || File::open(path).map_err(|source| ArrayError::Io { path: path.to_owned(), source });
    let pixels = match ArrayD::<f32>::read_npy(open()?) {
        Err(ReadNpyError::WrongDescriptor(_)) => {
            ArrayD::<f64>::read_npy(open()?).map(|wide| wide.mapv(|v| v as f32))
        }
        narrow => narrow,
    };
    let pixels =
        pixels.map_err(|cause| ArrayError::Npy { path: path.to_owned(), cause: cause.to_string() })?;
    let found = pixels.shape().to_vec();
    let batched = pixels.ndim() == 4;
    let pixels = if batched { pixels } else { pixels.insert_axis(Axis(0)) };
    match pixels.into_dimensionality::<Ix4>() {
        Ok(pixels) if !pixels.is_empty() => Ok(Images { pixels, batched }),
        _ => Err(ArrayError::Shape { path: path.to_owned(), found }),
    }
}

impl Images {
    /// The images, [N, C, H, W].
    pub fn pixels(&self) -> &Array4<f32> {
        &self.pixels
    }

    /// The images, [N, C, H, W], taken out.
    pub fn into_batch(self) -> Array4<f32> {
        self.pixels
    }

    /// Whether the file was [N, C, H, W] rather than [C, H, W].
    pub fn batched(&self) -> bool {
        self.batched
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3, Array5};
    use ndarray_npy::write_npy;

    use super::*;

    #[test]
    fn three_and_four_dimensions_of_either_width() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        write_npy(&path, &Array3::<f64>::from_elem((2, 3, 4), 0.25)).unwrap();
        let images = read(&path).unwrap();
        assert_eq!((images.pixels().dim(), images.batched()), ((1, 2, 3, 4), false));
        assert!(images.pixels().iter().all(|v| *v == 0.25));
        write_npy(&path, &Array4::<f32>::zeros((5, 2, 3, 4))).unwrap();
        let images = read(&path).unwrap();
        assert_eq!((images.pixels().dim(), images.batched()), ((5, 2, 3, 4), true));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let message = || read(&path).unwrap_err().to_string();
        assert!(message().contains("check the path"), "{}", message());
        std::fs::write(&path, b"no array").unwrap();
        assert!(message().contains("expected a .npy file"), "{}", message());
        write_npy(&path, &Array3::<u8>::zeros((2, 3, 4))).unwrap();
        assert!(message().contains("float32 or float64"), "{}", message());
        write_npy(&path, &Array2::<f32>::zeros((2, 3))).unwrap();
        assert!(message().contains("[2, 3], expected [C, H, W]"), "{}", message());
        write_npy(&path, &Array5::<f32>::zeros((1, 1, 1, 2, 3))).unwrap();
        assert!(message().contains("[1, 1, 1, 2, 3], expected"), "{}", message());
        write_npy(&path, &Array3::<f32>::zeros((0, 2, 3))).unwrap();
        assert!(message().contains("none of them 0"), "{}", message());
    }
}
