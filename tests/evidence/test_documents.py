"""Every document that evidence writes for the report: written and read again it is the same, on any values."""

import json
from dataclasses import MISSING, fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csasn.calibration.fit import Calibration
from csasn.documents import read_document, write_document
from csasn.errors import BadInputError
from csasn.evidence.abstention import Abstention
from csasn.evidence.compare_runs import RunComparison
from csasn.evidence.evaluation import Evaluation
from csasn.evidence.explanations import Explanations
from csasn.evidence.gated_attention import Aggregations
from csasn.evidence.shortcut_audit import Shortcuts
from csasn.evidence.similar import Similar
from csasn.evidence.study import Study
from tests.support.evaluation import evaluate_run
from tests.support.records import records
from tests.support.synthetic_run import make_run

KINDS = (Calibration, Evaluation, Abstention, Similar, Aggregations, Shortcuts, Explanations, RunComparison, Study)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(data=st.data())
def test_what_is_written_is_read_back(kind: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    document, folder = data.draw(records(kind)), tmp_path_factory.mktemp("documents")
    write_document(folder / "once.json", document)
    again = read_document(folder / "once.json", kind)
    assert again == document
    write_document(folder / "again.json", again)
    assert (folder / "again.json").read_bytes() == (folder / "once.json").read_bytes()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
@given(data=st.data())
def test_a_document_that_lacks_a_field_is_refused_by_its_name(
    kind: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("documents") / "document.json"
    write_document(path, data.draw(records(kind)))
    name = data.draw(st.sampled_from([field.name for field in fields(kind) if field.default is MISSING]))
    content = json.loads(path.read_text())
    del content[name]
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError) as refused:
        read_document(path, kind)
    assert f"({kind.__name__})" in str(refused.value)
    assert f"- {name}: Field required" in str(refused.value)


def test_metrics_of_a_run_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    run = make_run(tmp_path_factory.mktemp("evaluated"))
    path = evaluate_run(run)
    document = read_document(path, Evaluation)
    assert document.records
    assert document.decision.curves
    write_document(path.with_name("again.json"), document)
    assert path.with_name("again.json").read_bytes() == path.read_bytes()
    content = json.loads(path.read_text())
    content["records"][3]["estimate"] = "high"
    content["decision"]["curves"][5]["n"] = None
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError) as refused:
        read_document(path, Evaluation)
    assert "- records[3].estimate: Input should be a valid number" in str(refused.value)
    assert "- decision.curves[5].n: Input should be a valid integer" in str(refused.value)
