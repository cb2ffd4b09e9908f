"""Class lists and manifests."""

from pathlib import Path

import polars as pl
import pytest

from csasn.errors import BadInputError, listing
from csasn.schema import MANIFEST_COLUMNS, classes_of, complete_columns, manifest_sha256, order_names, read_manifest


def rows(*labels: tuple[str | None, bool]) -> pl.DataFrame:
    subtypes, malignant = zip(*labels, strict=True)
    return pl.DataFrame(
        {"subtype": subtypes, "malignant": malignant}, schema={"subtype": pl.String, "malignant": pl.Boolean}
    )


def test_classes_are_numbered_non_malignant_first_in_the_declared_order() -> None:
    found = classes_of(
        rows(("MTC", True), ("cyst", False), ("normal", False), ("Zeta", True), ("PTC", True), ("benign", False))
    )
    assert found.names == ("benign", "normal", "cyst", "PTC", "MTC", "Zeta")
    assert found.non_malignant == ("benign", "normal", "cyst")
    assert found.malignant == ("PTC", "MTC", "Zeta")


def test_rows_without_a_class_declare_none() -> None:
    assert classes_of(rows(("benign", False), (None, True), ("PTC", True))).names == ("benign", "PTC")


def test_a_class_in_both_groups_is_named() -> None:
    with pytest.raises(BadInputError, match=r"both groups:\n  - FTC\n"):
        classes_of(rows(("FTC", True), ("FTC", False), ("benign", False)))


@pytest.mark.parametrize("label", [("benign", False), ("PTC", True), (None, True)])
def test_both_groups_are_needed(label: tuple[str | None, bool]) -> None:
    with pytest.raises(BadInputError, match="at least one malignant and one non-malignant"):
        classes_of(rows(label))


def test_names_beyond_the_declared_order_are_alphabetical() -> None:
    assert order_names(["b", "a", "y", "x", "a"], ("x", "y")) == ["x", "y", "a", "b"]


def test_missing_columns_are_completed_with_nulls_in_order_and_type() -> None:
    frame = complete_columns(pl.DataFrame({"malignant": [True], "image_path": ["a.png"], "frame": [3]}))
    assert frame.schema == pl.Schema(MANIFEST_COLUMNS)
    assert frame["frame"].to_list() == [3]
    assert frame["site"].to_list() == [None]


def test_a_manifest_is_read_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    with pytest.raises(BadInputError, match="csasn ingest"):
        read_manifest(tmp_path)
    whole = complete_columns(pl.DataFrame({"image_path": ["a.png"]}))
    whole.drop("site", "view").write_parquet(path)
    with pytest.raises(BadInputError, match="  - site\n  - view\n"):
        read_manifest(tmp_path)
    whole.head(0).write_parquet(path)
    with pytest.raises(BadInputError, match="no rows"):
        read_manifest(tmp_path)
    whole.write_parquet(path)
    assert read_manifest(tmp_path).equals(whole)


def test_the_hash_follows_content_and_row_order_alone() -> None:
    frame = complete_columns(pl.DataFrame({"image_path": ["a.png", "b.png"]}))
    expected = manifest_sha256(frame)
    assert manifest_sha256(frame.select(reversed(frame.columns))) == expected
    assert manifest_sha256(frame.with_columns(note=pl.lit(1))) == expected
    assert manifest_sha256(frame.reverse()) != expected
    assert manifest_sha256(frame.with_columns(site=pl.lit("A"))) != expected


def test_a_listing_leaves_nothing_out() -> None:
    rows = [f"row {n}" for n in range(5000)]
    assert listing(rows).splitlines() == [f"  - {row}" for row in rows]
