"""The certificate of a cohort and of its split: what was counted, what was checked, and what was found."""

from collections.abc import Iterable

import polars as pl

from csasn import __version__
from csasn.cohort.labels import class_label
from csasn.config import Scheme
from csasn.schema import MALIGNANT_ORDER, NON_MALIGNANT_ORDER, classes_of, manifest_sha256, order_names

NODULE_LABELS_CHECK = "each nodule has one diagnosis"


def certify(
    manifest: pl.DataFrame,
    *,
    images_root: str,
    simulated: bool,
    source: str,
    citation: str | None,
    n_refused: int,
    notes: tuple[str, ...] = (),
) -> dict[str, object]:
    """The content of certificate.json for a manifest; BadInputError where it lacks one of the two groups."""
    classes = classes_of(manifest)
    return {
        "csasn": __version__,
        "images_root": images_root,
        "simulated": simulated,
        "source": source,
        "citation": citation,
        "notes": list(notes),
        "manifest_sha256": manifest_sha256(manifest),
        "classes": {"non_malignant": list(classes.non_malignant), "malignant": list(classes.malignant)},
        "n_images": manifest.height,
        "n_nodules": manifest["nodule_id"].n_unique(),
        "n_patients": manifest["patient_id"].n_unique(),
        "n_refused": n_refused,
        "counts": _counts(manifest),
        "checks": _cohort_checks(manifest),
    }


def check(name: str, found: Iterable[str]) -> dict[str, object]:
    """One line of a certificate: passed where nothing was found."""
    rows = list(found)
    return {"name": name, "passed": not rows, "found": rows}


def keys_with_several(manifest: pl.DataFrame, key: str, value: str) -> list[str]:
    """Keys that stand with more than one value: `key: value, value`."""
    groups = (
        manifest.filter(pl.col(value).is_not_null())
        .group_by(key)
        .agg(pl.col(value).unique().sort())
        .filter(pl.col(value).list.len() > 1)
        .sort(key)
    )
    return [f"{name}: {', '.join(map(str, values))}" for name, values in groups.iter_rows()]


def split_checks(manifest: pl.DataFrame, split: pl.DataFrame, *, scheme: Scheme) -> list[dict[str, object]]:
    """The checks of a split against its manifest: leaks of patients and sites, and rows lost or repeated."""
    checks = [
        check("no patient stands in two partitions of a fold", _leaks(split, "patient_id")),
        check("every image stands once in every fold", _lost_or_repeated(manifest, split)),
        check("the patient of every image is the manifest's", _other_patients(manifest, split)),
        _test_turns(manifest, split, scheme),
    ]
    if scheme == "leave-one-site-out":
        sites = split.join(manifest.select("image_path", "site"), on="image_path")
        sites = sites.with_columns(partition=pl.col("partition").replace("tuning", "train"))
        checks.append(check("no site is both tested and learned from in a fold", _leaks(sites, "site")))
    return checks


def _counts(manifest: pl.DataFrame) -> list[dict[str, object]]:
    labelled = manifest.with_columns(label=class_label())
    order = order_names(labelled["label"].to_list(), NON_MALIGNANT_ORDER + MALIGNANT_ORDER)
    counts = labelled.group_by("site", "label").agg(
        pl.col("patient_id").n_unique().alias("n_patients"),
        pl.col("nodule_id").n_unique().alias("n_nodules"),
        pl.len().alias("n_images"),
    )
    rows = sorted(
        counts.rename({"label": "class"}).to_dicts(), key=lambda row: (row["site"], order.index(row["class"]))
    )
    return list(rows)


def _cohort_checks(manifest: pl.DataFrame) -> list[dict[str, object]]:
    labels = manifest.with_columns(group=pl.when("malignant").then(pl.lit("malignant")).otherwise(pl.lit("benign")))
    conflicts = keys_with_several(labels, "nodule_id", "group") + keys_with_several(labels, "nodule_id", "subtype")
    return [
        check("each patient belongs to one site", keys_with_several(manifest, "patient_id", "site")),
        check(NODULE_LABELS_CHECK, sorted(set(conflicts))),
        check("each nodule belongs to one patient", keys_with_several(manifest, "nodule_id", "patient_id")),
        check("no file stands under two patients", keys_with_several(manifest, "sha256", "patient_id")),
    ]


def _leaks(split: pl.DataFrame, key: str) -> list[str]:
    partitions = split.group_by("fold", key).agg(pl.col("partition").unique().sort())
    leaks = partitions.filter(pl.col("partition").list.len() > 1).sort("fold", key)
    return [f"fold {fold}, {name}: {', '.join(found)}" for fold, name, found in leaks.iter_rows()]


def _lost_or_repeated(manifest: pl.DataFrame, split: pl.DataFrame) -> list[str]:
    wanted = manifest.select("image_path").join(split.select("fold").unique(), how="cross")
    counted = split.group_by("fold", "image_path").len()
    both = wanted.join(counted, on=["fold", "image_path"], how="full", coalesce=True).with_columns(
        pl.col("len").fill_null(0), known=pl.col("image_path").is_in(manifest["image_path"].to_list())
    )
    wrong = both.filter((pl.col("len") != 1) | ~pl.col("known")).sort("fold", "image_path")
    found = [f"fold {row['fold']}, {row['image_path']}: {row['len']} times" for row in wrong.iter_rows(named=True)]
    return found if not split.is_empty() else ["the split has no rows"]


def _other_patients(manifest: pl.DataFrame, split: pl.DataFrame) -> list[str]:
    joined = split.join(manifest.select("image_path", owner="patient_id"), on="image_path")
    wrong = joined.filter(pl.col("patient_id") != pl.col("owner")).sort("fold", "image_path")
    return [
        f"fold {row['fold']}, {row['image_path']}: {row['patient_id']}, not {row['owner']}"
        for row in wrong.iter_rows(named=True)
    ]


def _test_turns(manifest: pl.DataFrame, split: pl.DataFrame, scheme: Scheme) -> dict[str, object]:
    tested = split.filter(pl.col("partition") == "test").group_by("image_path").len()
    turns = (
        manifest.select("image_path").join(tested, on="image_path", how="left").with_columns(pl.col("len").fill_null(0))
    )
    allowed = pl.col("len") <= 1 if scheme == "holdout" else pl.col("len") == 1
    wrong = turns.filter(~allowed).sort("image_path")
    name = f"every image is tested {'at most' if scheme == 'holdout' else 'exactly'} once over the folds"
    return check(name, (f"{path}: tested {n} times" for path, n in wrong.iter_rows()))
