"""Hidden rows and sheets of a workbook are said in the certificate."""

import pytest

from csasn.cohort.ingest import ingest
from csasn.files import read_json
from tests.faults.workbooks import document, filtered, hidden_sheet, workbook


@pytest.mark.parametrize(
    ("make", "file", "said"),
    [
        (workbook(filtered), "table.xlsx", "4 rows are hidden in the workbook (by hand or by a filter)"),
        (workbook(filtered), "table.xlsx", "others: 2-3, 6-7."),
        (document("", ' table:visibility="collapse"'), "table.ods", "others: 4."),
        (workbook(hidden_sheet), "table.xlsx", "1 hidden sheets of the workbook were left out"),
    ],
)
def test_what_is_hidden_is_said(tmp_path, make, file, said):
    make(tmp_path)
    ingest(tmp_path / file, tmp_path / "cohort", workers=1)
    assert any(said in note for note in read_json(tmp_path / "cohort/certificate.json")["notes"])
