//! The regular grid of a stack: where its pixels lie, and which stacks have none.

mod common;

use anomalens_dicom_bridge::{Lattice, LatticeError, read};
use common::{SIDE, Slice, dx, one_channel};
use dicom_core::VR;
use dicom_dictionary_std::tags;

fn lattice(slices: Vec<Slice>) -> Result<Lattice, LatticeError> {
    let folder = tempfile::tempdir().unwrap();
    for (i, slice) in slices.into_iter().enumerate() {
        slice.save(&folder.path().join(format!("{i:02}.dcm")));
    }
    let study = read(folder.path(), &one_channel(), &[]).unwrap();
    Lattice::of(study.slices.iter().map(|slice| &slice.sources[0]))
}

fn at(heights: impl IntoIterator<Item = f64>) -> Vec<Slice> {
    heights.into_iter().map(|z| Slice::new("t1", z)).collect()
}

#[test]
fn pixels_lie_where_the_slices_say() {
    // 0.5 mm between rows, 0.75 mm between columns.
    let expected = |slices: usize, step: f64| Lattice {
        origin: [-10.0, -20.0, 3.0],
        step: [0.0, 0.0, step],
        down: [0.0, 0.5, 0.0],
        across: [0.75, 0.0, 0.0],
        size: [slices, SIDE.into(), SIDE.into()],
    };
    assert_eq!(lattice(at([8.0, 5.5, 3.0])).unwrap(), expected(3, 2.5));
    assert_eq!(lattice(at([3.0])).unwrap(), expected(1, 1.0), "no thickness is said");
    let thick = Slice::new("t1", 3.0).with(tags::SLICE_THICKNESS, VR::DS, "4");
    assert_eq!(lattice(vec![thick]).unwrap(), expected(1, 4.0));
}

#[test]
fn stacks_without_a_regular_grid_are_refused() {
    // Each step differs from the others by no more than reading allows, and the middle is off by half a millimetre.
    let uneven = (0..21).map(|i| if i < 10 { f64::from(i) } else { 10.0 + f64::from(i - 10) * 1.09 });
    for (slices, words) in [
        (at(uneven), "from where equal steps would put it"),
        (vec![dx()], "Image Orientation (Patient) (0020,0037) is missing"),
    ] {
        let e = lattice(slices).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
    }
}
