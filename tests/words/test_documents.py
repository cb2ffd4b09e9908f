"""A JSON document comes back as it was written, and one of another form is refused by the path of what is wrong."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csasn.documents import json_path, read_document, write_document
from csasn.errors import BadInputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of the document."""

    unit: Literal["image", "patient"]
    estimate: float | None
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document with a table, a mapping, and a value of two types."""

    name: str
    rows: Sequence[Row]
    sites: Mapping[str, Row | Sequence[float] | int]


finite = st.floats(allow_nan=False, allow_infinity=False)
rows = st.builds(
    Row,
    unit=st.sampled_from(["image", "patient"]),
    estimate=st.none() | finite,
    n=st.integers(-(2**63), 2**63 - 1),
)
text = st.text(st.characters(exclude_categories=["Cs"]))
documents = st.builds(
    Document,
    name=text,
    rows=st.lists(rows),
    sites=st.dictionaries(text, rows | st.lists(finite) | st.integers(-(2**63), 2**63 - 1)),
)
ONE = Document(
    name="a", rows=[Row(unit="image", estimate=None, n=1), Row(unit="patient", estimate=0.5, n=2)], sites={"x": 3}
)


@settings(deadline=None)
@given(document=documents)
def test_what_is_written_is_read_back(document: Document, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("documents") / "document.json"
    write_document(path, document)
    assert read_document(path, Document) == document


@settings(deadline=None)
@given(place=st.sampled_from(["name", "rows.0.unit", "rows.1.n", "sites.x"]), remove=st.booleans())
def test_what_is_wrong_is_named_by_its_path(place: str, remove: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("documents") / "document.json"
    write_document(path, ONE)
    content = json.loads(path.read_text())
    *parents, last = place.split(".")
    within = content
    for part in parents:
        within = within[int(part) if part.isdigit() else part]
    if remove:
        del within[last]
    else:
        within[last] = {"of": "another form"}
    path.write_text(json.dumps(content))
    if remove and place == "sites.x":
        assert read_document(path, Document) == replace(ONE, sites={})  # the keys of a mapping are free
        return
    shown = place.replace("rows.0", "rows[0]").replace("rows.1", "rows[1]")
    with pytest.raises(BadInputError) as refused:
        read_document(path, Document)
    assert f"- {shown}: " in str(refused.value)
    assert str(path) in str(refused.value)
    assert "stage" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": 1}, "extra: Unexpected keyword argument"),
        ({"rows": [{"unit": "site", "estimate": 1, "n": 1}]}, "rows[0].unit: Input should be 'image' or 'patient'"),
        ({"rows": [{"unit": "image", "estimate": "1", "n": 1}]}, "rows[0].estimate: Input should be a valid number"),
        ({"rows": [{"unit": "image", "estimate": 1, "n": 1.5}]}, "rows[0].n: Input should be a valid integer"),
        ({"rows": {"unit": "image"}}, "rows: Input should be a valid array"),
        ({"name": None}, "name: Input should be a valid string"),
    ],
)
def test_values_are_never_bent_into_shape(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "document.json"
    write_document(path, ONE)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInputError) as refused:
        read_document(path, Document)
    assert words in str(refused.value)


@pytest.mark.parametrize("content", [None, "{", "[]", "\x00"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "document.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInputError, match=r"document\.json"):
        read_document(path, Document)


def test_nan_is_not_written(tmp_path: Path) -> None:
    row = Row(unit="image", estimate=float("nan"), n=1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_document(tmp_path / "document.json", replace(ONE, rows=[row]))
    assert not list(tmp_path.iterdir())


def test_a_path_leaves_out_the_names_of_types() -> None:
    content = {"rows": [{"n": 1}], "sites": {"x": {"n": "1"}}}
    assert json_path(content, ("rows", 0, "n")) == "rows[0].n"
    assert json_path(content, ("sites", "x", "Row", "n")) == "sites.x.n"
    assert json_path(content, ("sites", "x", "list[float]")) == "sites.x"
    assert json_path(content, ("sites", "x", "Row", "unit"), missing=True) == "sites.x.unit"
    assert json_path(content, ()) == "the whole file"
