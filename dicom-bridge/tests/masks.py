"""Writes masks of a DICOM series as other programs do.

usage: python3 masks.py SERIES THRESHOLD OUT

The mask is where the stored pixels of the series (a folder, slices of one grid) are above THRESHOLD. Writes to the folder
OUT, by highdicom:

    binary.dcm      as it is; frames without a pixel are left out
    half.dcm        FRACTIONAL: 60 % inside, 40 % outside
    two.dcm         two segments, the upper and the lower rows
    turned.dcm      the same voxels with rows, columns and slices reversed, and their places with them
    fine.dcm        each pixel divided in 3 x 3
    flipped.dcm     wrong: the rows reversed without their places
    elsewhere.dcm   wrong: half a metre to the left
    empty.dcm       wrong: nothing set
    labelmap.dcm    of another class

and by nibabel:

    plain.nii.gz    axes (column, row, slice), the affine as sform
    turned.nii      axes (slice, row, column), rows and slices reversed, signed bytes, the affine as qform
    scaled.nii.gz   stored as 0 and 7 with a slope of 1/7
    flipped.nii.gz  wrong: the first axis reversed without its affine
    template.nii.gz wrong: an affine into MNI space
    nowhere.nii.gz  wrong: no affine
"""

import sys
from pathlib import Path

import highdicom
import nibabel
import numpy
import pydicom
from highdicom.seg import Segmentation, SegmentDescription, SegmentationTypeValues
from pydicom.sr.codedict import codes

ALGORITHM = highdicom.AlgorithmIdentificationSequence(
    name="test", version="1", family=codes.DCM.ArtificialIntelligence
)
# highdicom copies these, also where they are missing.
ASKED_FOR = [
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "PatientBirthDate",
    "PatientSex",
    "ReferringPhysicianName",
]


def read(folder):
    slices = [pydicom.dcmread(path) for path in Path(folder).glob("*.dcm")]
    for dataset in slices:
        for name in ASKED_FOR:
            setattr(dataset, name, dataset.get(name))
    orientation = numpy.array(slices[0].ImageOrientationPatient, dtype=float)
    normal = numpy.cross(orientation[:3], orientation[3:])
    return sorted(slices, key=lambda s: float(numpy.dot(normal, s.ImagePositionPatient)))


def description(number):
    return SegmentDescription(
        segment_number=number,
        segment_label=f"brain {number}",
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Brain,
        algorithm_type="AUTOMATIC",
        algorithm_identification=ALGORITHM,
    )


def segmentation(path, slices, pixels, kind="BINARY", segments=1, **place):
    Segmentation(
        source_images=slices,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues[kind],
        segment_descriptions=[description(n + 1) for n in range(segments)],
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **place,
    ).save_as(path)


class Grid:
    """Where the pixels of a series lie."""

    def __init__(self, slices):
        orientation = numpy.array(slices[0].ImageOrientationPatient, dtype=float)
        row, column = (float(v) for v in slices[0].PixelSpacing)
        self.across, self.down = orientation[:3] * column, orientation[3:] * row
        self.positions = numpy.array([s.ImagePositionPatient for s in slices], dtype=float)
        self.thickness = float(slices[0].get("SliceThickness") or 1)
        between = numpy.diff(self.positions, axis=0)
        self.step = between.mean(axis=0)

    def place(self, positions, across, down):
        unit = [*(across / numpy.linalg.norm(across)), *(down / numpy.linalg.norm(down))]
        return {
            "plane_positions": [
                highdicom.PlanePositionSequence("PATIENT", image_position=list(p)) for p in positions
            ],
            "plane_orientation": highdicom.PlaneOrientationSequence("PATIENT", image_orientation=unit),
            "pixel_measures": highdicom.PixelMeasuresSequence(
                pixel_spacing=[float(numpy.linalg.norm(down)), float(numpy.linalg.norm(across))],
                slice_thickness=self.thickness,
            ),
        }

    def affine(self):
        """Takes (column, row, slice) to millimetres to the right, the front and the head."""
        matrix = numpy.eye(4)
        for axis, vector in enumerate([self.across, self.down, self.step, self.positions[0]]):
            matrix[:3, axis] = vector
        return numpy.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def write_segmentations(out, slices, mask):
    grid, bits = Grid(slices), mask.astype(numpy.uint8)
    n, rows, columns = mask.shape
    segmentation(out / "binary.dcm", slices, bits)
    segmentation(out / "half.dcm", slices, numpy.where(mask, 0.6, 0.4), "FRACTIONAL")
    two = numpy.zeros((n, rows, columns, 2), dtype=numpy.uint8)
    two[:, : rows // 2, :, 0], two[:, rows // 2 :, :, 1] = bits[:, : rows // 2], bits[:, rows // 2 :]
    segmentation(out / "two.dcm", slices, two, segments=2)
    last = grid.positions + grid.down * (rows - 1) + grid.across * (columns - 1)
    turned = grid.place(last[::-1], -grid.across, -grid.down)
    segmentation(out / "turned.dcm", slices, bits[::-1, ::-1, ::-1], **turned)
    first = grid.positions - grid.down / 3 - grid.across / 3
    fine = bits.repeat(3, axis=1).repeat(3, axis=2)
    segmentation(out / "fine.dcm", slices, fine, **grid.place(first, grid.across / 3, grid.down / 3))
    segmentation(out / "flipped.dcm", slices, bits[:, ::-1])
    far = grid.place(grid.positions + [500, 0, 0], grid.across, grid.down)
    segmentation(out / "elsewhere.dcm", slices, bits, **far)
    segmentation(out / "empty.dcm", slices, bits * 0, omit_empty_frames=False)
    segmentation(out / "labelmap.dcm", slices, bits, "LABELMAP")


def write_volumes(out, slices, mask):
    affine = Grid(slices).affine()
    bits = numpy.ascontiguousarray(mask.transpose(2, 1, 0)).astype(numpy.uint8)

    def save(name, values, affine, sform=1, qform=0):
        image = nibabel.Nifti1Image(values, affine)
        image.set_sform(affine if sform else None, sform)
        image.set_qform(affine if qform else None, qform)
        nibabel.save(image, out / name)

    save("plain.nii.gz", bits, affine)
    turn = numpy.zeros((4, 4))
    # New axes: slice from the last, row from the last, column.
    turn[2, 0], turn[1, 1], turn[0, 2], turn[3, 3] = -1, -1, 1, 1
    turn[2, 3], turn[1, 3] = bits.shape[2] - 1, bits.shape[1] - 1
    turned = numpy.ascontiguousarray(bits.transpose(2, 1, 0)[::-1, ::-1])
    save("turned.nii", turned.astype(numpy.int8), affine @ turn, sform=0, qform=1)
    scaled = nibabel.Nifti1Image(bits * 7, affine)
    scaled.header.set_slope_inter(1 / 7, 0)
    nibabel.save(scaled, out / "scaled.nii.gz")
    save("flipped.nii.gz", bits[::-1], affine)
    save("template.nii.gz", bits, affine, sform=4)
    save("nowhere.nii.gz", bits, affine, sform=0)


def main(arguments):
    if len(arguments) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    slices, threshold, out = read(arguments[0]), float(arguments[1]), Path(arguments[2])
    mask = numpy.array([s.pixel_array for s in slices]) > threshold
    write_segmentations(out, slices, mask)
    write_volumes(out, slices, mask)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
