"""Who is who, by rules that every layout shares and that are applied before anything is hashed.

An id is text in Unicode's composed form (NFC). A word that stands for nobody is no id. Ids that differ only in case,
space, width, dash or composition may be one patient written twice, and one id at two sites may be two patients: both
are listed and stop the ingest until the user says which it is.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from csasn.errors import NOTHING_WRITTEN, BadInputError

SAME_PATIENTS, DISTINCT_SITES = "--same-patients", "--distinct-sites"
# Compared without case, signs and space: "(blank)", "No ID", "de-identified". What is written for a missing value ...
MISSING = frozenset(
    word
    for line in (
        "unknown unkown unk unspecified undefined undef undetermined unavailable unassigned unidentified missing",
        "missingvalue missingdata blank blanks empty none null nil void nan nat nul noid novalue nodata noentry",
        "notavailable notapplicable notknown notspecified notprovided notrecorded notgiven notentered notset nothing",
        "tbd tba todo tobedetermined tobedefined placeholder unbekannt keine keineangabe keineid ohne fehlt leer",
        "inconnu inconnue aucun aucune manquant vide nonrenseigne desconocido desconocida ninguno ninguna sindatos",
        "vacio faltante desconhecido desconhecida nenhum semdados naoinformado sconosciuto sconosciuta nessuno",
        "nessuna mancante",
        "onbekend geen ontbreekt okand saknas ukjent ukendt tuntematon nieznany nieznana brak bilinmiyor yok neznamy",
        "неизвестно неизвестный неизвестен нет отсутствует không khongro khongco ไม่ทราบ ไม่มี مجهول غيرمعروف לאידוע",
        "不详 不詳 不明 未知 未定 未填 未填写 未填寫 未提供 未登记 无 無 空 空白 空值 缺失 缺 缺省 暂无 暫無 没有 沒有",
        "待定 无数据 无编号 无记录 无资料 なし 該当なし 없음 미상 알수없음 모름 불명",
    )
    for word in line.split()
)
# ... and for a person who is not to be named.
UNNAMED = frozenset(
    word
    for line in (
        "anon anonymous anonymized anonymised anonym anonyme anonymus anonimo anonima anonyymi anonymisiert",
        "anonimizado anonymouspatient anonymizedpatient anonymisedpatient unknownpatient nopatient patient patientid",
        "patientname patientnumber idpatient pid noname unnamed name deidentified deid pseudonymized pseudonymised",
        "masked hidden redacted removed deleted erased cleared confidential private default dummy test testpatient",
        "patienttest phantom аноним анонимный 匿名 匿名患者 佚名 无名 無名 无名氏 保密 测试 患者 名無し 익명 무명 환자",
    )
    for word in line.split()
)
# Short words that are placeholders only as they are written here: without their signs they could be initials.
SIGNED = frozenset(
    word
    for line in ("na n/a n.a. n.a n-a n/d n.d. n.d n/k n.k. n.k k.a. k.a s/d s.d. s/n n/p -9 <na> <null> <none>",)
    for word in line.split()
)
ERROR = re.compile(r"#\S*[!?]|#n/?[av]?|#null|#getting_data|err:\d+")  # of Excel and LibreOffice
SAME_LETTER = re.compile(r"x{2,}|z{3,}|-9{2,}")
SMALL = 1000  # numbers that a count from 0 or 1 begins with


def composed(text: str) -> str:
    """An id as it is kept: composed (NFC), without surrounding space."""
    return unicodedata.normalize("NFC", text).strip()


def loose(text: str) -> str:
    """An id without what its writer may not have meant: case, space, width, kind of dash, composition."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    signs = ("-" if unicodedata.category(sign) == "Pd" or sign == "\u2212" else sign for sign in plain)
    return "".join(sign for sign in signs if not sign.isspace() and unicodedata.category(sign) != "Cf")


def nobody(text: str, *, person: bool = True) -> bool:
    """Whether a text stands for no patient, or, without `person`, for an empty cell; whatever other ids there are."""
    words = MISSING | UNNAMED if person else MISSING
    plain = unicodedata.normalize("NFKC", text).casefold().strip()
    letters = "".join(sign for sign in plain if sign.isalnum() or unicodedata.category(sign).startswith("M"))
    return (
        not any(map(str.isalnum, plain))
        or letters in words
        or _unaccented(letters) in words
        or plain in SIGNED
        or ERROR.fullmatch(plain) is not None
        or SAME_LETTER.fullmatch(plain) is not None
    )


def _unaccented(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def nobodies(ids: Iterable[str]) -> set[str]:
    """The ids that stand for nobody. Zeros alone, and nines alone, are ids only within a count: 000 beside 001."""
    known = set(ids)
    return {text for text in known if nobody(text) or _filled_up(unicodedata.normalize("NFKC", text).strip(), known)}


def _filled_up(text: str, known: set[str]) -> bool:
    if re.fullmatch(r"0+", text):
        counted = (each for each in known if each != text and each.isdecimal() and int(each) < SMALL)
        lone = len(text) == 1 and len(known) == 1
        return not lone and not any(len(text) in (1, len(each)) for each in counted)
    if re.fullmatch(r"9{4,}", text):
        return str(int(text) - 1) not in known
    return False


def alike(counts: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Ids that differ in their spelling alone, the most frequent of each group first."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for text in sorted(counts, key=lambda text: (-counts[text], text)):
        groups[loose(text)].append(text)
    return [tuple(group) for _, group in sorted(groups.items()) if len(group) > 1]


def at_several(places: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Of (id, site) pairs: the ids that stand at more than one site, with their sites."""
    sites: defaultdict[str, set[str]] = defaultdict(set)
    for text, site in places:
        sites[text].add(site)
    return {text: tuple(sorted(found)) for text, found in sorted(sites.items()) if len(found) > 1}


def refuse_alike(found: str, where: str) -> None:
    """Raise BadInputError for ids that differ in spelling alone."""
    raise BadInputError(
        "A patient has one id in one spelling, so that no patient is both learned from and tested on. These ids "
        f"differ only in case, space, width, kind of dash or issuer{where}:\n{found}\n"
        f"Correct the ids, or say with {SAME_PATIENTS} that each such group is one patient. {NOTHING_WRITTEN}"
    )


def refuse_at_several_sites(found: str, where: str) -> None:
    """Raise BadInputError for ids that stand at several sites."""
    raise BadInputError(
        "A patient id belongs to one site, so that patients of two sites that count alike are not taken for one. "
        f"These ids stand at several sites{where}:\n{found}\n"
        f"Say which it is: {DISTINCT_SITES} (each site counts its own patients: site and id together are the patient), "
        f"or {SAME_PATIENTS} (one id is one patient wherever it stands). {NOTHING_WRITTEN}"
    )


def joined_note(groups: Sequence[tuple[str, ...]]) -> str:
    """What the certificate says of ids that were declared to be the same; it holds no id."""
    n_ids = sum(map(len, groups))
    return (
        f"{n_ids} patient ids that differ only in case, space, width, kind of dash or issuer were taken for "
        f"{len(groups)} patients, as declared ({SAME_PATIENTS})."
    )
