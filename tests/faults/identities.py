"""Faults 116 to 128: who is who, in tables, class folders, public layouts and PACS exports."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from csasn.config import IngestSettings
from tests.faults.encoders import png
from tests.faults.fault import Fault
from tests.faults.manifests import NAMES, both, put, raw, table, text_of
from tests.faults.objects import made
from tests.faults.sources import GREY, SOUND, SOUND_EXPORT, SOUND_FIXES, WHOLE, export_of, folder_of, one_object

SAME = IngestSettings(same_patients=True)
DISTINCT = IngestSettings(distinct_sites=True)
Tags = Mapping[str, object]


def declared(**declared_as: object) -> IngestSettings:
    """The settings of these exports, with a declaration."""
    return WHOLE.model_copy(update=declared_as)


def export(
    number: int,
    name: str,
    files: Sequence[Tags],
    labels: Sequence[Mapping[str, str]],
    *aborts: str,
    settings: IngestSettings = WHOLE,
    refused: Mapping[str, str] | None = None,
) -> Fault:
    """Objects 0.dcm, 1.dcm ... of one row of tags each; the same pixels stand in none of them twice."""
    objects = {
        f"{place}.dcm": made(
            **{"pixels": np.roll(GREY, 5 * place, axis=1), "SOPInstanceUID": f"2.25.10{place}", **tags}
        )
        for place, tags in enumerate(files)
    }
    refused = refused or {}
    return Fault(
        number=number,
        name=name,
        make=export_of(objects, labels),
        labels="labels.csv",
        layout="dicom",
        settings=settings,
        used=() if aborts else (*SOUND_EXPORT, *(each for each in objects if each not in refused)),
        refused=refused,
        fixed={} if aborts else dict.fromkeys(SOUND_EXPORT, SOUND_FIXES),
        aborts=(*aborts, "Nothing was written") if aborts else (),
    )


def by_id(*ids: str, **cells: str) -> list[dict[str, str]]:
    """A row of the label table for each id."""
    return [{"patient_id": each, "label": "PTC", **cells} for each in ids]


def folders(
    number: int, name: str, patients: Sequence[str], *aborts: str, settings: IngestSettings | None = None
) -> Fault:
    """Class folders with a picture of each patient folder beside the sound ones."""
    files = {
        f"PTC/{patient}/{place}.png": png(np.random.default_rng(place).integers(0, 255, GREY.shape, dtype=np.uint8))
        for place, patient in enumerate(patients)
    }
    return Fault(
        number=number,
        name=name,
        make=folder_of(files),
        settings=settings or IngestSettings(),
        used=() if aborts else (*SOUND, *files),
        aborts=(*aborts, "Nothing was written") if aborts else (),
    )


def sites(first: str, second: str, *ids: str) -> Callable[[list[dict[str, str | None]]], None]:
    """Three rows at one site and three at another, with these ids."""

    def change(rows: list[dict[str, str | None]]) -> None:
        for place, (row, each) in enumerate(zip(rows, ids, strict=True)):
            row |= {"site": first if place < 3 else second, "patient_id": each}

    return change


P1, P2 = {"patient_id": "P1"}, {"patient_id": "P2"}
TWO_KEYS = (
    export(116, "accession-of-another", [P1 | {"AccessionNumber": "A1"}, P2 | {"AccessionNumber": "A1"}],
           by_id("P1", accession_number="A1"), "states several keys", "line 2", "its patient_id is not", "'1.dcm'"),
    export(116, "object-of-another", [P2], by_id("P1", sop_instance_uid="2.25.100"), "its sop_instance_uid is"),
    export(116, "path-of-another", [P1], by_id("P2", image_path="0.dcm"), "its image_path is the file's", "'0.dcm'"),
    export(116, "study-of-another-accession", [P1 | {"AccessionNumber": "A1", "StudyInstanceUID": "2.25.5"}],
           [{"accession_number": "A1", "study_instance_uid": "2.25.6", "label": "PTC"}], "its study_instance_uid is"),
    export(116, "agreeing-in-both", [P1 | {"AccessionNumber": "A1"}], by_id("P1", accession_number="A1")),
    export(116, "case-is-no-contradiction", [P1 | {"AccessionNumber": "A1"}], by_id("p1", accession_number="A1")),
    export(116, "each-of-two-has-its-row", [P1 | {"AccessionNumber": "A1"}, P2 | {"AccessionNumber": "A2"}],
           [*by_id("P1", accession_number="A1"), *by_id("P2", accession_number="A2")]),
)  # fmt: skip
ONE_KEY_OF_TWO = (
    export(117, "study", [P1 | {"StudyInstanceUID": "2.25.5"}, P2 | {"StudyInstanceUID": "2.25.5"}], by_id("P1", "P2"),
           "one study", "'0.dcm' and '1.dcm'"),
    export(117, "series", [P1 | {"SeriesInstanceUID": "2.25.5"}, P2 | {"SeriesInstanceUID": "2.25.5"}],
           by_id("P1", "P2"), "one series"),
    export(117, "accession", [P1 | {"AccessionNumber": "A1"}, P2 | {"AccessionNumber": "A1"}],
           [{"accession_number": "A1", "label": "PTC"}], "one examination"),
    export(117, "study-of-two-issuers", [{"StudyInstanceUID": "2.25.5", "patient_id": "S", "IssuerOfPatientID": issuer}
                                         for issuer in ("H1", "H2")], by_id("S"), "one study"),
    export(117, "placeholder-is-no-number", [P1 | {"AccessionNumber": "0000"}, P2 | {"AccessionNumber": "UNKNOWN"},
                                             {"patient_id": "P3", "AccessionNumber": "unknown"}],
           by_id("P1", "P2", "P3")),
    export(117, "each-site-counts", [P1 | {"AccessionNumber": "1"}, P2 | {"AccessionNumber": "1"}],
           [*by_id("P1", site="north"), *by_id("P2", site="south")], settings=declared(distinct_sites=True)),
)  # fmt: skip
WORDS = (
    "UNKNOWN",
    "#REF!",
    ".",
    "n.a.",
    "missing",
    "(blank)",
    "NaT",
    "anonymous",
    "不详",
    "无",
    "없음",
    "XXXX",
    "0000",
)
NOBODY = (
    *(table(118, f"table-{place}", put(patient_id=word)(0, 1), aborts=(f"lines 2-3: patient_id {word!r}", "stands for"))
      for place, word in enumerate(WORDS)),
    table(118, "site", put(site="#REF!")(0, 1, 2, 3, 4, 5), file="t.xlsx", aborts=("site '#REF!' stands for",)),
    *(one_object(118, f"dicom-{place}", made(patient_id=word, SpecificCharacterSet="ISO_IR 192", AccessionNumber="A1"),
                 labels=[{"accession_number": "A1", "label": "PTC"}], refused="no-patient-id")
      for place, word in enumerate(("ANONYMOUS", "UNKNOWN", "00000000", "XXXX", "未知", "No ID", "de-identified"))),
    export(118, "label-row-of-nobody", [P1], by_id("UNKNOWN"), "line 2", "its patient_id stands for an empty cell"),
    export(118, "label-row-of-no-number", [P1], by_id("P1", accession_number="n/a"), "its accession_number stands"),
    folders(118, "folder", ("unknown", "p2"), "stand for nobody", "PTC/unknown/0.png: patient_id 'unknown'"),
    table(118, "zeros-of-a-count", both(put(patient_id="000")(0), put(patient_id="001")(1))),
    table(118, "initials", both(put(patient_id="ND")(0), put(patient_id="KA")(1), put(patient_id="0")(2),
                                put(patient_id="1")(3))),
    export(118, "two-birth-dates", [P1 | {"PatientBirthDate": "19500203"}, P1 | {"PatientBirthDate": "19800203"}],
           by_id("P1"), "several birth dates", "'0.dcm' and '1.dcm'"),
    export(118, "two-birth-dates-declared",
           [P1 | {"PatientBirthDate": "19500203"}, P1 | {"PatientBirthDate": "19500302"}],
           by_id("P1"), settings=declared(same_patients=True)),
    export(118, "birth-year-alone", [P1 | {"PatientBirthDate": "19500203"}, P1 | {"PatientBirthDate": "19500101"}],
           by_id("P1")),
)  # fmt: skip
TWO_ROWS = (
    export(119, "laterality", [P1], [*by_id("P1", laterality="left"), *by_id("P1", laterality="right")],
           "line 2 and line 3", "differ in laterality"),
    export(119, "size-and-tirads", [P1], [*by_id("P1", nodule_size_mm="8", tirads_level="3"),
                                          *by_id("P1", nodule_size_mm="31", tirads_level="5")],
           "differ in nodule_size_mm, tirads_level"),
    export(119, "age-in-one-row-alone", [P1], [*by_id("P1", age_years="41"), *by_id("P1")], "differ in age_years"),
    export(119, "view", [P1], [*by_id("P1", view="transverse"), *by_id("P1", view="longitudinal")], "differ in view"),
    export(119, "sex-under-two-accessions", [P1 | {"AccessionNumber": "A1"}],
           [*by_id("P1", accession_number="A1", sex="male"), *by_id("p1", accession_number="A2", sex="female")],
           "agree in sex", "line 2 and line 3"),
    export(119, "other-side-in-the-file", [P1 | {"Laterality": "R"}], by_id("P1", laterality="left"),
           "line 2: laterality left, but the file says right: '0.dcm'"),
    export(119, "other-view-in-the-file", [P1 | {"SeriesDescription": "thyroid trans"}],
           by_id("P1", view="longitudinal"), "view longitudinal, but the file says transverse"),
    table(119, "sexes-in-a-table", both(put(patient_id="p0", sex="female")(0), put(patient_id="p0", sex="male")(1)),
          aborts=("one sex", "line 2: patient_id 'p0', sex female", "line 3")),
    export(119, "the-same-twice", [P1], [*by_id("P1", laterality="left"), *by_id("P1", laterality="left")]),
)  # fmt: skip
PARTLY_FILLED = (
    table(120, "merged", put(site="Alpha")(0, 3), file="t.xlsx", aborts=("rows 3-4, 6-7: site is empty", "merged")),
    table(120, "csv", put(site="Alpha")(1, 2, 3, 4, 5), aborts=("line 2: site is empty",)),
    table(120, "parquet", put(site="Alpha")(5), file="t.parquet", aborts=("rows 1-5: site is empty",)),
    export(120, "label-table", [P1, P2], [*by_id("P1", site="north"), *by_id("P2", site="")], "line 3: site is empty"),
    table(120, "declared", put(site="Alpha")(1, 2), settings=IngestSettings(site="Beta")),
)  # fmt: skip
SPELT = (
    table(124, "case", both(put(patient_id="HN01")(0), put(patient_id="hn01")(1)),
          aborts=("in one spelling", "line 2: patient_id 'HN01'", "line 3: patient_id 'hn01'", "--same-patients")),
    table(124, "space", both(put(patient_id="HN 01")(0), put(patient_id="HN01")(1)), file="t.tsv", aborts=("'HN 01'",)),
    table(124, "width", both(put(patient_id="ＨＮ01")(0), put(patient_id="HN01")(1)), file="t.xlsx", aborts=("row 3",)),
    table(124, "dash", both(put(patient_id="HN\u201301")(0), put(patient_id="HN-01")(1)), aborts=("'HN-01'",)),
    table(124, "composition", both(put(patient_id="Ne\u0301e")(0), put(patient_id="N\u00e9e")(1)),
          patients=("N\u00e9e", "N\u00e9e", "p2", "p3", "p4", "p5")),
    table(124, "declared", both(put(patient_id="HN01")(0), put(patient_id="hn 01")(1)), settings=SAME,
          patients=("HN01", "HN01", "p2", "p3", "p4", "p5")),
    folders(124, "folders", ("hn1", "HN1"), "in one spelling", "PTC/hn1/0.png: patient_id 'hn1'"),
    folders(124, "folders-declared", ("hn1", "HN1"), settings=SAME),
    export(124, "dicom-case", [{"patient_id": "HN1"}, {"patient_id": "hn1"}], by_id("HN1", "hn1"),
           "'0.dcm' and '1.dcm'"),
    export(124, "dicom-issuer-or-none", [{"patient_id": "HN1", "IssuerOfPatientID": "H"}, {"patient_id": "HN1"}],
           by_id("HN1"), "or issuer", "'0.dcm' and '1.dcm'"),
    export(124, "dicom-issuers-spelling", [{"patient_id": "HN1", "IssuerOfPatientID": "H 1"},
                                           {"patient_id": "HN1", "IssuerOfPatientID": "h1"}],
           by_id("HN1"), "or issuer"),
    export(124, "dicom-declared", [{"patient_id": "HN1"}, {"patient_id": "hn1"}], by_id("HN1", "hn1"),
           settings=declared(same_patients=True)),
    export(124, "dicom-two-issuers-and-none", [{"patient_id": "HN1", "IssuerOfPatientID": "H1"}, {"patient_id": "HN1"},
                                               {"patient_id": "HN1", "IssuerOfPatientID": "H2"}],
           by_id("HN1"), "or issuer", settings=declared(same_patients=True)),
)  # fmt: skip
COUNTED_ALIKE = (
    table(125, "csv", sites("A", "B", "1", "2", "3", "1", "2", "4"),
          aborts=("several sites", "line 2: patient_id '1' at site 'A'", "line 5: patient_id '1' at site 'B'",
                  "--distinct-sites")),
    table(125, "one-alone", sites("A", "B", "a", "b", "c", "c", "d", "e"), file="t.xlsx", aborts=("'c' at site 'B'",)),
    table(125, "parquet", sites("A", "B", "x1", "b", "c", "c", "d", "e"), file="t.parquet", aborts=("'c'",)),
    table(125, "distinct", sites("A", "B", "1", "2", "3", "1", "2", "4"), settings=DISTINCT,
          patients=("A/1", "A/2", "A/3", "B/1", "B/2", "B/4")),
    table(125, "the-same", sites("A", "B", "1", "2", "3", "3", "4", "5"), settings=SAME,
          patients=("1", "2", "3", "3", "4", "5")),
    table(125, "spelt-sites-are-one", sites("A", "a ", "1", "2", "3", "4", "5", "6"),
          fixed={NAMES[3]: ("site-normalised", "space-trimmed"), NAMES[4]: ("site-normalised", "space-trimmed"),
                 NAMES[5]: ("site-normalised", "space-trimmed")}),
)  # fmt: skip


def partitions(name: str, level: str, *, used: bool = False) -> Fault:
    """Class folders with one more level of folders in a class."""
    files = {f"PTC/{level}/x.png": png(GREY[:, ::-1])}
    return Fault(
        number=127,
        name=name,
        make=folder_of(files),
        used=(*SOUND, *files) if used else (),
        aborts=() if used else ("named after partitions", f"PTC/{level}".split("/p9/")[0], "split_hint", "Nothing was"),
    )


def decomposed(folder: Path) -> None:
    """A picture whose name the disk has decomposed."""
    (folder / "images/0.png").rename(folder / "images/Ne\u0301e.png")


PARTITION_FOLDERS = (
    partitions("train", "train"),
    partitions("validation-set", "Validation_set"),
    partitions("below-patients", "p9/val"),
    partitions("above-patients", "fold_1"),
    partitions("a-patient-of-that-beginning", "trainer-7", used=True),
)
SPELLINGS = (
    table(128, "decomposed-on-the-disk", put(image_path="images/N\u00e9e.png")(0), beside=decomposed,
          used=("images/Ne\u0301e.png", *NAMES[1:]), fixed={"images/Ne\u0301e.png": ("path-normalised",)}),
    raw(128, "empty-columns-at-the-end",
        lambda rows: "".join(f"{line},,\n" for line in text_of(rows).splitlines()).encode()),
    raw(128, "empty-cells-at-the-end-of-rows", lambda rows: text_of(rows).replace("benign\n", "benign,,\n").encode()),
    raw(128, "title-lines", lambda rows: b"Study of 2024\n\n" + text_of(rows).encode(), aborts=("If it is a title",)),
    table(128, "na-of-r", both(put(age_years="NA", sex="NA")(0), put(age_years="41", sex="male")(1)),
          fixed={NAMES[0]: ("na-emptied",)}),
    table(128, "codes-in-one-message",
          put(sex="F", laterality="L", age_years="045Y", tirads_level="4A", split_hint="val")(0, 1, 2, 3, 4, 5),
          aborts=tuple(f"; write {word!r}" for word in ("female", "left", "45", "4", "tuning"))),
    table(128, "tirads-words", put(tirads_level="TR4")(1), file="t.xlsx", aborts=("row 3: 'TR4'; write '4'",)),
    table(128, "label-of-ones", put(label="1")(0, 1, 2, 3, 4, 5), aborts=("Then map the column as malignant",)),
)  # fmt: skip

FAULTS = (
    *TWO_KEYS, *ONE_KEY_OF_TWO, *NOBODY, *TWO_ROWS, *PARTLY_FILLED, *SPELT, *COUNTED_ALIKE, *PARTITION_FOLDERS,
    *SPELLINGS,
)  # fmt: skip
