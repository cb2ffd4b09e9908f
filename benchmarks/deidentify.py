"""300 DICOM objects with planted identifiers go through `csasn ingest`; every output byte and every letter is searched.

python benchmarks/deidentify.py [OBJECTS [SEED]]. Pictures are SIMULATED. Identifiers are planted in tags, private
sequences, overlays, the banner outside the region and as letters inside it.
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from csasn.phantom.cohort import simulate_export
from csasn.phantom.export import BANNER_PX

WORDS = ("ZYGMUNT", "QUIRELL", "XANTHOS", "VORTIGERN", "JABBER")
TAGS = (
    "PatientName",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientComments",
    "PatientTelephoneNumbers",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "StudyDescription",
    "SeriesDescription",
    "ImageComments",
    "ProtocolName",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "StudyID",
    "AdditionalPatientHistory",
    "RequestedProcedureDescription",
    "IssuerOfPatientID",
)


def plant(path: Path, number: int, rng: np.random.Generator) -> tuple[list[str], NDArray[np.bool_], NDArray[np.uint8]]:
    """Put identifiers everywhere; the words planted, the ink inside the region, and the picture with it."""
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress()
    name = f"{WORDS[number % len(WORDS)]}{number:03d}"
    planted = [name, f"HX{number:05d}77"]
    for tag in TAGS:
        setattr(dataset, tag, f"{name} {tag[:3]}")
    dataset.PatientID = planted[1]
    dataset.add_new(0x00091001, "LO", f"{name} private")
    item = Dataset()
    item.add_new(0x00111001, "LO", f"{name} nested")
    item.PatientName = name
    dataset.add_new(0x00111000, "SQ", Sequence([item]))
    dataset.add_new(0x60000010, "US", dataset.Rows)
    dataset.add_new(0x60000011, "US", dataset.Columns)
    dataset.add_new(0x60000022, "LO", f"{name} overlay")
    dataset.add_new(0x60003000, "OW", name.encode() * 40)
    dataset.preamble = name.encode().ljust(128, b"\0")
    frames = np.array(dataset.pixel_array)
    stack = frames.reshape(-1, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
    canvas = Image.new("L", (dataset.Columns, dataset.Rows))
    draw = ImageDraw.Draw(canvas)
    height = int(rng.integers(11, 27))
    where = (int(rng.integers(4, 40)), int(rng.integers(BANNER_PX + 4, dataset.Rows - 40)))
    words = f"{name} {1930 + number % 70}-03-{1 + number % 28:02d}"
    draw.text(where, words, fill=255, font=ImageFont.load_default(height))
    draw.text((4, 20), f"{planted[1]}", fill=255, font=ImageFont.load_default_imagefont())
    cover = np.asarray(canvas)[..., None] / 255
    grey = float(rng.uniform(190, 255))
    stack[:] = np.rint(stack * (1 - cover) + grey * cover).astype(np.uint8)
    dataset.PixelData = stack.tobytes() + b"\0" * (stack.size % 2)
    dataset.save_as(path)
    middle = stack[len(stack) // 2, BANNER_PX:, :, 0]
    return planted, (cover[BANNER_PX:, :, 0] > 0.6), middle


def main(n_objects: int, seed: int) -> None:
    """Plant, ingest, search, print."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate_export(folder / "pacs", n_patients=(n_objects + 1) // 2, n_sites=2, seed=seed + 1)
        paths = sorted((folder / "pacs/export").rglob("*.dcm"))[:n_objects]
        planted: list[str] = []
        inks = {}
        rows = []
        for number, path in enumerate(paths):
            words, ink, picture = plant(path, number, rng)
            planted += words
            inks[str(path.relative_to(folder / "pacs/export"))] = (ink, picture)
            rows.append({"patient_id": words[1], "label": "PTC" if number % 2 else "benign"})
        pl.DataFrame(rows).write_csv(folder / "labels.csv")
        command = [sys.executable, "-m", "csasn", "ingest", str(folder / "pacs/export"), "--layout", "dicom"]
        command += ["--labels", str(folder / "labels.csv"), "--private", str(folder / "private")]
        done = subprocess.run([*command, "--out", str(folder / "cohort")], capture_output=True, text=True, check=False)
        checked = subprocess.run(
            [sys.executable, "-m", "csasn", "check", str(folder / "cohort")],
            capture_output=True,
            text=True,
            check=False,
        )
        outputs = {"stdout and stderr": (done.stdout + done.stderr + checked.stdout + checked.stderr).encode()}
        for path in (folder / "cohort").rglob("*"):
            if path.is_file():
                outputs[str(path)] = path.name.encode() + path.read_bytes()
        manifest = pl.read_parquet(folder / "cohort/manifest.parquet")
        outputs["manifest rows"] = manifest.write_csv().encode()
        found = {
            word for content in outputs.values() for word in (w.encode() for w in (*WORDS, *planted)) if word in content
        }
        with (folder / "private/crosswalk-cohort.csv").open(newline="") as stream:
            items = {row["original"]: row["pseudonym"] for row in csv.DictReader(stream) if row["kind"] == "item"}
        legible, n_read = 0, 0
        for original, (ink, picture) in inks.items():
            kept = list((folder / "cohort/images").glob(f"{items[original]}-f*.png"))
            if kept:
                n_read += 1
                left = np.asarray(Image.open(kept[0])) == picture
                legible += bool((left & ink).sum() > 0.1 * ink.sum())
        print(f"exit codes {done.returncode}, {checked.returncode}; objects {len(paths)}, pictures kept {n_read}")
        print(f"identifiers in {len(outputs)} outputs, logs included: {len(found)}")
        print(f"pictures with over a tenth of the planted ink left: {legible}")
        if os.environ.get("CSASN_KEEP"):
            print(found)
        sys.exit(bool(found or legible or n_read < 0.9 * len(paths)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
