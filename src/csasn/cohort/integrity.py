"""The certificate of a cohort and of its split: what was counted, what was checked, and what was found."""

import csv
import hashlib
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from csasn import __version__
from csasn.cohort.labels import class_label, spelling
from csasn.cohort.near_duplicates import near_duplicates
from csasn.config import Scheme
from csasn.decoding.pictures import read_picture
from csasn.schema import MALIGNANT_ORDER, NON_MALIGNANT_ORDER, classes_of, content_sha256, manifest_sha256, order_names

MAX_SHOWN, THUMBNAIL_PX = 50, 240
NODULE_LABELS_CHECK = "each nodule has one diagnosis"


def certify(
    manifest: pl.DataFrame,
    fingerprints: pl.DataFrame,
    ledger: bytes,
    *,
    images_root: str,
    simulated: bool,
    source: str,
    citation: str | None,
    licence: str | None = None,
    notes: tuple[str, ...] = (),
) -> dict[str, object]:
    """The content of certificate.json for a manifest, its fingerprints (rows alike) and the bytes of its ledger.

    Raises BadInputError where the manifest lacks one of the two groups.
    """
    classes = classes_of(manifest)
    pairs = look_alikes(manifest, fingerprints)
    return {
        "csasn": __version__,
        "images_root": images_root,
        "simulated": simulated,
        "source": source,
        "citation": citation,
        "licence": licence,
        "notes": list(notes),
        "manifest_sha256": manifest_sha256(manifest),
        "classes": {"non_malignant": list(classes.non_malignant), "malignant": list(classes.malignant)},
        "n_images": manifest.height,
        "n_nodules": manifest["nodule_id"].n_unique(),
        "n_patients": manifest["patient_id"].n_unique(),
        "n_refused": n_refused(ledger),
        "counts": _counts(manifest),
        "near_duplicates": pairs,
        "checks": [*_cohort_checks(manifest), *_fingerprint_checks(manifest, fingerprints, pairs)],
        "looked_at": looked_at(manifest, fingerprints, ledger),
    }


def looked_at(manifest: pl.DataFrame, fingerprints: pl.DataFrame, ledger: bytes) -> dict[str, object]:
    """Hashes of everything that a certificate speaks of; those of images and masks are over their sorted hashes.

    `everything_sha256` is over all the others: two cohorts with the same one are the same, picture for picture.
    """
    masks = fingerprints["mask_sha256"].drop_nulls()
    found = {
        "manifest_sha256": manifest_sha256(manifest),
        "fingerprints_sha256": content_sha256(fingerprints),
        "ledger_sha256": hashlib.sha256(ledger).hexdigest(),
        "n_images": manifest.height,
        "images_sha256": hashlib.sha256("".join(manifest["sha256"].sort()).encode()).hexdigest(),
        "n_masks": len(masks),
        "masks_sha256": hashlib.sha256("".join(masks.sort()).encode()).hexdigest(),
    }
    everything = "\n".join(f"{name} {value}" for name, value in found.items())
    return found | {"everything_sha256": hashlib.sha256(everything.encode()).hexdigest()}


def n_refused(ledger: bytes) -> int:
    """Ledger rows of what was refused; what was fixed is used."""
    return sum(row["outcome"] == "refused" for row in csv.DictReader(io.StringIO(ledger.decode())))


def look_alikes(manifest: pl.DataFrame, fingerprints: pl.DataFrame) -> list[dict[str, object]]:
    """Pairs of pictures that look alike by their fingerprints, the most alike first."""
    thumbnails = np.frombuffer(b"".join(fingerprints["thumbnail"]), dtype=np.uint8).reshape(len(fingerprints), -1)
    pairs = near_duplicates(fingerprints["perceptual_hash"].to_numpy(), thumbnails)
    rows = manifest.select("image_path", "patient_id", "subtype", "malignant")
    found = []
    for i, j, distance, correlation in sorted(pairs, key=lambda pair: (-round(pair[3], 3), pair[:2])):
        first, second = rows.row(i, named=True), rows.row(j, named=True)
        found.append(
            {
                "first": first["image_path"],
                "second": second["image_path"],
                "distance_bits": distance,
                "correlation": round(correlation, 3),
                "same_patient": first["patient_id"] == second["patient_id"],
                "same_class": (first["subtype"], first["malignant"]) == (second["subtype"], second["malignant"]),
            }
        )
    return found


def sensitivity_bound(n_patients: int) -> float:
    """Smallest sensitivity that n patients, every one of them found, exclude at 95 %: 0.025^(1/n) (Clopper 1934)."""
    return float(0.025 ** (1 / n_patients))


def pairs_sheet(pairs: Sequence[Mapping[str, object]], images_root: Path, manifest: pl.DataFrame) -> Image.Image:
    """Pictures that look alike side by side, at most MAX_SHOWN pairs, those of different patients first."""
    patients = dict(manifest.select("image_path", "patient_id").iter_rows())
    shown = sorted(pairs, key=lambda pair: (bool(pair["same_patient"]), -float(str(pair["correlation"]))))[:MAX_SHOWN]
    sheet = Image.new("L", (2 * THUMBNAIL_PX, len(shown) * (THUMBNAIL_PX + 30)))
    draw = ImageDraw.Draw(sheet)
    for row, pair in enumerate(shown):
        top = row * (THUMBNAIL_PX + 30)
        for column, name in enumerate((str(pair["first"]), str(pair["second"]))):
            thumbnail = Image.fromarray(read_picture(images_root / name))
            thumbnail.thumbnail((THUMBNAIL_PX - 4, THUMBNAIL_PX - 4))
            sheet.paste(thumbnail, (column * THUMBNAIL_PX, top))
            caption = f"{name[-40:]}\n{patients[name]}".encode("ascii", "replace").decode()
            draw.text((column * THUMBNAIL_PX + 2, top + THUMBNAIL_PX - 2), caption, fill=255)
    return sheet


def check(name: str, found: Iterable[str]) -> dict[str, object]:
    """One line of a certificate: passed where nothing was found."""
    rows = list(found)
    return {"name": name, "passed": not rows, "found": rows}


def keys_with_several(manifest: pl.DataFrame, key: str, value: str) -> list[str]:
    """Keys that stand with more than one value: `key: value, value`."""
    several = manifest.select(key, value).drop_nulls(value).unique().filter(pl.col(key).is_duplicated())
    groups = several.group_by(key).agg(pl.col(value).sort()).sort(key)
    return [f"{name}: {', '.join(map(str, values))}" for name, values in groups.iter_rows()]


def split_checks(
    manifest: pl.DataFrame, split: pl.DataFrame, *, scheme: Scheme, untested: Collection[str] = ()
) -> list[dict[str, object]]:
    """The checks of a split against its manifest: leaks of patients and sites, and rows lost or repeated.

    `untested` are patients that are declared never to be tested, because they are the only ones of a class.
    """
    checks = [
        check("no patient stands in two partitions of a fold", _leaks(split, "patient_id")),
        check("every image stands once in every fold", _lost_or_repeated(manifest, split)),
        check("the patient of every image is the manifest's", _other_patients(manifest, split)),
        _test_turns(manifest, split, scheme, untested),
    ]
    if scheme == "leave-one-site-out":
        sites = split.join(manifest.select("image_path", "site"), on="image_path")
        sites = sites.with_columns(partition=pl.col("partition").replace("tuning", "train"))
        checks.append(check("no site is both tested and learned from in a fold", _leaks(sites, "site")))
    return checks


def alike_check(split: pl.DataFrame, pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
    """Pictures of different patients that look alike, but stand in different partitions of a fold."""
    ends = pl.DataFrame(pairs, schema={"first": pl.String, "second": pl.String}, orient="row")
    places = split.select("fold", "image_path", "partition")
    both = ends.join(places, left_on="first", right_on="image_path").join(
        places, left_on=["second", "fold"], right_on=["image_path", "fold"], suffix="_second"
    )
    apart = both.filter(pl.col("partition") != pl.col("partition_second")).sort("fold", "first", "second")
    found = (f"fold {row['fold']}: {row['first']} = {row['second']}" for row in apart.iter_rows(named=True))
    return check("pictures that look alike stand in one partition of each fold", found)


def _counts(manifest: pl.DataFrame) -> list[dict[str, object]]:
    labelled = manifest.with_columns(label=class_label())
    order = order_names(labelled["label"].to_list(), NON_MALIGNANT_ORDER + MALIGNANT_ORDER)
    counts = labelled.group_by("site", "label").agg(
        pl.col("patient_id").n_unique().alias("n_patients"),
        pl.col("nodule_id").n_unique().alias("n_nodules"),
        pl.len().alias("n_images"),
    )
    bounds = {n: round(sensitivity_bound(n), 4) for n in counts["n_patients"].to_list()}
    counts = counts.with_columns(
        sensitivity_bound_if_all_found=pl.col("n_patients").replace_strict(bounds, return_dtype=pl.Float64)
    )
    rows = sorted(
        counts.rename({"label": "class"}).to_dicts(), key=lambda row: (row["site"], order.index(row["class"]))
    )
    return list(rows)


def _cohort_checks(manifest: pl.DataFrame) -> list[dict[str, object]]:
    labels = manifest.with_columns(group=pl.when("malignant").then(pl.lit("malignant")).otherwise(pl.lit("benign")))
    conflicts = keys_with_several(labels, "nodule_id", "group") + keys_with_several(labels, "nodule_id", "subtype")
    patients = (
        manifest.select("patient_id")
        .unique()
        .with_columns(spelt=pl.col("patient_id").map_elements(spelling, return_dtype=pl.String))
    )
    return [
        check(
            "no patient ids differ in case, space or width alone", keys_with_several(patients, "spelt", "patient_id")
        ),
        check("each patient belongs to one site", keys_with_several(manifest, "patient_id", "site")),
        check(NODULE_LABELS_CHECK, sorted(set(conflicts))),
        check("each nodule belongs to one patient", keys_with_several(manifest, "nodule_id", "patient_id")),
        check("no file stands under two patients", keys_with_several(manifest, "sha256", "patient_id")),
    ]


def _fingerprint_checks(
    manifest: pl.DataFrame, fingerprints: pl.DataFrame, pairs: Sequence[Mapping[str, object]]
) -> list[dict[str, object]]:
    pixels = manifest.select("patient_id").with_columns(fingerprints["pixel_sha256"])
    across = [f"{pair['first']} = {pair['second']}" for pair in pairs if not pair["same_patient"]]
    labels = [f"{pair['first']} = {pair['second']}" for pair in pairs if not pair["same_class"]]
    return [
        check("no pixels stand under two patients", keys_with_several(pixels, "pixel_sha256", "patient_id")),
        check("no pictures of different patients look alike", across),
        check("pictures that look alike have one class", labels),
    ]


def _leaks(split: pl.DataFrame, key: str) -> list[str]:
    places = split.select("fold", key, "partition").unique()
    several = places.filter(pl.struct("fold", key).is_duplicated())
    leaks = several.group_by("fold", key).agg(pl.col("partition").sort()).sort("fold", key)
    return [f"fold {fold}, {name}: {', '.join(found)}" for fold, name, found in leaks.iter_rows()]


def _lost_or_repeated(manifest: pl.DataFrame, split: pl.DataFrame) -> list[str]:
    wanted = manifest.select("image_path").unique().with_columns(known=pl.lit(value=True))
    found: list[str] = []
    for (fold,), rows in sorted(split.group_by("fold"), key=lambda item: int(str(item[0][0]))):
        counted = rows.group_by("image_path").len()
        both = wanted.join(counted, on="image_path", how="full", coalesce=True).with_columns(pl.col("len").fill_null(0))
        wrong = both.filter((pl.col("len") != 1) | pl.col("known").is_null()).sort("image_path")
        found += [f"fold {fold}, {path}: {n} times" for path, n in wrong.select("image_path", "len").iter_rows()]
    return found if not split.is_empty() else ["the split has no rows"]


def _other_patients(manifest: pl.DataFrame, split: pl.DataFrame) -> list[str]:
    stated = split.select("image_path", "patient_id").unique()
    joined = stated.join(manifest.select("image_path", owner="patient_id"), on="image_path")
    wrong = joined.filter(pl.col("patient_id") != pl.col("owner"))
    rows = split.join(wrong, on=["image_path", "patient_id"]).sort("fold", "image_path")
    return [
        f"fold {row['fold']}, {row['image_path']}: {row['patient_id']}, not {row['owner']}"
        for row in rows.iter_rows(named=True)
    ]


def _test_turns(
    manifest: pl.DataFrame, split: pl.DataFrame, scheme: Scheme, untested: Collection[str]
) -> dict[str, object]:
    tested = split.filter(pl.col("partition") == "test").group_by("image_path").len()
    turns = manifest.select("image_path", "patient_id").join(tested, on="image_path", how="left")
    turns = turns.with_columns(pl.col("len").fill_null(0), never=pl.col("patient_id").is_in(list(untested)))
    once = pl.col("len") <= 1 if scheme == "holdout" else pl.col("len") == 1
    wrong = turns.filter(pl.when("never").then(pl.col("len") != 0).otherwise(~once)).sort("image_path")
    name = f"every image is tested {'at most' if scheme == 'holdout' else 'exactly'} once over the folds"
    if untested:
        name += f"; those of {', '.join(sorted(untested))}, alone in a class, never"
    return check(name, (f"{path}: tested {n} times" for path, n in wrong.select("image_path", "len").iter_rows()))
