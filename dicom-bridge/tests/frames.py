"""Checks that written multi-frame DICOM objects hold the values that were to be written, where the sources lie.

usage: python3 frames.py LIST

Each line of LIST is WRITTEN, VALUES, FACTOR, TOLERANCE, SOURCE..., with tabs between. VALUES is a file of
little-endian float32, [frames, rows, columns]. highdicom reads the frames of WRITTEN, with its real world values
applied; times FACTOR they must be VALUES within TOLERANCE. pydicom's stored frames must follow the same order, and
frame i must lie where SOURCE i does. Says "same" or what differs, a line a line. Exit status: 0 done, 2 wrong usage.
"""

import sys

import highdicom
import numpy
import pydicom


def values_by_highdicom(path, dataset, sources):
    if dataset.SOPClassUID == pydicom.uid.SegmentationStorage:
        segmentation = highdicom.seg.segread(path)
        instances = [source.SOPInstanceUID for source in sources]
        found = segmentation.get_pixels_by_source_instance(instances)
        return found[..., 0]
    return highdicom.imread(path).get_frames(apply_real_world_transform=True)


def stored_by_pydicom(dataset):
    # A single frame comes without its axis.
    return dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)


def group(dataset, frame, name):
    for groups in (
        dataset.PerFrameFunctionalGroupsSequence[frame],
        dataset.SharedFunctionalGroupsSequence[0],
    ):
        if name in groups:
            return groups[name][0]
    return None


def attribute(dataset, frame, sequence, name):
    item = group(dataset, frame, sequence)
    return None if item is None else item.get(name)


def normal(orientation):
    return numpy.cross(orientation[:3], orientation[3:])


def geometry_differs(path, dataset, sources):
    if "ImagePositionPatient" not in sources[0]:
        unplaced = ["FrameOfReferenceUID" not in dataset]
        unplaced += [group(dataset, 0, name) is None for name in ("PlanePositionSequence", "PixelMeasuresSequence")]
        return [] if all(unplaced) else ["has a place, which its source has not"]
    differences = []
    frame_of_reference = sources[0].get("FrameOfReferenceUID")
    # A slice without a frame of reference gets one, since the standard wants it.
    if frame_of_reference and dataset.FrameOfReferenceUID != frame_of_reference:
        differences.append("another frame of reference")
    for i, source in enumerate(sources):
        for sequence, name in [
            ("PlanePositionSequence", "ImagePositionPatient"),
            ("PlaneOrientationSequence", "ImageOrientationPatient"),
            ("PixelMeasuresSequence", "PixelSpacing"),
        ]:
            found, expected = attribute(dataset, i, sequence, name), source[name].value
            if [float(v) for v in found] != [float(v) for v in expected]:
                differences.append(f"frame {i + 1}: {name}: found {found}, expected {expected}")
    # What highdicom makes of it: the same volume as of the sources, with the distance measured along the normal.
    if len(sources) > 1:
        volume = highdicom.imread(path).get_volume_geometry(allow_missing_positions=False)
        step = normal(sources[0].ImageOrientationPatient)
        first, second = (numpy.array(s.ImagePositionPatient, float) for s in sources[:2])
        expected = abs(numpy.dot(step, second - first))
        # A stack that leans is no volume to highdicom.
        leans = numpy.linalg.norm(numpy.cross(step, second - first)) > 1e-3 * expected
        found = None if volume is None else volume.spacing[0]
        if found is None and not leans:
            differences.append("no volume")
        if found is not None and abs(found - expected) > 1e-3 * expected:
            differences.append(f"spacing: found {found}, expected {expected}")
        between = attribute(dataset, 0, "PixelMeasuresSequence", "SpacingBetweenSlices")
        if abs(between - expected) > 1e-3 * expected:
            differences.append(f"SpacingBetweenSlices: found {between}, expected {expected}")
    return differences


def compare(path, values, factor, tolerance, *sources):
    factor, tolerance = float(factor), float(tolerance)
    sources = [pydicom.dcmread(name, stop_before_pixels=True) for name in sources]
    dataset = pydicom.dcmread(path)
    shape = (len(sources), dataset.Rows, dataset.Columns)
    expected = numpy.fromfile(values, "<f4").reshape(shape)
    found = values_by_highdicom(path, dataset, sources) * factor
    stored = stored_by_pydicom(dataset)
    differences = geometry_differs(path, dataset, sources)
    for name, array in [("highdicom", found), ("pydicom", stored)]:
        if array.shape != shape:
            differences.append(f"{name}: found {array.shape}, expected {shape}")
    if not differences:
        error = numpy.abs(found - expected).max()
        if error > tolerance:
            differences.append(f"values: error {error}, tolerated {tolerance}")
        # Stored values are proportional to the real ones.
        unit = expected.max() / max(stored.max(), 1)
        error = numpy.abs(stored * unit - expected).max()
        if error > max(tolerance, unit):
            differences.append(f"stored values: error {error}, tolerated {max(tolerance, unit)}")
    return differences


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with open(arguments[0]) as lines:
        for line in lines:
            print("; ".join(compare(*line.rstrip("\n").split("\t"))) or "same")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
