"""Label text becomes a known class, or one error that lists every unknown label with a suggestion."""

import difflib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from csasn.errors import BadInputError, listing
from csasn.schema import MALIGNANT_ORDER, NON_MALIGNANT_ORDER

UNSPECIFIC_MALIGNANT = "malignant"
UNSPECIFIC_BENIGN = "benign"
UNKNOWN_SUBTYPE = "malignant (subtype unknown)"
UNKNOWN_NON_MALIGNANT = "non-malignant (class unknown)"
YES = ("1", "true", "yes", "y", "malignant")
NO = ("0", "false", "no", "n", "benign")


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """The classes that a cohort may name, and whether each is malignant."""

    malignant_by_class: Mapping[str, bool]

    def find(self, text: str) -> str | None:
        """The class that a text names, whatever its case, space and width; None where there is none."""
        wanted = spelling(text)
        return next((name for name in self.malignant_by_class if spelling(name) == wanted), None)

    def suggestion(self, text: str) -> str:
        """A did-you-mean for an unknown label, or nothing."""
        return did_you_mean(text, self.malignant_by_class)


def spelling(text: str) -> str:
    """A text without what its writer may not have meant: case, width (as of full-width letters) and extra space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """`; did you mean X?` for the name nearest to a text, or an empty string."""
    by_key = {spelling(name): name for name in names}
    near = difflib.get_close_matches(spelling(text), by_key, n=1, cutoff=0.6)
    return f"; did you mean {by_key[near[0]]!r}?" if near else ""


def vocabulary(malignant_classes: tuple[str, ...] = (), non_malignant_classes: tuple[str, ...] = ()) -> Vocabulary:
    """The known classes and those that the caller declares.

    Raises BadInputError where a declared class has no name, or would be both malignant and not.
    """
    known = dict.fromkeys(NON_MALIGNANT_ORDER, False) | dict.fromkeys(MALIGNANT_ORDER, True)
    keys = {spelling(name): malignant for name, malignant in known.items()}
    declared = [(name.strip(), True) for name in malignant_classes]
    declared += [(name.strip(), False) for name in non_malignant_classes]
    wrong: list[str] = []
    for name, malignant in declared:
        if not name:
            wrong.append("an empty name")
        elif keys.setdefault(spelling(name), malignant) != malignant:
            wrong.append(f"{name!r} declared {'' if malignant else 'non-'}malignant, known as the opposite")
        elif spelling(name) not in {spelling(each) for each in known}:
            known[name] = malignant
    if wrong:
        raise BadInputError(
            f"A declared class has a name and is either malignant or not. Received:\n{listing(wrong)}\n"
            "Correct the declared malignant and non-malignant classes."
        )
    return Vocabulary(malignant_by_class=known)


def truth_of(text: str) -> bool | None:
    """Malignant or not, from a cell of a `malignant` column; None where it is neither."""
    key = spelling(text)
    return True if key in YES else False if key in NO else None


def with_subtypes(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows labelled just "malignant" beside specific malignant classes keep malignant=True and get subtype null.

    Where "malignant" is the only malignant label, it is a class of its own.
    """
    cancers = set(rows.filter(pl.col("malignant"))["subtype"].drop_nulls().to_list())
    if UNSPECIFIC_MALIGNANT not in cancers or cancers == {UNSPECIFIC_MALIGNANT}:
        return rows
    unspecific = pl.col("subtype") == UNSPECIFIC_MALIGNANT
    return rows.with_columns(subtype=pl.when(unspecific).then(None).otherwise(pl.col("subtype")))


def class_label() -> pl.Expr:
    """The class of a manifest row, with a name of its own where the subtype is unknown."""
    unknown = pl.when(pl.col("malignant")).then(pl.lit(UNKNOWN_SUBTYPE)).otherwise(pl.lit(UNKNOWN_NON_MALIGNANT))
    return pl.coalesce("subtype", unknown)
