"""Faults 38 to 49, what stands around the pixels of a DICOM file: depth, identity, bits, regions, overlays, words."""

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from csasn.config import IngestSettings
from tests.faults.fault import Fault
from tests.faults.objects import DEEP_12, Make, changed, made
from tests.faults.pictures import DEEP
from tests.faults.sources import GREY, SOUND_EXPORT, SOUND_FIXES, WHOLE, export_of, one_object, windowed
from tests.support.dicom_objects import region

STRICT = IngestSettings()
INSIDE = (10, 5, 49, 44)
CROPPED = GREY[5:45, 10:50]


def nested(depth: int, *, defined: bool) -> Make:
    """An object with content sequences within each other, of stated or of open length."""

    def change(content: bytes) -> bytes:
        sequence, item = struct.pack("<HH2sH", 0x0040, 0xA730, b"SQ", 0), struct.pack("<HH", 0xFFFE, 0xE000)
        inner = b""
        for _ in range(depth if defined else 0):
            inner = item + struct.pack("<I", len(inner)) + inner
            inner = sequence + struct.pack("<I", len(inner)) + inner
        if not defined:
            ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
            inner = (sequence + b"\xff" * 4 + item + b"\xff" * 4) * depth + ends * depth
        place = content.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OB"))
        return content[:place] + inner + content[place:]

    return changed(change)


def edited(edit: Callable[[Dataset], object], **options: object) -> Make:
    """An object that pydicom changed after it was written."""

    def make(path: Path) -> None:
        made(**options)(path)
        dataset = pydicom.dcmread(path)
        edit(dataset)
        dataset.save_as(path)

    return make


def private_item() -> Dataset:
    item = Dataset()
    item.private_block(0x0013, "SOMEONE", create=True).add_new(1, "LO", "Doe^Jane")
    return item


def private_at_top(dataset: Dataset) -> None:
    dataset.private_block(0x0011, "SOMEONE", create=True).add_new(2, "SQ", [private_item()])


def private_in_public(dataset: Dataset) -> None:
    dataset.ReferencedStudySequence = [private_item()]


def private_deep_down(dataset: Dataset) -> None:
    middle = Dataset()
    middle.ReferencedImageSequence = [private_item()]
    dataset.ReferencedStudySequence = [middle]


def overlay(group: int) -> Callable[[Dataset], None]:
    def edit(dataset: Dataset) -> None:
        dataset.add_new((group, 0x0010), "US", GREY.shape[0])
        dataset.add_new((group, 0x0011), "US", GREY.shape[1])
        dataset.add_new((group, 0x3000), "OW", b"\xff" * (GREY.size // 8))

    return edit


def charset(name: bytes, letter: bytes) -> Make:
    """A patient MRN1 whose name holds a byte that the named character set may not know."""

    def change(content: bytes) -> bytes:
        name_padded = name + b" " * (len(name) % 2)
        content = content.replace(b"Doe^X", b"Doe^" + letter)
        return content.replace(b"CS\x0a\0ISO_IR 100", b"CS" + struct.pack("<H", len(name_padded)) + name_padded)

    return changed(change, SpecificCharacterSet="ISO_IR 100", PatientName="Doe^X")


def several(
    name: str, number: int, files: Mapping[str, Make], labels: Sequence[Mapping[str, str]], pixels: Mapping[str, object]
) -> Fault:
    """Several objects that are all used."""
    return Fault(
        number=number,
        name=name,
        make=export_of(files, labels),
        labels="labels.csv",
        layout="dicom",
        settings=WHOLE,
        used=(*SOUND_EXPORT, *files),
        fixed=dict.fromkeys(SOUND_EXPORT, SOUND_FIXES),
        pixels=dict(pixels),
    )


def two_sites(
    name: str, first: dict[str, object], second: dict[str, object], labels: Sequence[Mapping[str, str]]
) -> Fault:
    """One id of two patients; the same pixels under both would abort, so they differ."""
    other = GREY[:, ::-1].copy()
    return several(
        name,
        41,
        {
            "a.dcm": made(patient_id="SAME", SOPInstanceUID="2.25.7", **first),
            "b.dcm": made(patient_id="SAME", pixels=other, SOPInstanceUID="2.25.8", **second),
        },
        labels,
        {"a.dcm": GREY, "b.dcm": other},
    )


def dicomdir(path: Path) -> None:
    old, new = b"1.2.840.10008.5.1.4.1.1.6.1\0", b"1.2.840.10008.1.3.10\0\0\0\0\0\0\0\0"
    changed(lambda content: content.replace(old, new, 1).replace(b"MRN1", b"../x"))(path)


HTML = "<script>alert(1)</script>"
ISSUERS = [
    {"patient_id": "SAME", "label": "PTC", "issuer": "H1"},
    {"patient_id": "SAME", "label": "benign", "issuer": "H2"},
]
BY_OBJECT = [
    {"sop_instance_uid": f"2.25.{n}", "label": "PTC", "site": site} for n, site in ((7, "north"), (8, "south"))
]

FAULTS = (
    one_object(38, "300", nested(300, defined=True), refused="sequence-too-deep"),
    one_object(38, "300-open", nested(300, defined=False), refused="sequence-too-deep"),
    one_object(38, "5000-open", nested(5000, defined=False), refused="sequence-too-deep"),
    one_object(38, "33", nested(33, defined=True), refused="sequence-too-deep"),
    *(
        one_object(39, edit.__name__, edited(edit), pixels=GREY, fixed=("private-tags-dropped",))
        for edit in (private_at_top, private_in_public, private_deep_down)
    ),
    *(
        one_object(40, name, made(PatientID=text, SpecificCharacterSet="ISO_IR 192"), refused="no-patient-id")
        for name, text in (
            ("absent", None),
            ("empty", ""),
            ("spaces", "    "),
            ("nul", "\0\0"),
            ("wide-space", "\u3000"),
            ("zero-width", "\u200b"),
            ("carets", "^^^"),
        )
    ),
    two_sites("two-issuers", {"IssuerOfPatientID": "H1"}, {"IssuerOfPatientID": "H2"}, ISSUERS),
    two_sites("two-sites-by-object", {}, {}, BY_OBJECT),
    two_sites(
        "issuer-and-none", {"IssuerOfPatientID": "H1"}, {}, [ISSUERS[0], {"patient_id": "SAME", "label": "benign"}]
    ),
    one_object(42, "more-stored-than-allocated", made(BitsStored=12, HighBit=11), refused="bits-contradict"),
    one_object(42, "high-bit-beyond", made(pixels=DEEP, BitsStored=16, HighBit=16), refused="bits-contradict"),
    one_object(42, "none-stored", made(BitsStored=0, HighBit=0), refused="bits-contradict"),
    one_object(42, "high-bit-below", made(pixels=DEEP, BitsStored=12, HighBit=7), refused="bits-contradict"),
    *(
        one_object(
            43,
            f"{name}-with-region",
            made(regions=[region(*INSIDE)], **tags),
            settings=STRICT,
            pixels=CROPPED,
            fixed=("cropped-to-region",),
        )
        for name, tags in (("yes", {"BurnedInAnnotation": "YES"}), ("absent", {}))
    ),
    *(
        one_object(43, f"{name}-without-region", made(**tags), settings=STRICT, refused="no-ultrasound-region")
        for name, tags in (("yes", {"BurnedInAnnotation": "YES"}), ("absent", {}))
    ),
    one_object(43, "whole-by-policy", made(BurnedInAnnotation="YES"), pixels=GREY),
    *(
        one_object(
            44,
            f"corners-{'-'.join(map(str, corners))}",
            made(regions=[region(*corners)]),
            settings=STRICT,
            refused="region-outside-image",
        )
        for corners in ((10, 5, 66, 44), (10, 5, 49, 60), (49, 5, 10, 44), (10, 5, 4_000_000_000, 44))
    ),
    one_object(
        44,
        "two-of-tissue",
        made(regions=[region(0, 0, 33, 46), region(34, 0, 63, 46)]),
        settings=STRICT,
        pixels=GREY[:47, :34],
        fixed=("cropped-to-region", "one-of-several-regions"),
    ),
    one_object(
        44,
        "tissue-and-spectrum",
        made(regions=[region(0, 0, 63, 47, kind=3), region(*INSIDE)]),
        settings=STRICT,
        pixels=CROPPED,
        fixed=("cropped-to-region",),
    ),
    one_object(
        44,
        "spectrum-alone",
        made(regions=[region(0, 0, 63, 47, kind=3)]),
        settings=STRICT,
        refused="no-ultrasound-region",
    ),
    one_object(45, "plane", edited(overlay(0x6000)), pixels=GREY, fixed=("overlay-dropped",)),
    one_object(45, "last-plane", edited(overlay(0x601E)), pixels=GREY, fixed=("overlay-dropped",)),
    one_object(
        45,
        "in-upper-bits",
        made(**{**DEEP_12, "pixels": DEEP | 0x8000}),
        pixels=windowed(DEEP),
        fixed=("windowed", "upper-bits-dropped"),
    ),
    one_object(
        45,
        "in-upper-bits-run-length",
        made(**{**DEEP_12, "pixels": DEEP | 0x4000}, transfer_syntax=RLELossless),
        pixels=windowed(DEEP),
        fixed=("windowed", "upper-bits-dropped"),
    ),
    one_object(45, "clean-upper-bits", made(**DEEP_12), pixels=windowed(DEEP), fixed=("windowed",)),
    *(
        one_object(46, name, made(preamble=head.ljust(128, b"\0")), pixels=GREY, fixed=("preamble-dropped",))
        for name, head in (
            ("windows", b"MZ\x90\0"),
            ("linux", b"\x7fELF\2\1\1"),
            ("script", b"#!/bin/sh\nreboot\n"),
            ("tiff", b"II*\0\x10\0\0\0"),
        )
    ),
    Fault(
        number=22,
        name="in-an-export",
        make=export_of(
            {"a.dcm": made(patient_id="A"), "b.dcm": made(patient_id="B", SOPInstanceUID="2.25.9")},
            [{"patient_id": "A", "label": "PTC"}, {"patient_id": "B", "label": "PTC"}],
        ),
        labels="labels.csv",
        layout="dicom",
        settings=WHOLE,
        aborts=("same pixels", "Nothing was written"),
    ),
    one_object(47, "dicomdir", dicomdir, refused="dicomdir"),
    one_object(47, "dicomdir-by-name", dicomdir, file="DICOMDIR", refused="dicomdir"),
    one_object(47, "index-in-a-folder", dicomdir, file="DISK1/DICOMDIR", refused="dicomdir"),
    one_object(
        48, "patient", made(patient_id=HTML), labels=[{"patient_id": HTML, "label": "PTC"}], pixels=GREY, absent=(HTML,)
    ),
    one_object(48, "device", made(Manufacturer=HTML, ManufacturerModelName=HTML), pixels=GREY, absent=(HTML,)),
    one_object(48, "descriptions", made(SeriesDescription=HTML, ImageComments=HTML), pixels=GREY, absent=(HTML,)),
    one_object(
        48,
        "in-the-name-of-the-file",
        made(),
        file=f"{HTML.replace('/', ':')}.dcm",
        pixels=GREY,
        absent=(HTML.replace("/", ":"),),
    ),
    one_object(49, "unknown-set", charset(b"ISO_IR 999", b"\xd0"), pixels=GREY, fixed=("charset-unknown",)),
    one_object(49, "no-text", charset(b"\xff\xfe nonsen", b"\xd0"), pixels=GREY, fixed=("charset-unknown",)),
    one_object(49, "known-set-wrong-bytes", charset(b"ISO_IR 192", b"\xff"), pixels=GREY),
    one_object(49, "misspelt", charset(b"iso8859-1x", b"\xd0"), pixels=GREY, fixed=("charset-unknown",)),
)
