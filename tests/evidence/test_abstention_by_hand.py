"""Refusal of a cohort of twenty patients: thresholds, what is recognised, and the curve, again by plain loops."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from csasn.calibration.embeddings import by_patient
from csasn.calibration.novelty import DETECTORS
from csasn.config import EvaluateSettings, NoveltySettings
from csasn.evidence.abstention import abstention_content, novelties
from csasn.evidence.evaluate import write_sections
from csasn.evidence.statistics.bootstrap import patient_weights
from csasn.runs import Run
from csasn.schema import STATISTICS
from tests.support.evaluation import calibrated
from tests.support.plain_statistics import auroc_of, wilson_of
from tests.support.synthetic_run import make_run

FOLDS, WIDTH = (0, 1, 2), 4
COUNTS = {"benign": 9, "PTC": 8, "FTC": 2, "MTC": 1}  # two patients are enough to be recognised, one is not


def embedded(table: pl.DataFrame, fold: int, seed: int) -> pl.DataFrame:
    """Images with energy and embedding; a patient is tested in its own fold, tuned on in the next."""
    rng = np.random.default_rng([seed, fold])
    place = (fold - table["patient_id"].rank("dense").cast(pl.Int64)) % 3
    y = table["subtype"].replace_strict({name: k for k, name in enumerate(COUNTS)}).to_numpy()
    return table.select(
        place.replace_strict({0: "test", 1: "tuning", 2: "train"}).alias("partition"),
        "image_path",
        pl.Series("energy", np.round(rng.normal(size=len(table)) + 0.5 * y, 1)),
        pl.Series("embedding", rng.normal(size=(len(table), WIDTH)) + np.eye(4)[y], dtype=pl.Array(pl.Float32, WIDTH)),
    )


def looks(paths: pl.DataFrame, seed: int) -> pl.DataFrame:
    drawn = np.random.default_rng(seed).normal(size=(len(paths), len(STATISTICS)))
    return paths.with_columns(pl.Series(name, column) for name, column in zip(STATISTICS, drawn.T, strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of two settings that differ from the defaults: a tenth is refused, intervals are 90 % ones."""
    made = make_run(tmp_path_factory.mktemp("abstention"), counts=COUNTS)
    settings = {"evaluate": EvaluateSettings(n_bootstrap=100, confidence=0.9)}
    settings["novelty"] = NoveltySettings(abstained_fraction=0.3, n_neighbours=3)
    made = Run(folder=made.folder, configuration=made.configuration.model_copy(update=settings))
    looks(made.manifest().select("image_path"), seed=1).write_parquet(made.path("image_statistics.parquet"))
    made.path("embeddings").mkdir()
    names = [f"embeddings/fold{fold}.parquet" for fold in FOLDS]
    for fold, name in zip(FOLDS, names, strict=True):
        embedded(made.manifest(), fold, seed=2).write_parquet(made.path(name))
    made.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet", "image_statistics.parquet", *names))
    return made


@pytest.fixture(scope="module")
def content(run: Run) -> dict[str, Any]:
    """With classes left out, and two groups of foreign pictures: three of noise, and a lone photograph."""
    written = ["abstention/foreign_statistics.parquet"]
    for name in ("FTC", "MTC"):
        run.path(f"abstention/without-{name}").mkdir(parents=True)
        for fold in FOLDS:
            written.append(f"abstention/without-{name}/fold{fold}.parquet")
            embedded(run.manifest(), fold, seed=5).write_parquet(run.path(written[-1]))
    pictures = pl.DataFrame({"group": ["noise"] * 3 + ["photo"], "image_path": ["0.png", "1.png", "2.png", "0.png"]})
    looks(pictures, seed=6).write_parquet(run.path(written[0]))
    run.path("abstention/foreign").mkdir()
    rng = np.random.default_rng(7)
    for fold in FOLDS:
        written.append(f"abstention/foreign/fold{fold}.parquet")
        pictures.rename({"group": "partition"}).with_columns(
            pl.Series("energy", np.round(rng.normal(1.0, 1.0, 4), 1)),
            pl.Series("embedding", rng.normal(size=(4, WIDTH)), dtype=pl.Array(pl.Float32, WIDTH)),
        ).write_parquet(run.path(written[-1]))
    run.finish("abstention", inputs=("split.csv",), outputs=tuple(written))
    found: dict[str, Any] = asdict(abstention_content(calibrated(run)))
    return found


def energies(run: Run, seed: int, fold: int) -> tuple[dict[str, float], float, float, float]:
    """A fold's tested patients' standardised energy; its threshold; mean and SD of the tuning images' energies."""
    rows = embedded(run.manifest(), fold, seed=seed).join(
        run.manifest().select("image_path", "patient_id"), on="image_path"
    )
    of: dict[str, dict[str, list[float]]] = {"test": {}, "tuning": {}, "train": {}}
    for row in rows.iter_rows(named=True):
        of[row["partition"]].setdefault(row["patient_id"], []).append(row["energy"])
    images = [each for values in of["tuning"].values() for each in values]
    mean, sd = float(np.mean(images)), float(np.std(images))
    scaled = {
        part: {name: (np.mean(values) - mean) / sd for name, values in of[part].items()} for part in ("test", "tuning")
    }
    ranked = sorted(scaled["tuning"].values())
    threshold = ranked[math.ceil(0.7 * (len(ranked) - 1) - 1e-9)]
    return {name: float(each) for name, each in scaled["test"].items()}, float(threshold), mean, sd


def known_patients(run: Run, seed: int) -> dict[str, tuple[str, float, bool]]:
    """By patient: class, energy, and whether it lies beyond its fold's threshold."""
    label = dict(run.manifest().select("patient_id", "subtype").iter_rows())
    found = {}
    for fold in FOLDS:
        test, threshold, _, _ = energies(run, seed, fold)
        found |= {name: (label[name], value, value > threshold + 1e-12) for name, value in test.items()}
    return dict(sorted(found.items()))


def test_a_patient_has_the_label_of_its_malignant_nodule_and_the_novelty_of_its_strangest() -> None:
    rows = {
        "patient_id": ["a", "a", "a", "b", "b", "c"],
        "nodule_id": ["a1", "a1", "a2", "b1", "b2", "c1"],
        "malignant": [False, False, True, True, True, False],
        "subtype": ["benign", "benign", "PTC", "FTC", "PTC", None],
    }
    found = by_patient(pl.DataFrame(rows | {name: [1.0, 3.0, 1.5, -1.0, -2.0, 0.5] for name in DETECTORS}))
    assert found["unit"].to_list() == ["a", "b", "c"]
    assert found["target"].to_list() == ["PTC", "FTC", "benign"]
    for name in DETECTORS:
        assert found[name].to_list() == [2.0, -1.0, 0.5]


def test_novelty_is_told_for_each_tested_patient(run: Run) -> None:
    table = novelties(calibrated(run), "embeddings", FOLDS)
    expected = known_patients(run, 2)
    told = {row["unit"]: row for row in table.iter_rows(named=True)}
    assert sorted(told) == list(expected)
    for name, (label, value, beyond) in expected.items():
        assert told[name]["target"] == label
        assert told[name]["energy"] == pytest.approx(value)
        assert (told[name]["energy"] > told[name]["threshold_energy"]) == beyond
    for row in told.values():
        assert row["combined"] >= max(row["mahalanobis"], row["gate"]) - 1e-9  # a mean of maxima, or their maximum


def recognised_by_hand(
    novel: list[float], known: list[float], units: list[str], is_novel: list[bool]
) -> dict[str, Any]:
    """AUROC with its interval by draws of units on either side, and the share refused at 95 % sensitivity."""
    values = [*known, *novel]
    names = sorted(set(units))
    side = np.array([is_novel[units.index(name)] for name in names])
    draws = []
    for w in patient_weights(side.astype(np.int64), n_draws=100, seed=0):
        of = dict(zip(names, w.tolist(), strict=True))
        draws.append(auroc_of(is_novel, values, [float(of[each]) for each in units]))
    cut = sorted(novel, reverse=True)[math.ceil(0.95 * len(novel) - 1e-9) - 1]
    return {
        "auroc": auroc_of(is_novel, values, [1.0] * len(values)),
        "ends": tuple(np.quantile(draws, [0.05, 0.95])),
        "fpr": sum(each >= cut - 1e-12 for each in known) / len(known),
    }


def test_a_class_left_out_is_recognised_or_not(run: Run, content: dict[str, Any]) -> None:
    rows = {(row["kind"], row["novel"], row["detector"]): row for row in content["recognised"]}
    assert [key[1:] for key in rows] == [(n, d) for n in ("FTC", "MTC", "noise", "photo") for d in DETECTORS]
    patients = known_patients(run, 5)
    for name in ("FTC", "MTC"):
        told = rows["held-out class", name, "energy"]
        novel = [each for each in patients.values() if each[0] == name]
        known = [(unit, each) for unit, each in patients.items() if each[0] != name]
        assert (told["n_novel"], told["n_known"], told["unit"]) == (len(novel), 20 - len(novel), "patient")
        assert told["abstained"] == pytest.approx(sum(each[2] for each in novel) / len(novel))
        if name == "MTC":
            assert told["note"] == "not estimable: 1 patient(s) of MTC and 19 known patients"
            assert [told[each] for each in ("auroc", "low", "high", "fpr_at_95")] == [None] * 4
            continue
        units = [unit for unit, _ in known] + [unit for unit, each in patients.items() if each[0] == name]
        expected = recognised_by_hand(
            [each[1] for each in novel], [each[1] for _, each in known], units, [False] * 18 + [True] * 2
        )
        assert told["note"] == ""
        assert (told["auroc"], told["fpr_at_95"]) == pytest.approx((expected["auroc"], expected["fpr"]))
        assert (told["low"], told["high"]) == pytest.approx(expected["ends"])


def test_foreign_pictures_are_set_beside_all_known_patients(run: Run, content: dict[str, Any]) -> None:
    rows = {(row["novel"], row["detector"]): row for row in content["recognised"] if row["kind"] == "foreign"}
    patients, foreign = known_patients(run, 2), []
    for fold in FOLDS:
        _, threshold, mean, sd = energies(run, 2, fold)
        pictures = pl.read_parquet(run.path(f"abstention/foreign/fold{fold}.parquet"))
        foreign += [
            (row["partition"], f"{row['partition']}/{row['image_path']}", (row["energy"] - mean) / sd, threshold)
            for row in pictures.iter_rows(named=True)
        ]
    noise = [each for each in foreign if each[0] == "noise"]
    told, known = rows["noise", "energy"], list(patients.items())
    units = [name for name, _ in known] + [each[1] for each in noise]
    expected = recognised_by_hand(
        [each[2] for each in noise], [each[1] for _, each in known], units, [False] * 20 + [True] * 9
    )
    assert (told["n_novel"], told["n_known"], told["unit"], told["note"]) == (3, 20, "image", "")
    assert (told["auroc"], told["fpr_at_95"]) == pytest.approx((expected["auroc"], expected["fpr"]))
    assert (told["low"], told["high"]) == pytest.approx(expected["ends"])
    assert told["abstained"] == pytest.approx(sum(each[2] > each[3] for each in noise) / 9)
    assert rows["photo", "energy"]["note"] == "not estimable: 1 image(s) of photo and 20 known patients"
    assert rows["photo", "energy"]["auroc"] is None


def test_known_patients_beyond_the_thresholds_are_counted(run: Run, content: dict[str, Any]) -> None:
    assert (content["asked"], content["abstained_fraction"]) == (True, 0.3)
    patients = known_patients(run, 2)
    targets = ["all", "FTC", "MTC", "PTC", "benign"]
    assert [(row["detector"], row["target"]) for row in content["abstained"]] == [
        (d, t) for d in DETECTORS for t in targets
    ]
    for row in content["abstained"]:
        if row["detector"] != "energy":
            continue
        own = [beyond for label, _, beyond in patients.values() if row["target"] in ("all", label)]
        assert (row["n_abstained"], row["n"]) == (sum(own), len(own))
        assert row["share"] == pytest.approx(sum(own) / len(own))
        assert (row["low"], row["high"]) == pytest.approx(wilson_of(sum(own), len(own), 0.95), abs=1e-9)


def test_the_curve_of_risk_by_coverage(run: Run, content: dict[str, Any]) -> None:
    """Twenty patients: each twentieth of coverage keeps one more of them."""
    frame = pl.read_parquet(run.path("predictions.parquet")).filter(
        pl.col("model") == "csasn", pl.col("partition") == "test"
    )
    names, told = list(COUNTS), {}
    for patient in frame["patient_id"].unique():
        own = frame.filter(pl.col("patient_id") == patient)
        logs = np.log(own.select(f"probability_{name}" for name in names).to_numpy()).mean(axis=0)
        p = np.exp(logs) / np.exp(logs).sum()
        told[patient] = (names[int(p.argmax())] != own["subtype"][0], 1 - float(p.max()))
    curves = content["risk_coverage"]
    grid = [round(0.05 + 0.01 * place, 2) for place in range(96)]
    assert curves["coverage"] == grid
    assert (grid[-1], curves["n"]) == (1.0, 20)
    energy = {name: value for name, (_, value, _) in known_patients(run, 2).items()}
    doubt = {name: value for name, (_, value) in told.items()}
    for kind, novelty in (("energy", energy), ("least probability", doubt)):
        ordered = sorted(novelty, key=lambda name: novelty[name])
        risks = []
        for n in range(1, 21):
            edge = novelty[ordered[n - 1]] + 1e-12  # a tie is kept as a whole
            kept = [name for name in ordered if novelty[name] <= edge]
            risks.append(sum(told[name][0] for name in kept) / len(kept))
        expected = [risks[math.ceil(20 * share - 1e-6) - 1] for share in grid]
        assert curves["curves"][kind]["risk"] == pytest.approx(expected)
        assert curves["curves"][kind]["area"] == pytest.approx(sum(risks) / 20)
    assert set(curves["curves"]) == {*DETECTORS, "least probability"}


def test_only_what_was_read_is_written(run: Run, content: dict[str, Any], tmp_path: Path) -> None:
    assert content["asked"]
    assert write_sections(calibrated(run)) == ("abstention.json", "similar.json")
    assert run.path("abstention.json").is_file()
    assert write_sections(calibrated(make_run(tmp_path, counts=COUNTS))) == ()
