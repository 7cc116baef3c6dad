"""Sends DICOM objects to an archive, Orthanc, and compares what it gives back.

usage: python3 orthanc.py (SENT EXPECTED)...

Starts Orthanc on this machine alone, in an empty folder, and sends each SENT by storescu. Read back by Orthanc's own
interface and by DICOMweb, data set and decoded pixels must be those of EXPECTED; DICOMweb must list every object, and
each frame must be drawn as its pixels are. Says "same" or what differs, a line a pair. Exit status: 0 done, 1 no archive,
2 wrong usage.
"""

import io
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy
import pydicom
from PIL import Image

# Where Debian puts it.
DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
START_S = 60


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Archive:
    """An Orthanc that is there while the block runs."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.http, self.dicom = free_port(), free_port()
        settings = {
            "StorageDirectory": str(root / "storage"),
            "IndexDirectory": str(root / "storage"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [DICOMWEB],
            "DicomWeb": {"Enable": True},
        }
        (root / "settings.json").write_text(json.dumps(settings))
        self.log = open(root / "log", "w+")
        command = ["Orthanc", str(root / "settings.json")]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        ends = time.monotonic() + START_S
        while self.process.poll() is None and time.monotonic() < ends:
            try:
                self.get("/dicom-web/studies")
                return self
            except OSError:
                time.sleep(0.2)
        self.log.seek(0)
        said = self.log.read()
        self.__exit__()
        sys.exit(f"Orthanc does not answer: {said}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        self.folder.cleanup()

    def get(self, path, accept="*/*", body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=body, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def send(self, paths):
        # Of itself it offers too few classes: Parametric Map is not among them.
        subprocess.run(["storescu", "--required", "127.0.0.1", str(self.dicom), *paths], check=True)


def part(multipart):
    """The one part of an answer with a boundary."""
    boundary, rest = multipart.lstrip(b"\r\n").split(b"\r\n", 1)
    return rest.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n" + boundary, 1)[0]


def read(data):
    return pydicom.dcmread(io.BytesIO(data))


def frames(dataset):
    shape = (-1, dataset.Rows, dataset.Columns) + ((3,) if dataset.SamplesPerPixel == 3 else ())
    return dataset.pixel_array.reshape(shape)


def differences(archive, sent, expected):
    uids = [sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.SOPInstanceUID]
    found = json.loads(archive.get("/tools/lookup", body=uids[2].encode()))
    instance = next(f"/instances/{one['ID']}" for one in found if one["Type"] == "Instance")
    web = "/dicom-web/studies/{}/series/{}/instances/{}".format(*uids)
    for way, data in [
        ("own interface", archive.get(f"{instance}/file")),
        ("DICOMweb", part(archive.get(web, 'multipart/related; type="application/dicom"'))),
    ]:
        back = read(data)
        if back != expected:
            yield f"{way}: another data set"
        if not numpy.array_equal(frames(back), frames(expected)):
            yield f"{way}: other pixels"
    listed = json.loads(archive.get(f"/dicom-web/studies/{uids[0]}/instances", "application/dicom+json"))
    if uids[2] not in [one["00080018"]["Value"][0] for one in listed]:
        yield "DICOMweb does not list it"
    # Floating point is more than Orthanc can draw.
    if "FloatPixelData" not in sent:
        for k, pixels in enumerate(frames(expected)):
            yield from drawn(archive.get(f"{instance}/frames/{k}/preview", "image/png"), pixels, k)


def drawn(png, pixels, k):
    picture = numpy.asarray(Image.open(io.BytesIO(png))).astype(float)
    if picture.shape != pixels.shape:
        yield f"frame {k + 1} is drawn as {picture.shape}, expected {pixels.shape}"
    elif pixels.ndim == 3:
        if not numpy.array_equal(picture, pixels):
            yield f"frame {k + 1} is drawn in other colours"
    elif pixels.min() < pixels.max():
        # From black to white or the other way round, as the photometric interpretation has it.
        alike = abs(numpy.corrcoef(picture.ravel(), pixels.ravel())[0, 1])
        if not alike > 0.99:
            yield f"frame {k + 1} is drawn otherwise: correlation {alike}"


def main(arguments):
    if not arguments or len(arguments) % 2:
        print(__doc__, file=sys.stderr)
        return 2
    pairs = list(zip(arguments[::2], arguments[1::2]))
    with Archive() as archive:
        archive.send(dict.fromkeys(sent for sent, _ in pairs))
        for sent, expected in pairs:
            try:
                said = list(differences(archive, pydicom.dcmread(sent), pydicom.dcmread(expected)))
            except urllib.error.HTTPError as error:
                said = [f"{error.url}: {error}"]
            print("; ".join(said) or "same")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
