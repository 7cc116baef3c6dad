"""Checks that NIfTI volumes hold the arrays of the same run, and that their voxels lie where the DICOM sources do.

usage: python3 volumes.py (--folder FOLDER SOURCE...)...

FOLDER holds healthy.npy [slices, channels, rows, columns], map.npy and mask.npy [slices, rows, columns], and the
volumes that were written beside them; SOURCE i is the DICOM image of slice i. Says "same" or what differs, a line a
folder. Exit status: 0 done, 2 wrong usage.
"""

import sys
from pathlib import Path

import nibabel
import numpy
import pydicom

# Headers hold 32-bit numbers; in mm.
TOLERANCE = 1e-4


def place(source, row, column):
    """Of a pixel, by PS3.3 C.7.6.2.1.1, to the right, to the front, to the head."""
    origin = numpy.array(source.ImagePositionPatient, float)
    along_row, along_column = numpy.array(source.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = (float(v) for v in source.PixelSpacing)
    patient = origin + along_row * between_columns * column + along_column * between_rows * row
    return patient * [-1, -1, 1]


def differences(folder, sources):
    healthy = numpy.load(folder / "healthy.npy")
    expected = {"map.nii.gz": numpy.load(folder / "map.npy"), "mask.nii.gz": numpy.load(folder / "mask.npy")}
    names = sorted(path.name for path in folder.glob("healthy-*.nii.gz"))
    if len(names) != healthy.shape[1]:
        yield f"{len(names)} healthy volumes, expected {healthy.shape[1]}"
    # In the order of their names: the tests have one channel.
    expected |= {name: healthy[:, channel] for channel, name in enumerate(names)}
    for name, array in expected.items():
        image = nibabel.load(folder / name)
        found = numpy.asarray(image.dataobj)
        if not numpy.array_equal(found, array.T, equal_nan=array.dtype.kind == "f"):
            yield f"{name}: other values"
        header = image.header
        affines = [("affine", image.affine)]
        if header["qform_code"] > 0:
            affines.append(("qform", header.get_qform()))
        else:
            first, second = (numpy.array(s.ImagePositionPatient, float) for s in sources[:2])
            normal = numpy.cross(*numpy.array(sources[0].ImageOrientationPatient, float).reshape(2, 3))
            if numpy.linalg.norm(numpy.cross(normal, second - first)) < 1e-3:
                yield f"{name}: no qform, though slices do not lean"
        for what, affine in affines:
            for k, source in enumerate(sources):
                for row, column in [(0, 0), (0, 7), (7, 0), (7, 7)]:
                    at = affine @ [column, row, k, 1]
                    off = numpy.abs(at[:3] - place(source, row, column)).max()
                    if off > TOLERANCE:
                        yield f"{name}: {what}: row {row}, column {column}, slice {k}: off by {off} mm"
        # Of a single slice: its thickness.
        if len(sources) == 1:
            expected_step = float(sources[0].SliceThickness)
            if abs(header.get_zooms()[2] - expected_step) > TOLERANCE:
                yield f"{name}: slice of {header.get_zooms()[2]} mm, expected {expected_step}"


def main(arguments):
    folders = []
    for argument in arguments:
        if argument == "--folder":
            folders.append([])
        elif folders:
            folders[-1].append(argument)
    if not folders or any(len(folder) < 2 for folder in folders):
        print(__doc__, file=sys.stderr)
        return 2
    for folder, *sources in folders:
        read = [pydicom.dcmread(source, stop_before_pixels=True) for source in sources]
        print("; ".join(differences(Path(folder), read)) or "same")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
