"""Checks that written DICOM images lie where their source lies.

usage: python3 readback.py SOURCE WRITTEN...

Compares rows, columns, position, orientation, spacing, slice thickness and frame of reference as pydicom reads
them. Exit status: 0 all equal, 1 something differs, 2 wrong usage.
"""

import sys

import pydicom

GEOMETRY = [
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SliceThickness",
    "FrameOfReferenceUID",
]


def geometry(path):
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    values = {name: dataset.get(name) for name in GEOMETRY}
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        # Some plate readers write 0\\0 for "unknown", which the standard wants absent.
        if values[name] is not None and not any(values[name]):
            values[name] = None
    return values


def main(arguments):
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    source, written = arguments[0], arguments[1:]
    expected = geometry(source)
    differences = 0
    for path in written:
        found = geometry(path)
        for name in GEOMETRY:
            # A slice without a frame of reference gets one, since the standard wants it.
            if name == "FrameOfReferenceUID" and not expected[name]:
                continue
            # An empty value says no more than an absent one.
            if (found[name] or None) != (expected[name] or None):
                print(f"{path}: {name}: found {found[name]}, expected {expected[name]} as in {source}")
                differences += 1
    print(f"{len(written)} written, {differences} differences from {source}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
