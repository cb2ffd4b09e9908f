"""What evaluate makes of maps made by hand, and what the report says of it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from csasn.documents import read_document
from csasn.evidence.explanations import Alike, Explanations, OnNodule, cells_of, target_of
from csasn.evidence.statistics.intervals import wilson
from csasn.report.blocks import Pictures, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.overlay import OUTLINE, overlay
from csasn.report.run_page import report_run
from csasn.report.sections.explanations import explanations, learned, verdict, where
from csasn.runs import Run
from tests.support.evaluation import evaluate_run
from tests.support.synthetic_maps import NODULE, SIZE_PX, explain_by_hand
from tests.support.synthetic_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make_run(tmp_path_factory.mktemp("explained"), n_bootstrap=400)  # fewer could not reach p 0.05 by Holm
    explain_by_hand(made)
    evaluate_run(made)
    return made


@pytest.fixture(scope="module")
def found(run: Run) -> dict[str, Any]:
    return json.loads(run.path("explanations.json").read_text())


def of(found: dict[str, Any], kind: str, measure: str, group: str = "all") -> dict[str, Any]:
    wanted = (kind, measure, group)
    (row,) = (each for each in found["on_nodule"] if (each["map"], each["measure"], each["group"]) == wanted)
    return row


def test_a_map_on_the_nodule_always_points_at_it_with_wilsons_interval(found: dict[str, Any]) -> None:
    row = of(found, "cnn", "pointing")
    n = row["n_patients"]
    assert (row["estimate"], row["low"], row["high"]) == (1.0, *wilson(n, n))
    assert row["difference"] == pytest.approx(1 - of(found, row["against"], "pointing")["estimate"])
    assert row["p_holm"] <= 0.05
    assert of(found, "cnn", "energy")["difference_low"] > 0


def test_a_map_beside_the_nodule_never_does_and_a_flat_one_does_by_chance(found: dict[str, Any]) -> None:
    beside, flat = of(found, "fused", "pointing"), of(found, "vit", "pointing")
    assert beside["estimate"] == 0
    assert beside["difference"] < 0
    assert of(found, "vit", "energy")["estimate"] == pytest.approx(16**2 / 56**2)  # of the square
    assert of(found, "random", "energy")["estimate"] == pytest.approx(16**2 / (42 * 56))  # of the picture
    assert 0 < flat["estimate"] < of(found, "random", "pointing")["estimate"]
    assert found["n_flat"] == {"cnn": 0, "vit": found["n_images"], "fused": 0}


def test_the_difference_is_to_the_better_baseline_of_each_measure(found: dict[str, Any]) -> None:
    for measure in ("pointing", "energy"):
        better = max(("random", "centre"), key=lambda name: of(found, name, measure)["estimate"])
        assert of(found, "cnn", measure)["against"] == better
        assert of(found, better, measure)["difference"] is None


def test_groups_hold_their_own_patients(run: Run, found: dict[str, Any]) -> None:
    keys = run.manifest().select("image_path", "patient_id", "malignant")
    maps = pl.read_parquet(run.path("explanations/maps.parquet")).unique("image_path").join(keys, on="image_path")
    for group, malignant in (("malignant", True), ("not malignant", False)):
        assert (
            of(found, "cnn", "energy", group)["n_patients"] == maps.filter(malignant=malignant)["patient_id"].n_unique()
        )
    assert of(found, "cnn", "energy", "named otherwise")["estimate"] is None
    assert "not estimable" in of(found, "cnn", "energy", "named otherwise")["note"]
    assert of(found, "cnn", "energy", "malignant")["p_holm"] is None


def test_alike_follows_the_cascade(found: dict[str, Any]) -> None:
    rows = {(row["map"], row["randomised"]): row for row in found["alike"]}
    assert abs(rows["cnn", "head"]["estimate"]) < 0.4
    assert rows["fused", "branches 1/4"]["estimate"] == pytest.approx(1)
    assert abs(rows["fused", "branches 4/4"]["estimate"]) < 0.4
    assert rows["fused", "another picture"]["estimate"] == pytest.approx(1)
    assert (rows["vit", "head"]["estimate"], rows["vit", "head"]["n_flat"]) == (0, rows["vit", "head"]["n_patients"])


def test_row_order_changes_nothing(run: Run, found: dict[str, Any], tmp_path: Path) -> None:
    other = make_run(tmp_path, n_bootstrap=400)
    explain_by_hand(other)
    for name in ("maps", "masks"):
        path = other.path(f"explanations/{name}.parquet")
        pl.read_parquet(path).sample(fraction=1.0, shuffle=True, seed=1).write_parquet(path)
    files = ("explanations/maps.parquet", "explanations/masks.parquet")
    other.finish("explain", inputs=("split.csv",), outputs=files, notes={"missing": {}})
    evaluate_run(other)
    again = json.loads(other.path("explanations.json").read_text())
    for first, second in zip(found["on_nodule"], again["on_nodule"], strict=True):
        assert second == pytest.approx(first)
    assert {each["image_path"] for each in again["shown"]} == {each["image_path"] for each in found["shown"]}


def test_the_report_says_what_was_found_and_shows_a_strip_a_class(run: Run) -> None:
    page = report_run(run).read_text()
    section = re.search(r'<section>\s*<h2 id="explanations">.*?</section>', page, re.DOTALL)
    assert section is not None
    assert "Points at the nodule more often than the better baseline: CNN map." in section[0]
    assert "explains no answer: Fused map." in section[0]
    assert section[0].count('<div class="pictures">') == 5
    assert section[0].count("the picture is missing") == 4  # those of ATC
    assert {path.stem for path in run.path("figures").glob("explanations*.svg")} == {
        "explanations",
        "explanations-cascade",
    }
    table = pl.read_csv(run.path("tables/explanations.csv"), infer_schema=False)
    assert table["Map"].to_list() == ["CNN map", "ViT map", "Fused map", "Random", "Centre"]
    assert "measured against the nodule masks" in run.path("claim-2024.md").read_text()


def test_without_masks_the_maps_are_shown_and_nothing_is_estimated(tmp_path: Path) -> None:
    made = make_run(tmp_path)
    explain_by_hand(made, masks=False)
    evaluate_run(made)
    content = json.loads(made.path("explanations.json").read_text())
    assert content["n_images_with_nodule"] == 0
    assert all(row["estimate"] is None and "not estimable" in row["note"] for row in content["on_nodule"])
    assert any(row["estimate"] is not None for row in content["alike"])
    section = explanations(EvaluatedRun(run=made))
    assert section is not None
    (told, *_), strips = section.blocks, [each for each in section.blocks if isinstance(each, Pictures)]
    assert isinstance(told, Words)
    assert "Not measurable whether the maps lie on the nodule" in told.text
    assert [each.lines for each in strips[0].pictures[1:]] == [("no nodule in a mask",)] * 3


def test_words_follow_the_figures(run: Run) -> None:
    bare = replace(read_document(run.path("explanations.json"), Explanations), alike=[])
    row = OnNodule(
        map="cnn",
        group="all",
        measure="pointing",
        estimate=0.6,
        low=0.5,
        high=0.7,
        against="centre",
        difference=0.1,
        difference_low=0.02,
        difference_high=0.2,
        p=0.005,
        p_holm=0.01,
        detectable=0.15,
        n_patients=40,
        n_images=80,
        note="",
    )
    baseline = replace(row, map="centre", estimate=0.5)
    assert "60 % of patients, the picture's centre in 50 %: more often" in where("cnn", [row, baseline], alpha=0.05)
    assert "LESS often" in where("cnn", [replace(row, difference=-0.1), baseline], alpha=0.05)
    assert "0.15 would have shown" in where("cnn", [replace(row, p_holm=0.3), baseline], alpha=0.05)
    assert verdict(["cnn"], [replace(row, p_holm=0.3)], bare, alpha=0.05).startswith("No map")
    level = Alike(map="cnn", level=1, randomised="fusion", estimate=0.7, low=0.4, high=0.9, n_patients=8, n_flat=0)
    last = replace(level, level=2, randomised="branches 4/4", estimate=0.1, low=0.0, high=0.2)
    assert "whether it stays cannot be told" in learned("cnn", [level, last], 0.5)
    assert "it STAYS MUCH THE SAME: rank correlation 0.70" in learned("cnn", [replace(level, low=0.6), last], 0.5)
    assert "with all weights, little of it stays: 0.10" in learned("cnn", [level, last], 0.5)


def test_the_overlay_lies_where_the_map_and_the_mask_lie(tmp_path: Path) -> None:
    Image.fromarray(np.full((84, 112), 100, dtype=np.uint8)).save(tmp_path / "a.png")
    mask = np.zeros((SIZE_PX, SIZE_PX), dtype=bool)
    mask[NODULE] = True
    square = np.zeros((SIZE_PX, SIZE_PX))
    square[40, 10] = 1.0
    png, missing = overlay(tmp_path, "a.png", square, mask, (7, 0, 42, 56))
    assert missing == ""
    assert png is not None
    (tmp_path / "b.png").write_bytes(png)
    shown = np.asarray(Image.open(tmp_path / "b.png"))
    assert shown.shape == (84, 112, 3)
    lined = np.argwhere((shown == OUTLINE).all(axis=2))
    assert lined.min(axis=0).tolist() == [18, 64]  # (16 - 7) and 32 px, twice as large
    assert lined.max(axis=0).tolist() == [49, 95]
    coloured = np.argwhere((shown != 100).any(axis=2) & ~(shown == OUTLINE).all(axis=2))
    assert coloured.mean(axis=0) == pytest.approx([66.5, 20.5], abs=1)
    assert overlay(tmp_path, "c.png", square, mask, (7, 0, 42, 56)) == (None, "the picture is missing")


def test_a_packed_mask_and_a_list_of_cells_come_back_as_they_were(run: Run) -> None:
    row = pl.read_parquet(run.path("explanations/masks.parquet")).row(0, named=True)
    target = target_of(row)
    assert target is not None
    assert target.mask[NODULE].all()
    assert target.mask.sum() == 16**2
    assert target_of(row | {"mask": np.packbits(np.zeros((SIZE_PX, SIZE_PX), dtype=bool)).tobytes()}) is None
    assert cells_of({"cells": [1, 2, 3, 4, 5, 6], "n_rows": 2, "n_columns": 3}).tolist() == [[1, 2, 3], [4, 5, 6]]
