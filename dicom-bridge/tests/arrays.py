"""Writes the pixels of DICOM files as pydicom reads them.

usage: python3 arrays.py OUT FOLDER...

For every *.dcm under the folders with pixels that pydicom can decode: OUT/N.npy, float64 [frames, rows, columns,
samples], of at most four frames, and a line of OUT/index.tsv: N, path, number of frames, the frames written, whether
the codec is lossy JPEG, of which two decoders need not agree bit by bit. For one that it cannot decode the line has N
and path only. Where a grey image has a Modality LUT or a rescale, OUT/N.modality.npy is its first frame after it.

With pydicom it takes numpy and, for what is compressed, pylibjpeg, pylibjpeg-libjpeg, pylibjpeg-openjpeg and pyjpegls.
"""

import sys
import warnings
from pathlib import Path

import numpy
import pydicom
from pydicom.pixels import apply_modality_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

LARGEST = 4


def read(path):
    dataset = pydicom.dcmread(path, force=True)
    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta:
        implicit, little = dataset.original_encoding
        meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )
    return dataset


def arrays(dataset):
    lossy = dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    # Raw: what is not compressed keeps its colour space. Lossy JPEG comes as RGB.
    dataset.pixel_array_options(raw=not lossy)
    array = dataset.pixel_array
    frames = int(dataset.get("NumberOfFrames") or 1)
    samples = int(dataset.get("SamplesPerPixel", 1))
    shape = (frames, int(dataset.Rows), int(dataset.Columns), samples)
    chosen = sorted({round(i * (frames - 1) / (LARGEST - 1)) for i in range(LARGEST)})
    array = array.reshape(shape)[chosen]
    modality = None
    if samples == 1 and ("ModalityLUTSequence" in dataset or "RescaleSlope" in dataset):
        modality = apply_modality_lut(array[0, :, :, 0], dataset)
    return frames, chosen, lossy, array, modality


def main(arguments):
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(arguments[0])
    files = sorted(path for folder in arguments[1:] for path in Path(folder).rglob("*.dcm"))
    with open(out / "index.tsv", "w") as index:
        for number, path in enumerate(files):
            try:
                frames, chosen, lossy, array, modality = arrays(read(path))
            except Exception as reason:
                print(f"{path.name}: {type(reason).__name__}: {str(reason).splitlines()[0][:100]}")
                print(number, path, sep="\t", file=index)
                continue
            numpy.save(out / f"{number}.npy", array.astype("<f8"))
            if modality is not None:
                numpy.save(out / f"{number}.modality.npy", numpy.asarray(modality, "<f8"))
            chosen = ",".join(map(str, chosen))
            print(number, path, frames, chosen, "lossy" if lossy else "exact", sep="\t", file=index)
    return 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
