"""Abstention, similar patients and the shortcut audit from embeddings made by hand, against plain loops."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from csasn.evidence.abstention import COVERAGES, LEAST_PROBABILITY, abstention_content, novelties
from csasn.evidence.evaluate import write_sections
from csasn.evidence.shortcut_audit import shortcuts_content
from csasn.evidence.similar import similar_content
from csasn.runs import Run
from csasn.schema import ALTERED_COLUMNS
from tests.support.evaluation import calibrated, evaluate_run
from tests.support.synthetic_readings import (
    FOLDS,
    RARE,
    STRANGE,
    WIDTH,
    embedded,
    outputs_of,
    with_abstention,
    with_embeddings,
)
from tests.support.synthetic_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return with_embeddings(make_run(tmp_path_factory.mktemp("sections")))


def patients_of(run: Run, column: str = "energy") -> pl.DataFrame:
    """fold, partition, patient_id, subtype and a patient's mean over its two images, which show one nodule."""
    keys = run.manifest().select("image_path", "patient_id", "subtype", "site", "nodule_id")
    frames = [pl.read_parquet(run.path(f"embeddings/fold{f}.parquet")).with_columns(fold=pl.lit(f)) for f in FOLDS]
    joined = pl.concat(frames).join(keys, on="image_path")
    if column == "embedding":
        flat = joined.with_columns(pl.col("embedding").arr.get(k).cast(pl.Float64).alias(f"e{k}") for k in range(WIDTH))
        wanted = [pl.col(f"e{k}").mean() for k in range(WIDTH)]
    else:
        flat, wanted = joined, [pl.col(column).mean()]
    keyed = flat.group_by("fold", "partition", "patient_id", "subtype", "site", "nodule_id")
    return keyed.agg(wanted).sort("fold", "partition", "patient_id")


def test_what_a_threshold_refuses_is_counted_patient_by_patient(run: Run) -> None:
    found = asdict(abstention_content(calibrated(run)))
    assert (found["asked"], found["recognised"], found["abstained_fraction"]) == (False, [], 0.05)
    patients, beyond = patients_of(run), []
    for fold in FOLDS:
        own = patients.filter(pl.col("fold") == fold)
        tuning, test = (own.filter(pl.col("partition") == part) for part in ("tuning", "test"))
        ranked = np.sort(tuning["energy"].to_numpy())
        threshold = ranked[int(np.ceil(0.95 * (len(ranked) - 1)))]
        beyond.append(test.select("patient_id", "subtype", beyond=pl.col("energy") > threshold))
    counted = pl.concat(beyond)
    assert len(counted) == 144
    rows = {(row["detector"], row["target"]): row for row in found["abstained"]}
    assert len(rows) == 5 * 6
    for target in ("all", "benign", "PTC", *RARE):
        own = counted if target == "all" else counted.filter(pl.col("subtype") == target)
        row = rows["energy", target]
        assert (row["n_abstained"], row["n"]) == (own["beyond"].sum(), len(own))
        assert row["share"] == pytest.approx(row["n_abstained"] / row["n"])
        assert row["low"] <= row["share"] <= row["high"]


def test_a_patient_far_from_all_others_is_refused_by_every_detector_that_looks_there(run: Run) -> None:
    table = novelties(calibrated(run), "embeddings", FOLDS)
    assert table["unit"].n_unique() == len(table) == 144
    own = table.filter(pl.col("unit") == STRANGE)
    assert all(own[name].item() > own[f"threshold_{name}"].item() for name in ("mahalanobis", "neighbours", "gate"))
    for name in ("mahalanobis", "neighbours", "gate", "combined"):
        assert own[name].item() == table[name].max()


def test_neighbours_are_the_tenth_nearest_training_image(run: Run) -> None:
    keys = run.manifest().select("image_path", "patient_id")
    frame = pl.read_parquet(run.path("embeddings/fold1.parquet")).join(keys, on="image_path")
    parts = {part: frame.filter(pl.col("partition") == part) for part in ("train", "tuning", "test")}
    points = {part: each["embedding"].to_numpy().astype(np.float64) for part, each in parts.items()}
    scale = points["train"].std(axis=0)
    unit = {part: each / scale / np.linalg.norm(each / scale, axis=1)[:, None] for part, each in points.items()}
    tenth = {
        part: np.sort(np.linalg.norm(unit[part][:, None] - unit["train"][None], axis=2), axis=1)[:, 9]
        for part in ("tuning", "test")
    }
    standard = (tenth["test"] - tenth["tuning"].mean()) / tenth["tuning"].std()
    expected = (
        parts["test"].select("patient_id", pl.Series("far", standard)).group_by("patient_id").mean().sort("patient_id")
    )
    found = novelties(calibrated(run), "embeddings", FOLDS).filter(pl.col("fold") == 1).sort("unit")
    np.testing.assert_allclose(found["neighbours"].to_numpy(), expected["far"].to_numpy(), rtol=1e-6)


def test_risk_falls_or_rises_with_what_is_kept(run: Run) -> None:
    found: Any = asdict(abstention_content(calibrated(run)))["risk_coverage"]
    evaluate_run(run)
    confusion = np.array(json.loads(run.path("metrics.json").read_text())["confusion"]["patient"]["counts"])
    error = 1 - np.trace(confusion) / confusion.sum()
    assert found["n"] == 144
    assert found["coverage"] == COVERAGES.round(2).tolist()
    curves = found["curves"]
    for name in ("energy", "combined", LEAST_PROBABILITY):
        assert len(curves[name]["risk"]) == len(COVERAGES)
        assert curves[name]["risk"][-1] == pytest.approx(error)
        assert 0 <= curves[name]["area"] <= 1
    assert curves[LEAST_PROBABILITY]["area"] < error < curves[LEAST_PROBABILITY]["risk"][-1] + 1e-9
    assert curves[LEAST_PROBABILITY]["risk"][10] < error  # doubt finds the errors, energy that was drawn does not
    run.finish("predict", inputs=("split.csv",), outputs=outputs_of(run))


def test_refusal_is_measured_on_classes_left_out_and_on_foreign_pictures(run: Run) -> None:
    with_abstention(run)
    found: Any = asdict(abstention_content(calibrated(run)))
    rows = {(row["kind"], row["novel"], row["detector"]): row for row in found["recognised"]}
    assert found["asked"]
    assert len(rows) == (3 + 1) * 5
    left_out = rows["held-out class", "FTC", "energy"]
    assert (left_out["n_novel"], left_out["n_known"], left_out["unit"], left_out["note"]) == (24, 120, "patient", "")
    assert left_out["low"] <= left_out["auroc"] <= left_out["high"]
    keys = run.manifest().select("image_path", "patient_id", "subtype")
    tested, thresholds = [], {}
    for fold in FOLDS:
        frame = embedded(run.manifest(), fold, seed=5).join(keys, on="image_path")
        means = frame.group_by("partition", "patient_id", "subtype").agg(pl.col("energy").mean())
        images = frame.filter(pl.col("partition") == "tuning")["energy"]
        scaled = (pl.col("energy") - images.mean()) / images.std(ddof=0)
        tuning = means.filter(pl.col("partition") == "tuning").select(scaled)["energy"].to_numpy()
        test = means.filter(pl.col("partition") == "test").with_columns(scaled)
        thresholds[fold] = np.quantile(tuning, 0.95, method="higher")
        tested.append(test.with_columns(threshold=pl.lit(thresholds[fold])))
    table = pl.concat(tested)
    novel = (table["subtype"] == "FTC").to_numpy()
    energy = table["energy"].to_numpy()
    assert left_out["auroc"] == pytest.approx(roc_auc_score(novel, energy))
    assert left_out["abstained"] == pytest.approx((energy > table["threshold"].to_numpy())[novel].mean())
    cut = np.sort(energy[novel])[::-1][int(np.ceil(0.95 * 24)) - 1]
    assert left_out["fpr_at_95"] == pytest.approx((energy[~novel] >= cut).mean())
    foreign = rows["foreign", "noise", "energy"]
    assert (foreign["n_novel"], foreign["n_known"], foreign["unit"]) == (20, 144, "image")
    assert 0.5 < foreign["auroc"] < 1
    run.finish("predict", inputs=("split.csv",), outputs=outputs_of(run))


def test_a_rare_nodule_read_wrongly_is_told_with_the_training_nodules_nearest_to_it(run: Run) -> None:
    found: Any = asdict(similar_content(calibrated(run)))
    assert (found["rare_classes"], found["n_similar"]) == (list(RARE), 4)
    frame = pl.read_parquet(run.path("predictions.parquet"))
    main = frame.filter(pl.col("model") == "csasn", pl.col("partition") == "test")
    logits = [f"logit_{name}" for name in ("benign", "PTC", *RARE)]
    normal = pl.sum_horizontal(pl.col(each).exp() for each in logits).log()
    nodules = (
        main.with_columns(pl.col(each) - normal for each in logits)
        .group_by("nodule_id", "subtype")
        .agg(pl.col(logits).mean())
    )
    wrong = {
        row["nodule_id"]
        for row in nodules.iter_rows(named=True)
        if row["subtype"] in RARE and max(logits, key=lambda each: row[each]) != f"logit_{row['subtype']}"
    }
    errors = found["errors"]
    assert {each["nodule_id"] for each in errors} == wrong
    assert len(errors) == len(wrong) > 3
    assert [each["p_reference"] for each in errors] == sorted(each["p_reference"] for each in errors)
    assert all(each["reference"] != each["predicted"] and each["reference"] in RARE for each in errors)
    everyone = patients_of(run, "embedding")
    columns = [f"e{k}" for k in range(WIDTH)]
    for each in errors:
        own = everyone.filter(pl.col("fold") == each["fold"])
        train = own.filter(pl.col("partition") == "train")
        here = own.filter(pl.col("nodule_id") == each["nodule_id"])
        points = train.select(columns).to_numpy()
        centre, scale = points.mean(axis=0), points.std(axis=0)
        a, b = (here.select(columns).to_numpy()[0] - centre) / scale, (points - centre) / scale
        cosine = b @ a / np.linalg.norm(a) / np.linalg.norm(b, axis=1)
        order = np.argsort(-cosine)[:4]
        assert [near["nodule_id"] for near in each["similar"]] == train["nodule_id"].to_numpy()[order].tolist()
        assert [near["reference"] for near in each["similar"]] == train["subtype"].to_numpy()[order].tolist()
        np.testing.assert_allclose([near["cosine"] for near in each["similar"]], cosine[order], atol=1e-5)


def altered(run: Run, *, marks: float, border: float) -> None:
    """altered.parquet of every test image: marks add `marks` to malignant logits, the border tells `border` of it."""
    rng, table = np.random.default_rng(11), run.manifest()
    sick = table["malignant"].to_numpy()
    fold = [int(each) for each in (table["patient_id"].rank("dense").cast(pl.Int64) % 3).to_list()]
    base = rng.normal(size=len(table)) + 1.5 * sick
    variants = {
        "as-is": base + marks * sick,
        "without-marks": base + rng.normal(size=len(table)) * 0.01,
        "without-nodule": rng.normal(size=len(table)),
        "border": rng.normal(size=len(table)) + border * sick,
    }
    rows = [
        table.select("image_path").with_columns(
            pl.Series("fold", fold, dtype=pl.Int32),
            pl.lit(name).alias("variant"),
            pl.Series("malignancy", values),
            pl.Series("marked_share", np.abs(rng.normal(size=len(table))) / 50),
            pl.Series("border_free", np.arange(len(table)) % 24 > 0),
        )
        for name, values in variants.items()
    ]
    pl.concat(rows).select(list(ALTERED_COLUMNS)).write_parquet(run.path("altered.parquet"))
    run.finish("audit", inputs=("predictions.parquet",), outputs=("altered.parquet",))


def test_the_audit_alarms_where_marks_or_border_tell_and_is_silent_where_they_do_not(run: Run) -> None:
    answers = {}
    for name, (marks, border) in {"clean": (0.0, 0.0), "marks": (2.0, 0.0), "border": (0.0, 2.0)}.items():
        altered(run, marks=marks, border=border)
        answers[name] = asdict(shortcuts_content(run))
    alarms: dict[str, list[bool]] = {
        name: [each["alarm"] for each in each_answer["questions"]] for name, each_answer in answers.items()
    }
    assert alarms == {"clean": [False] * 3, "marks": [False, True, False], "border": [False, False, True]}
    assert [answers[name]["alarm"] for name in answers] == [False, True, True]
    found: Any = answers["marks"]
    assert [each["two_sided"] for each in found["questions"]] == [True, False, False]
    assert [each["n_patients"] for each in found["questions"]] == [144, 144, 132]
    assert found["n_without_border_check"] == 12  # of every twenty-fourth image's patient
    altered(run, marks=2.0, border=0.0)
    frame = pl.read_parquet(run.path("altered.parquet")).join(
        run.manifest().select("image_path", "patient_id", "malignant"), on="image_path"
    )
    means = frame.group_by("patient_id", "variant").agg(pl.col("malignancy").mean())
    wide = means.pivot(on="variant", index="patient_id", values="malignancy").sort("patient_id")
    for variant in found["variants"]:
        change = np.abs(expit(wide[variant["variant"]].to_numpy()) - expit(wide["as-is"].to_numpy()))
        assert variant["median_change"] == pytest.approx(np.median(change))
        assert (variant["n_patients"], variant["note"]) == (144, "")
    assert [each["variant"] for each in found["variants"]] == ["as-is", "without-marks", "without-nodule", "border"]
    assert found["variants"][0]["auroc_within_sites"] > 0.9 > found["variants"][2]["auroc_within_sites"]
    assert [each["fold"] for each in found["site_readable"]] == list(FOLDS)
    assert all("fewer than two sites have 5 patients" in each["note"] for each in found["site_readable"])


def test_each_file_is_written_where_its_stage_is_done(run: Run, tmp_path: Path) -> None:
    bare = make_run(tmp_path, counts={"benign": 12, "PTC": 9})
    assert write_sections(calibrated(bare)) == ()
    run.finish("predict", inputs=("split.csv",), outputs=outputs_of(run))
    assert write_sections(calibrated(run)) == ("abstention.json", "similar.json")
    altered(run, marks=0.0, border=0.0)
    assert write_sections(calibrated(run)) == ("abstention.json", "similar.json", "shortcuts.json")
    assert json.loads(run.path("shortcuts.json").read_text())["alarm"] is False
