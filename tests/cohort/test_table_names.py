"""A table is the file that was named, whatever signs its name holds and whatever lies beside it."""

from pathlib import Path

import polars as pl
import pytest

from csasn.cohort.table_files import read_table

PATTERNS = (("labels[1]", "labels1"), ("labels?", "labels2"), ("lab*", "labels3"))


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx", ".csv"])
@pytest.mark.parametrize(("name", "neighbour"), PATTERNS)
def test_a_table_is_never_a_neighbour_that_its_name_would_match(
    tmp_path: Path, name: str, neighbour: str, suffix: str
) -> None:
    for each in (name, neighbour):
        frame, path = pl.DataFrame({"patient_id": [each]}), tmp_path / f"{each}{suffix}"
        if suffix == ".xlsx":
            frame.write_excel(path)
        else:
            (frame.write_parquet if suffix == ".parquet" else frame.write_csv)(path)
    assert read_table(tmp_path / f"{name}{suffix}").rows["patient_id"].to_list() == [name]
