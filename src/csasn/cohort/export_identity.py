"""The rules of identity applied to a PACS export: its files and the label table agree, and an id is one person.

Messages name files by their paths below the export and rows of the label table by their lines, never an identifier.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from csasn.cohort.identity import joined_note, loose, nobody, refuse_alike
from csasn.cohort.label_table import Label, LabelTable
from csasn.cohort.rows import every_row
from csasn.config import IngestSettings
from csasn.decoding.dicom.identity import Identity
from csasn.errors import NOTHING_WRITTEN, BadInputError, listing

Person = tuple[str, str]  # issuer, patient id
UNIQUE = {
    "study_instance_uid": "study (StudyInstanceUID)",
    "series_instance_uid": "series (SeriesInstanceUID)",
    "accession_number": "examination (AccessionNumber)",
}
SEX = {"F": "female", "M": "male"}
NO_DATE = ("18000101", "19000101", "18991230", "19010101", "11111111")  # what programs write for no date


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one readable file says of its patient and its picture, and the label that its row gives it."""

    path: str
    identity: Identity
    label: Label
    site: str
    view: str | None
    laterality: str | None

    @property
    def person(self) -> Person:
        """Issuer and id as the file has them."""
        return self.identity.issuer, self.identity.patient_id


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """Who the persons of an export are, as decided: what a file says -> the issuer, id and site that stand for it."""

    person: Mapping[Person, Person] = field(default_factory=dict)
    site: Mapping[Person, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def key(self, identity: Identity, site: str) -> tuple[str, str, str]:
        """Site, issuer and id of a person, from which the pseudonym is made."""
        said = (identity.issuer, identity.patient_id)
        person = self.person.get(said, said)
        return self.site.get(person, site), *person


def refuse_contradicting_rows(files: Iterable[tuple[Identity, str]], labels: LabelTable) -> None:
    """Raise BadInputError for rows of the label table that name a file by one key and contradict it in another."""
    found = [(line, what, path) for identity, path in files for line, what in labels.contradictions(identity, path)]
    if found:
        said = ((line, f"{what}: {path!r}") for line, what, path in found)
        raise BadInputError(
            "A row of the label table that states several keys agrees with its file in each, so that no patient gets "
            f"the diagnosis of another. In {labels.source.name}:\n{every_row(said, labels.source)}\n"
            f"Correct the row, or the file's patient or number. {NOTHING_WRITTEN}"
        )


def people_of(claims: Sequence[Claim], labels: LabelTable, settings: IngestSettings) -> People:
    """Who the persons of an export are; BadInputError, listing the files, where that is doubtful and not declared."""
    _refuse_other_sides(claims, labels)
    person, notes = _spelled(claims, labels, settings)
    _refuse_shared_keys(claims, person, settings)
    _refuse_two_births(claims, person, settings)
    other_sex = sum(
        claim.label.descriptions["sex"] not in (None, SEX.get(claim.identity.sex, claim.label.descriptions["sex"]))
        for claim in claims
    )
    if other_sex:
        notes.append(f"In {other_sex} files the patient's sex is not that of the label table's row, which was taken.")
    site: dict[Person, str] = {}
    if settings.same_patients:
        for claim in sorted(claims, key=lambda claim: claim.site):
            site.setdefault(person.get(claim.person, claim.person), claim.site)
    return People(person=person, site=site, notes=tuple(notes))


def _refuse_other_sides(claims: Iterable[Claim], labels: LabelTable) -> None:
    wrong = []
    for claim in claims:
        label = claim.label
        if claim.laterality and label.laterality and {claim.laterality, label.laterality} == {"left", "right"}:
            wrong.append(
                (label.line, f"laterality {label.laterality}, but the file says {claim.laterality}: {claim.path!r}")
            )
        if claim.view and label.view and claim.view != label.view:
            wrong.append((label.line, f"view {label.view}, but the file says {claim.view}: {claim.path!r}"))
    if wrong:
        raise BadInputError(
            f"A row of the label table agrees with its files. In {labels.source.name}:\n"
            f"{every_row(wrong, labels.source)}\nCorrect these rows, or leave the column out, so that the files' own "
            f"words count; name nodules of both sides by accession_number, series or object. {NOTHING_WRITTEN}"
        )


def _spelled(
    claims: Sequence[Claim], labels: LabelTable, settings: IngestSettings
) -> tuple[dict[Person, Person], list[str]]:
    """Persons that are written in several ways -> the one that stands for them."""
    counts = Counter(claim.person for claim in claims)
    births: defaultdict[Person, set[str]] = defaultdict(set)
    groups: defaultdict[str, list[Person]] = defaultdict(list)
    for claim in claims:
        births[claim.person] |= {date for date in [_birth(claim.identity.birth_date)] if date}
    for person in sorted(counts, key=lambda person: (-counts[person], person)):
        groups[loose(person[1])].append(person)
    doubtful: list[tuple[Person, ...]] = []
    unclear: list[tuple[Person, ...]] = []
    for group in groups.values():
        issuers = {loose(issuer) for issuer, _ in group if issuer}
        blank = [each for each in group if not each[0] and not labels.names_issuers_of(each[1])]
        if blank and len(issuers) > 1:
            unclear.append(tuple(group))
            continue
        for issuer in sorted(issuers | {""}):
            same = [each for each in group if loose(each[0]) == issuer]
            same += blank if issuer else []
            if issuer or not (blank and issuers):
                doubtful += _not_told_apart(same, births)
    if unclear or (doubtful and not settings.same_patients):
        refuse_alike(_files_of([*unclear, *doubtful], claims), " (files of each group)")
    joined = {each: group[0] for group in doubtful for each in group[1:]}
    groups_of_ids = [tuple(" | ".join(each) for each in group) for group in doubtful]
    return joined, [joined_note(groups_of_ids)] if doubtful else []


def _not_told_apart(same: Sequence[Person], births: Mapping[Person, set[str]]) -> list[tuple[Person, ...]]:
    """Persons written alike whom no birth date tells apart, where there are several."""
    groups: list[list[Person]] = []
    for each in same:
        mine = births[each]
        group = next((found for found in groups if all(_one_birth(mine | births[other]) for other in found)), None)
        if group is None:
            groups.append([each])
        else:
            group.append(each)
    return [tuple(group) for group in groups if len(group) > 1]


def _files_of(groups: Sequence[tuple[Person, ...]], claims: Iterable[Claim]) -> str:
    paths: defaultdict[Person, list[str]] = defaultdict(list)
    for claim in claims:
        paths[claim.person].append(repr(claim.path))
    return listing([" and ".join(", ".join(sorted(paths[person])) for person in group) for group in groups])


def _refuse_shared_keys(claims: Sequence[Claim], person: Mapping[Person, Person], settings: IngestSettings) -> None:
    """Raise BadInputError where a study, series or accession number stands under two patients."""
    found: list[str] = []
    for key, title in UNIQUE.items():
        owners: defaultdict[tuple[str, str], dict[Person, list[str]]] = defaultdict(dict)
        for claim in claims:
            text = getattr(claim.identity, key)
            if not text or nobody(text, person=False) or not text.strip("0"):
                continue
            counted_by = claim.site if settings.distinct_sites and key == "accession_number" else ""
            owner = person.get(claim.person, claim.person)
            owners[counted_by, text].setdefault(owner, []).append(repr(claim.path))
        found += [
            f"one {title}: " + " and ".join(", ".join(sorted(paths)) for paths in sorted(each.values()))
            for each in owners.values()
            if len(each) > 1
        ]
    if found:
        raise BadInputError(
            "A study, a series and an accession number belong to one patient. These stand under several patient ids "
            f"(files of each):\n{listing(found)}\nCorrect the ids or the numbers. Where sites count their accession "
            f"numbers each for itself, say --distinct-sites and name the sites in the label table. {NOTHING_WRITTEN}"
        )


def _refuse_two_births(claims: Iterable[Claim], person: Mapping[Person, Person], settings: IngestSettings) -> None:
    """Raise BadInputError where one id has several birth dates: it may stand for several persons."""
    if settings.same_patients:
        return
    births: defaultdict[tuple[Person, str], defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for claim in claims:
        if date := _birth(claim.identity.birth_date):
            who = person.get(claim.person, claim.person), claim.site
            births[who][date].append(repr(claim.path))
    wrong = [
        " and ".join(", ".join(sorted(paths)) for _, paths in sorted(found.items()))
        for found in births.values()
        if not _one_birth(set(found))
    ]
    if wrong:
        raise BadInputError(
            "A patient id stands for one person. These ids have several birth dates (files of each date):\n"
            f"{listing(wrong)}\nGive each person an id, or correct the dates; where each id is one patient all the "
            f"same, say so with --same-patients. {NOTHING_WRITTEN}"
        )


def _birth(text: str) -> str:
    """The digits of a birth date; empty where it is none, or one that programs write for none."""
    digits = "".join(sign for sign in text if sign.isdecimal())
    return digits if len(digits) == 8 and digits.strip("0") and digits not in NO_DATE else ""


def _one_birth(dates: set[str]) -> bool:
    """Whether dates may be one: de-identified files have the first of January."""
    years = {date[:4] for date in dates}
    exact = {date for date in dates if not date.endswith("0101")}
    return len(years) <= 1 and len(exact) <= 1
