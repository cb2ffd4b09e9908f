"""What evaluate says of maps, again by plain loops over images and patients."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm, spearmanr

from csasn.config import EvaluateSettings
from csasn.evidence.explanations import explanations_content
from csasn.evidence.statistics.bootstrap import patient_weights
from csasn.evidence.statistics.pointing import Target, baseline, energy, enlarged, pointing
from csasn.runs import Run
from csasn.schema import MAP_COLUMNS, MASK_COLUMNS
from tests.support.plain_statistics import bca_of, p_of_draws, stepped, wilson_of
from tests.support.synthetic_run import make_run

SIZE_PX, PLACE = 24, (3, 0, 18, 24)
MEASURES, KINDS, BASELINES = ("pointing", "energy"), ("cnn", "fused"), ("random", "centre")
SETTINGS = EvaluateSettings(n_bootstrap=100, confidence=0.9)
LEVELS = {1: "head", 2: "fusion"}
UNKNOWN = ("N0004", "N0010")  # a benign and a malignant nodule of which no more is known


def made(folder: Path, *, n_again: int = 6, n_folds: int = 2) -> Run:
    """Two images a patient, two maps each; two images without a nodule in the mask, some answers wrong."""
    run = make_run(folder, counts={"benign": 5, "PTC": 4, "FTC": 3})
    table = run.manifest().with_columns(
        pl.when(pl.col("nodule_id").is_in(UNKNOWN)).then(None).otherwise("subtype").alias("subtype")
    )
    table.write_parquet(run.path("manifest.parquet"))
    rng, masks, maps = np.random.default_rng(3), [], []
    for number, row in enumerate(table.iter_rows(named=True)):
        mask = np.zeros((SIZE_PX, SIZE_PX), dtype=bool)
        top, left = (rng.integers(3, 5), rng.integers(0, 3)) if row["malignant"] else rng.integers(5, 13, 2)
        mask[top : top + 7, left : left + 8] = number != 2
        packed = None if number == 5 else np.packbits(mask).tobytes()
        place = dict(zip(("top_px", "left_px", "height_px", "width_px"), PLACE, strict=True))
        masks.append({"image_path": row["image_path"], "size_px": SIZE_PX, **place, "mask": packed})
        named = row["subtype"] or ("PTC" if row["malignant"] else "not malignant")
        known = {"fold": number // 2 % n_folds, "image_path": row["image_path"]}
        known["target_class"] = "FTC" if number % 5 == 0 else named
        again = LEVELS if number % 2 == 0 and number < 2 * n_again else ()
        for level in (0, *again):
            for kind in KINDS:
                cells = rng.random((3, 4)).round(2)
                if kind == "fused" and number % 3:
                    cells = enlarged_mask(mask) + cells / 9
                if (number, kind) in ((4, "cnn"), (8, "fused")):
                    cells[:] = level / 2
                told = {
                    "map": kind,
                    "level": level,
                    "randomised": LEVELS.get(level, "none"),
                    "n_rows": 3,
                    "n_columns": 4,
                }
                maps.append({**known, **told, "cells": cells.ravel().tolist()})
    run.path("explanations").mkdir()
    pl.DataFrame(masks, schema=MASK_COLUMNS).write_parquet(run.path("explanations/masks.parquet"))
    pl.DataFrame(maps, schema=MAP_COLUMNS).sample(fraction=1.0, shuffle=True, seed=1).write_parquet(
        run.path("explanations/maps.parquet")
    )
    files = ("explanations/maps.parquet", "explanations/masks.parquet")
    run.finish("explain", inputs=("split.csv",), outputs=files, notes={"missing": {"vit": "no branch"}})
    configuration = run.configuration.model_copy(update={"evaluate": SETTINGS})
    return Run(folder=run.folder, configuration=configuration)


def enlarged_mask(mask: np.ndarray) -> np.ndarray:
    """The share of the nodule in each of 3 by 4 cells."""
    return mask.reshape(3, 8, 4, 6).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("maps"))


@pytest.fixture(scope="module")
def content(run: Run) -> dict[str, Any]:
    return asdict(explanations_content(run))


def rows_of(run: Run) -> dict[str, dict[str, Any]]:
    """By image: the manifest's row with its reference, the answer and fold, and cells by kind and level."""
    found = {}
    for row in run.manifest().iter_rows(named=True):
        reference = row["subtype"] or ("malignant" if row["malignant"] else "not malignant")
        found[row["image_path"]] = {**row, "reference": reference, "cells": {}}
    for row in pl.read_parquet(run.path("explanations/maps.parquet")).iter_rows(named=True):
        own = found[row["image_path"]]
        own |= {"target_class": row["target_class"], "fold": row["fold"]}
        own["cells"][row["map"], row["level"]] = np.array(row["cells"], dtype=np.float64).reshape(3, 4)
    return found


def measured(run: Run) -> dict[str, dict[str, Any]]:
    """The images with a nodule in their mask, each with its figures by "<map or baseline> <measure>"."""
    rows, found = rows_of(run), {}
    for told in pl.read_parquet(run.path("explanations/masks.parquet")).iter_rows(named=True):
        if told["mask"] is None:
            continue
        mask = np.unpackbits(np.frombuffer(told["mask"], np.uint8))[: SIZE_PX**2].reshape(SIZE_PX, SIZE_PX).astype(bool)
        if not mask.any():
            continue
        own, target = rows[told["image_path"]], Target(mask=mask, place=PLACE)
        for kind in KINDS:
            square = enlarged(own["cells"][kind, 0], SIZE_PX)
            own |= {f"{kind} pointing": pointing(square, target), f"{kind} energy": energy(square, target)}
        for name in BASELINES:
            both = baseline(name, target)
            own |= {f"{name} {measure}": value for measure, value in zip(MEASURES, both, strict=True)}
        found[told["image_path"]] = own
    return found


class Group:
    """Means over patients of the means over their images, and their draws within classes."""

    def __init__(self, images: list[dict[str, Any]], columns: list[str]) -> None:
        self.names = sorted({each["patient_id"] for each in images})
        of = {name: [each for each in images if each["patient_id"] == name] for name in self.names}
        self.values = {c: np.array([np.mean([each[c] for each in of[name]]) for name in self.names]) for c in columns}
        classes = sorted({each["reference"] for each in images})
        self.strata = np.array([classes.index(of[name][0]["reference"]) for name in self.names])
        self.weights = patient_weights(self.strata, n_draws=100, seed=0).astype(float)

    def estimate(self, column: str) -> float:
        return float(self.values[column].mean())

    def draws(self, column: str) -> list[float]:
        return [float(w @ self.values[column] / w.sum()) for w in self.weights]

    def ends(self, column: str) -> tuple[float, float]:
        """BCa's interval."""
        left_out: dict[int, list[float]] = {}
        for stratum in set(self.strata.tolist()):
            members = np.flatnonzero(self.strata == stratum)
            for gone in members if len(members) > 1 else []:
                w = np.where(self.strata == stratum, len(members) / (len(members) - 1), 1.0)
                w[gone] = 0
                left_out.setdefault(stratum, []).append(float(w @ self.values[column] / w.sum()))
        return bca_of(self.estimate(column), self.draws(column), left_out)


def groups_of(images: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {
        "all": images,
        "malignant": [each for each in images if each["malignant"]],
        "not malignant": [each for each in images if not each["malignant"]],
        "named as the reference": [each for each in images if each["target_class"] == each["reference"]],
        "named otherwise": [each for each in images if each["target_class"] != each["reference"]],
    }


def test_maps_and_baselines_in_every_group(run: Run, content: dict[str, Any]) -> None:
    told, p_of_all, seen = iter(content["on_nodule"]), [], set()
    columns = [f"{source} {measure}" for source in (*KINDS, *BASELINES) for measure in MEASURES]
    for group, images in groups_of(list(measured(run).values())).items():
        drawn = Group(images, columns)
        n = len(drawn.names)
        for source in (*KINDS, *BASELINES):
            for measure in MEASURES:
                row, column = next(told), f"{source} {measure}"
                assert (row["map"], row["group"], row["measure"]) == (source, group, measure)
                assert (row["n_patients"], row["n_images"]) == (n, len(images))
                assert row["estimate"] == pytest.approx(drawn.estimate(column))
                settled = measure == "pointing" and drawn.estimate(column) in (0.0, 1.0)
                ends = wilson_of(n * drawn.estimate(column), n) if settled else drawn.ends(column)
                seen |= {"wilson"} if settled else set()
                assert (row["low"], row["high"]) == (
                    (None, None) if np.ptp(ends) < 1e-9 else pytest.approx(ends, abs=1e-9)
                )
                if source in BASELINES:
                    assert row["note"] == ""
                    told_of = [row[f"{name}"] for name in ("against", "difference", "p", "p_holm", "detectable")]
                    assert told_of == [None] * 5
                    continue
                better = max(BASELINES, key=lambda name: drawn.estimate(f"{name} {measure}"))
                seen.add(better)
                apart = np.subtract(drawn.draws(column), drawn.draws(f"{better} {measure}"))
                assert row["against"] == better
                assert row["difference"] == pytest.approx(
                    drawn.estimate(column) - drawn.estimate(f"{better} {measure}")
                )
                ends_apart = tuple(np.quantile(apart, [0.05, 0.95]))
                flat = np.ptp(ends_apart) < 1e-9
                assert (row["difference_low"], row["difference_high"]) == (
                    (None, None) if flat else pytest.approx(ends_apart)
                )
                assert row["note"] == ("no interval: that of the resampled differences has no width" if flat else "")
                assert row["p"] == pytest.approx(p_of_draws(apart.tolist()))
                if group == "all":
                    p_of_all.append(row["p"])
                    assert row["detectable"] == pytest.approx((norm.ppf(1 - 0.1 / 8) + norm.ppf(0.8)) * apart.std())
                else:
                    assert (row["p_holm"], row["detectable"]) == (None, None)
    assert next(told, None) is None
    assert seen == {"random", "centre", "wilson"}
    adjusted = [row["p_holm"] for row in content["on_nodule"] if row["p_holm"] is not None]
    assert adjusted == pytest.approx(stepped(p_of_all))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def test_how_alike_maps_stay(run: Run, content: dict[str, Any]) -> None:
    rows = rows_of(run)
    again = [image for image, row in rows.items() if ("cnn", 1) in row["cells"]]
    expected = []
    for kind in KINDS:
        for level, name in LEVELS.items():
            values = {i: correlation(rows[i]["cells"][kind, 0], rows[i]["cells"][kind, level]) for i in again}
            flat = sum(np.ptp(rows[i]["cells"][kind, level]) == 0 for i in again)
            expected.append((kind, level, name, values, flat))
        others = {}
        for image in again:
            near = [i for i in again if i != image and rows[i]["fold"] == rows[image]["fold"]]
            maps = rows[image]["cells"][kind, 0]
            others[image] = float(np.mean([correlation(maps, rows[i]["cells"][kind, 0]) for i in near]))
        expected.append((kind, 0, "another picture", others, 0))
    assert len(content["alike"]) == len(expected)
    for row, (kind, level, name, values, flat) in zip(content["alike"], expected, strict=True):
        assert (row["map"], row["level"], row["randomised"]) == (kind, level, name)
        assert (row["n_patients"], row["n_flat"]) == (len(again), flat)
        drawn = Group([{**rows[image], "alike": value} for image, value in values.items()], ["alike"])
        assert row["estimate"] == pytest.approx(drawn.estimate("alike"))
        assert (row["low"], row["high"]) == pytest.approx(drawn.ends("alike"), abs=1e-9)
    assert any(flat for *_, flat in expected)


def test_counts_and_the_pictures_that_are_shown(run: Run, content: dict[str, Any]) -> None:
    rows, with_nodule = rows_of(run), measured(run)
    assert (content["n_patients"], content["n_images"], content["n_images_with_nodule"]) == (12, 24, 22)
    assert (content["missing"], content["still_alike"]) == ({"vit": "no branch"}, 0.5)
    assert content["tolerance_share"] == pytest.approx(15 / 224)
    flat = {kind: sum(np.ptp(row["cells"][kind, 0]) == 0 for row in rows.values()) for kind in KINDS}
    assert content["n_flat"] == flat == {"cnn": 1, "fused": 1}
    order = {(row["malignant"], row["reference"]) for row in rows.values()}
    assert [row["reference"] for row in content["shown"]] == [reference for _, reference in sorted(order)]
    for row in content["shown"]:
        own = [each for each in with_nodule.values() if each["reference"] == row["reference"]]
        ranked = sorted(own, key=lambda each: (each["fused energy"], each["image_path"]))
        middle = ranked[(len(ranked) - 1) // 2]
        assert row["image_path"] == middle["image_path"]
        assert {key: row[key] for key in ("target_class", "site", "patient_id", "malignant")} == {
            key: middle[key] for key in ("target_class", "site", "patient_id", "malignant")
        }
        for kind in KINDS:
            told = {measure: pytest.approx(middle[f"{kind} {measure}"]) for measure in MEASURES}
            assert row["reached"][kind] == told


def test_one_picture_tells_no_likeness_and_one_patient_nothing(tmp_path: Path) -> None:
    run = made(tmp_path, n_again=1)
    masks = pl.read_parquet(run.path("explanations/masks.parquet"))
    first = run.manifest()["patient_id"].to_list()[:2]
    assert first[0] == first[1]
    own = masks.with_columns(pl.when(pl.int_range(pl.len()) < 2).then("mask").alias("mask"))
    own.write_parquet(run.path("explanations/masks.parquet"))
    run.finish("explain", inputs=("split.csv",), outputs=("explanations/maps.parquet", "explanations/masks.parquet"))
    found: dict[str, Any] = asdict(explanations_content(run))
    assert found["missing"] == {}
    assert [(row["estimate"], row["low"], row["n_patients"]) for row in found["alike"]] == [
        *[(None, None, 1)] * 2, (None, None, 0), *[(None, None, 1)] * 2, (None, None, 0)
    ]  # fmt: skip
    assert found["n_images_with_nodule"] == 2
    for row in found["on_nodule"]:
        n = {"malignant": 0}.get(row["group"], 1)
        if row["group"].startswith("named"):
            continue
        assert (row["n_patients"], row["note"]) == (n, f"not estimable: {n} patient(s) with a nodule in the mask")
        assert (row["estimate"], row["low"], row["against"], row["difference"], row["p"]) == (None,) * 5
    reached = {row["reference"]: row["reached"] for row in found["shown"]}
    assert reached["FTC"] == {}
    assert set(reached["benign"]) == set(KINDS)
