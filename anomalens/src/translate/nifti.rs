//! Results as NIfTI volumes, for researchers: each voxel lies where the pixel of the DICOM source does.

use anomalens_dicom_bridge::Lattice;
use anomalens_dicom_bridge::write::file_word;
use anomalens_models::output::{OutputError, OutputFolder};
use anyhow::Result;
use ndarray::{Array2, Array3, Axis};
use nifti::writer::WriterOptions;
use nifti::{NiftiError, NiftiHeader};

use super::result::SliceResult;
use super::results::Results;
use crate::TOOL;

/// Two axes are at right angles where the cosine between them is no more than this: positions have few digits.
const COSINE: f64 = 1e-4;

/// Why a volume could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The file system said no.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The format cannot hold it, e.g. more than 65,535 slices.
    #[error("{name}: {cause}; leave --arrays nifti out, or give fewer slices")]
    Format {
        /// The file.
        name: String,
        /// The cause.
        cause: String,
    },
}

/// Writes `healthy-CHANNEL.nii.gz`, one a channel, if there is a healthy version, `map.nii.gz` and `mask.nii.gz`:
/// [columns, rows, slices], with the values of [`super::write::arrays`]. `slices`: how many there are; those that
/// failed are NaN, and empty in the mask. Returns what was written: a word for each, and its files.
///
/// Errors: [`VolumeError`]; those of reading a healthy version.
pub fn write(
    folder: &OutputFolder,
    lattice: &Lattice,
    channels: &[String],
    slices: usize,
    results: &mut Results<'_>,
) -> Result<Vec<(String, Vec<String>)>> {
    let header = header(lattice);
    let save = |name: &str, write: &dyn Fn(WriterOptions) -> nifti::Result<()>| {
        let options = WriterOptions::new(folder.path().join(name)).reference_header(&header);
        write(options).map_err(|e| match e {
            NiftiError::Io(e) => VolumeError::Output(folder.error(name, e)),
            e => VolumeError::Format { name: name.to_owned(), cause: e.to_string() },
        })
    };
    let mut healthy = Vec::new();
    let channels = if results.heals() { channels } else { &[] };
    for (c, channel) in channels.iter().enumerate() {
        // A channel at a time is in memory.
        let mut planes = Vec::new();
        for place in 0..results.slices().len() {
            let healthy = results.healthy(place)?;
            planes.extend(healthy.map(|healthy| healthy.pixels.index_axis_move(Axis(0), c)));
        }
        let name = format!("healthy-{}.nii.gz", file_word(channel));
        let volume = volume(slices, results.slices(), planes.iter(), f32::NAN);
        save(&name, &|options| options.write_nifti(&volume))?;
        healthy.push(name);
    }
    let results = results.slices();
    let map = volume(slices, results, results.iter().map(|r| &r.map), f32::NAN);
    save("map.nii.gz", &|options| options.write_nifti(&map))?;
    let masks: Vec<_> = results.iter().map(|r| r.mask.mapv(u8::from)).collect();
    let mask = volume(slices, results, masks.iter(), 0);
    save("mask.nii.gz", &|options| options.write_nifti(&mask))?;
    let files =
        [("healthy", healthy), ("map", vec!["map.nii.gz".into()]), ("mask", vec!["mask.nii.gz".into()])];
    let files = files.into_iter().filter(|(_, files)| !files.is_empty());
    Ok(files.map(|(word, files)| (word.to_owned(), files)).collect())
}

/// [columns, rows, slices] of planes [rows, columns], one a result; all others are `absent`.
fn volume<'a, T: Copy + 'a>(
    slices: usize,
    results: &[SliceResult],
    planes: impl Iterator<Item = &'a Array2<T>>,
    absent: T,
) -> Array3<T> {
    let (rows, columns) = results[0].map.dim();
    let mut volume = Array3::from_elem((columns, rows, slices), absent);
    for (result, plane) in results.iter().zip(planes) {
        volume.index_axis_mut(Axis(2), result.slice).assign(&plane.t());
    }
    volume
}

/// A header that says where the voxels lie, in NIfTI's coordinates: to the right, to the front, to the head.
fn header(lattice: &Lattice) -> NiftiHeader {
    let turned = |[x, y, z]: [f64; 3]| [-x, -y, z];
    let (origin, steps) = (turned(lattice.origin), [lattice.across, lattice.down, lattice.step].map(turned));
    let sizes = steps.map(|step| dot(step, step).sqrt());
    let axes = [0, 1, 2].map(|axis| steps[axis].map(|v| v / sizes[axis]));
    let sheared = [(0, 1), (0, 2), (1, 2)].iter().any(|&(a, b)| dot(axes[a], axes[b]).abs() > COSINE);
    let row = |axis: usize| [steps[0][axis], steps[1][axis], steps[2][axis], origin[axis]].map(|v| v as f32);
    let [_, b, c, d] = quaternion(&axes).map(|v| v as f32);
    let [x, y, z] = origin.map(|v| v as f32);
    let [columns, rows, slices] = sizes.map(|v| v as f32);
    let descrip = format!("{TOOL}; not for diagnostic use");
    NiftiHeader {
        // Slices follow the normal: no axis is turned round.
        pixdim: [1.0, columns, rows, slices, 0.0, 0.0, 0.0, 0.0],
        // Millimetres.
        xyzt_units: 2,
        // Scanner coordinates; a quaternion cannot say that slices lean.
        qform_code: i16::from(!sheared),
        sform_code: 1,
        quatern_b: b,
        quatern_c: c,
        quatern_d: d,
        quatern_x: x,
        quatern_y: y,
        quatern_z: z,
        srow_x: row(0),
        srow_y: row(1),
        srow_z: row(2),
        descrip: descrip.bytes().chain([0; 80]).take(80).collect(),
        ..NiftiHeader::default()
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The unit quaternion (a, b, c, d), a ≥ 0, of the rotation with these columns. Each row below is 4 times one of its four
/// numbers times all of them; the row of the largest is divided by it.
fn quaternion(columns: &[[f64; 3]; 3]) -> [f64; 4] {
    let r = |row: usize, column: usize| columns[column][row];
    let (xx, yy, zz) = (r(0, 0), r(1, 1), r(2, 2));
    let [a, b, c] = [r(2, 1) - r(1, 2), r(0, 2) - r(2, 0), r(1, 0) - r(0, 1)];
    let [bc, bd, cd] = [r(0, 1) + r(1, 0), r(0, 2) + r(2, 0), r(1, 2) + r(2, 1)];
    let rows = [
        [1.0 + xx + yy + zz, a, b, c],
        [a, 1.0 + xx - yy - zz, bc, bd],
        [b, bc, 1.0 - xx + yy - zz, cd],
        [c, bd, cd, 1.0 - xx - yy + zz],
    ];
    let largest = (0..4).max_by(|&i, &j| rows[i][i].total_cmp(&rows[j][j])).expect("four rows");
    let row = rows[largest];
    let sign = if row[0] < 0.0 { -1.0 } else { 1.0 };
    row.map(|v| sign * v / (2.0 * row[largest].sqrt()))
}
