//! Subjects as BRATS lays them out: `s0001/s0001_{t1,t1ce,t2,flair,seg}.nii.gz`.

use anomalens_models::output::OutputFolder;
use ndarray::{Array3, ArrayView3};
use nifti::NiftiHeader;
use nifti::writer::WriterOptions;

use super::parameters::CHANNELS;
use super::subject::Geometry;
use super::volumes::Volume;
use crate::CohortError;

/// Writes the five volumes of a subject.
pub(super) fn write(folder: &OutputFolder, volume: &Volume) -> Result<(), CohortError> {
    let name = volume.subject.name();
    std::fs::create_dir(folder.path().join(&name)).map_err(|e| folder.error(&name, e))?;
    let header = header(&volume.subject.geometry, volume.mask.dim().1);
    for (channel, values) in CHANNELS.iter().zip(volume.values.outer_iter()) {
        // Never above 32767: the sign bit stays clear.
        let values = along_x(values).mapv(|v| v as i16);
        save(folder, &name, channel, &header, |options| options.write_nifti(&values))?;
    }
    let mask = along_x(volume.mask.view());
    save(folder, &name, "seg", &header, |options| options.write_nifti(&mask))
}

/// [slice, row, column] to [column, row, slice], as NIfTI counts.
fn along_x<T: Copy>(values: ArrayView3<T>) -> Array3<T> {
    let reversed = values.reversed_axes();
    Array3::from_shape_fn(reversed.dim(), |at| reversed[at])
}

/// Has `write` write one volume.
fn save(
    folder: &OutputFolder,
    subject: &str,
    what: &str,
    header: &NiftiHeader,
    write: impl FnOnce(WriterOptions) -> nifti::Result<()>,
) -> Result<(), CohortError> {
    let name = format!("{subject}/{subject}_{what}.nii.gz");
    let options = WriterOptions::new(folder.path().join(&name)).reference_header(header);
    write(options).map_err(|e| match e {
        nifti::NiftiError::Io(e) => CohortError::Output(folder.error(&name, e)),
        e => CohortError::Image { path: folder.target().join(&name), found: e.to_string() },
    })
}

/// Where voxel (column, row, slice) lies: columns go to the left, rows to the back, slices up.
fn header(geometry: &Geometry, size: usize) -> NiftiHeader {
    let [x, y, z] = geometry.place(size, 0, 0.0, 0.0);
    let (pixel, step) = (geometry.pixel_mm, geometry.spacing_mm);
    let mut header = NiftiHeader {
        pixdim: [1.0, pixel, pixel, step, 0.0, 0.0, 0.0, 0.0],
        // Millimetres.
        xyzt_units: 2,
        qform_code: 1,
        sform_code: 1,
        // Half a turn about z.
        quatern_b: 0.0,
        quatern_c: 0.0,
        quatern_d: 1.0,
        quatern_x: x,
        quatern_y: y,
        quatern_z: z,
        srow_x: [-pixel, 0.0, 0.0, x],
        srow_y: [0.0, -pixel, 0.0, y],
        srow_z: [0.0, 0.0, step, z],
        ..NiftiHeader::default()
    };
    let note = b"synthetic; not for diagnostic use";
    header.descrip = note.iter().copied().chain([0; 80]).take(80).collect();
    header
}
