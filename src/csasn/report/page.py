"""One self-contained page that tells what a run found, how surely, and what it cannot tell."""

import base64
import io
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from csasn.evidence.aggregation import MAIN_MODEL, UNITS, Units, per_unit, tested_rows, units_of
from csasn.evidence.evaluate import Record
from csasn.evidence.measures import FEW_PATIENTS, estimable_classes
from csasn.files import read_json, write_bytes
from csasn.report import figures
from csasn.report.figures import Index, with_interval
from csasn.runs import Run
from csasn.schema import ClassList

N_ERRORS = 12
THUMBNAIL_PX = 200
POINT_METRICS = ("sensitivity", "specificity", "ppv", "npv")
CLASS_METRICS = ("auroc", "auprc", "brier", "ece")
OVERALL_METRICS = {
    "macro_auroc": "Macro AUROC",
    "macro_auprc": "Macro AUPRC",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "brier": "Brier (0 best, 2 worst)",
    "ece": "ECE, most probable class",
}
SCHEMES = {
    "grouped-kfold": "cross-validation in {n} folds by patient: every patient is read by a model that never saw them",
    "leave-one-site-out": "leave-one-site-out: every site is read by a model that never saw that site ({n} folds)",
    "holdout": "one holdout by patient: the patients tested were never seen in training",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class HardError:
    """A test image that CSASN read wrongly; picture is a data address, or None with the reason in `missing`."""

    patient_id: str
    site: str
    image_path: str
    reference: str
    p_reference: float
    predicted: str
    p_predicted: float
    picture: str | None
    missing: str


def report_run(run: Run) -> Path:
    """Write report.html and figures/*.svg from a run's metrics, predictions and history."""
    metrics = read_json(run.require("metrics.json"))
    predictions = pl.read_parquet(run.require("predictions.parquet"))
    history = pl.read_csv(run.require("history.csv"))
    classes, simulated, level = run.classes(), run.simulated(), run.configuration.evaluate.confidence
    records = figures.index([_record(row) for row in _rows(metrics["records"])])
    units = units_of(tested_rows(per_unit(predictions, classes, unit="patient"), MAIN_MODEL), classes)
    drawn = _draw(run, metrics, units, records, history, simulated=simulated)
    for name, svg in drawn.items():
        write_bytes(run.path(f"figures/{name}.svg"), svg.encode())
    environment = Environment(loader=PackageLoader("csasn.report"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html").render(
        simulated=simulated,
        certificate=_certificate(run),
        headline=_headline(run, records, units),
        overall=_overall_table(records),
        per_class=_class_table(records, units, CLASS_METRICS),
        at_points=_class_table(records, units, POINT_METRICS),
        by_site=_site_table(records),
        models=_model_table(records),
        differences=[_difference(row, confidence=level) for row in _rows(metrics["comparisons"])],
        notes=_notes(records),
        figures={name: _inline(svg) for name, svg in drawn.items()},
        errors=hardest_errors(predictions, classes, run.images_root()),
        limits=_limits(run, units),
        configuration=run.path("config.toml").read_text(encoding="utf-8"),
        record=_provenance(run),
        confidence=f"{100 * level:.0f} %",
    )
    write_bytes(run.path("report.html"), page.encode())
    run.finish("report", inputs=("metrics.json", "predictions.parquet", "history.csv"), outputs=("report.html",))
    return run.path("report.html")


def _rows(content: object) -> list[dict[str, Any]]:
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []


def _record(row: dict[str, Any]) -> Record:
    return Record(**{field.name: row[field.name] for field in fields(Record)})


def _draw(
    run: Run, metrics: dict[str, Any], units: Units, records: Index, history: pl.DataFrame, *, simulated: bool
) -> dict[str, str]:
    settings, matrix = run.configuration.evaluate, metrics["confusion"]["patient"]
    return {
        "roc": figures.roc(units, records, simulated=simulated),
        "precision-recall": figures.precision_recall(units, records, simulated=simulated),
        "confusion": figures.confusion(matrix["classes"], matrix["counts"], simulated=simulated),
        "reliability": figures.calibration(
            units,
            records,
            n_bins=settings.calibration_bins,
            confidence=settings.confidence,
            simulated=simulated,
        ),
        "training": figures.training(history, simulated=simulated),
        "comparison": figures.comparison(records, metrics["comparisons"], simulated=simulated),
    }


def _inline(svg: str) -> Markup:
    """Our own SVG from its root element on, without the XML prologue; text in it is drawn as paths."""
    return Markup(svg[svg.index("<svg") :])  # noqa: S704 (drawn by matplotlib, which escapes what it is given)


def _certificate(run: Run) -> dict[str, Any]:
    """What the page shows of the certificate; what a certificate lacks is said to be unknown."""
    found = run.certificate()
    return {
        "name": str(found.get("name") or found.get("cohort") or run.folder.name),
        "source": str(found.get("source") or "not stated"),
        "citation": str(found.get("citation") or "not stated").rstrip("."),
        "notes": [str(each) for each in notes] if isinstance(notes := found.get("notes"), list) else [],
        "counts": _rows(found.get("counts")),
        "checks": _rows(found.get("checks")) + _rows(found.get("split_checks")),
    }


def _headline(run: Run, records: Index, units: Units) -> str:
    """The run's result in one sentence of plain words, with the level of chance beside it."""
    auroc, balanced = (
        records[MAIN_MODEL, "all", "patient", "all", each] for each in ("macro_auroc", "balanced_accuracy")
    )
    n_folds = run.split()["fold"].n_unique()
    scheme = SCHEMES[run.configuration.split.scheme].format(n=n_folds)
    level, k = f"{100 * run.configuration.evaluate.confidence:.0f} %", len(estimable_classes(units)[0])
    return (
        f"Among {auroc.n:,} patients and {k} classes that could be evaluated, CSASN reached "
        f"a macro AUROC of {with_interval(auroc)} and a balanced accuracy of {with_interval(balanced)}, "
        f"per patient, with {level} intervals "
        f"(guessing would give 0.50 and {1 / max(k, 1):.2f}). Split: {scheme}."
    )


def _overall_table(records: Index) -> list[list[str]]:
    """Metric by unit: patient, nodule, image."""
    rows = [(label, "all", metric) for metric, label in OVERALL_METRICS.items()]
    rows.append(("Malignancy AUROC", "malignancy", "auroc"))
    return [
        [label, *(with_interval(records.get((MAIN_MODEL, "all", unit, target, metric)), digits=3) for unit in UNITS)]
        for label, target, metric in rows
    ]


def _class_table(records: Index, units: Units, metrics: tuple[str, ...]) -> list[list[str]]:
    """Target, patients with it, prevalence, and the metrics, per patient."""
    table = []
    for target in units.targets:
        binary = units.binary(target)
        n, n_positive = binary.y_true.size, int(binary.y_true.sum())
        found = [records.get((MAIN_MODEL, "all", "patient", target, metric)) for metric in metrics]
        prevalence = f"{100 * n_positive / n:.1f} %" if n else "–"
        table.append([target, f"{n_positive:,} of {n:,}", prevalence, *(with_interval(each) for each in found)])
    return table


def _site_table(records: Index) -> list[list[str]]:
    """Site, patients, and the headline metrics, per patient; pooled last."""
    sites = sorted({key[1] for key in records if key[0] == MAIN_MODEL} - {"all"})
    table = []
    for site in [*sites, "all"]:
        found = [
            records.get((MAIN_MODEL, site, "patient", target, metric))
            for target, metric in (("all", "macro_auroc"), ("all", "balanced_accuracy"), ("malignancy", "auroc"))
        ]
        n = found[0].n if found[0] else 0
        note = found[0].note if found[0] else ""
        table.append(["all sites" if site == "all" else site, f"{n:,}", *(with_interval(each) for each in found), note])
    return table


def _model_table(records: Index) -> list[list[str]]:
    """Model and its overall metrics, per patient."""
    models = [key[0] for key in records if key[1:] == ("all", "patient", "all", "macro_auroc")]
    return [
        [
            "CSASN" if name == MAIN_MODEL else name,
            *(
                with_interval(records.get((name, "all", "patient", "all", metric)), digits=3)
                for metric in ("macro_auroc", "balanced_accuracy", "macro_f1")
            ),
        ]
        for name in models
    ]


def _difference(row: dict[str, Any], *, confidence: float) -> list[str]:
    """One comparison in words and numbers, whichever way it falls; it is settled by the p that Holm adjusted."""
    label = f"{row['unit']}: {OVERALL_METRICS[row['metric']]}"
    if row["estimate"] is None or row["low"] is None:
        return [row["rival"], label, "not estimable", "–", "–", row["note"] or "–"]
    ends = f"{row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})".replace("-", "−")
    verdict = "not settled"
    if row["p_holm"] < 1 - confidence:
        verdict = "CSASN higher" if row["estimate"] > 0 else "rival higher"
    return [row["rival"], label, ends, f"{row['p']:.3f}", f"{row['p_holm']:.3f}", verdict]


def _notes(records: Index) -> list[str]:
    """What is not estimable per patient and why, and which classes are small; each said once."""
    notes = {each.note for key, each in records.items() if key[:3] == (MAIN_MODEL, "all", "patient")}
    parts = {part for note in notes for part in note.split("; ")}
    return sorted(part for part in parts if part.startswith(("not estimable", "only", "over")) or "left out" in part)


def hardest_errors(predictions: pl.DataFrame, classes: ClassList, root: Path, *, n: int = N_ERRORS) -> list[HardError]:
    """The test images that CSASN read wrongly with the smallest probability for their reference class."""
    test = tested_rows(per_unit(predictions, classes, unit="image"), MAIN_MODEL)
    units = units_of(test, classes)
    own = units.y_prob[np.arange(units.y_true.size), units.y_true]
    predicted = units.y_prob.argmax(axis=1)
    wrong = np.flatnonzero(units.known & (predicted != units.y_true))
    found = []
    for place in wrong[np.argsort(own[wrong], kind="stable")][:n].tolist():
        row = test.row(place, named=True)
        picture, missing = _thumbnail(root, row["image_path"])
        found.append(
            HardError(
                patient_id=row["patient_id"],
                site=row["site"],
                image_path=row["image_path"],
                reference=classes.names[units.y_true[place]],
                p_reference=float(own[place]),
                predicted=classes.names[predicted[place]],
                p_predicted=float(units.y_prob[place].max()),
                picture=picture,
                missing=missing,
            )
        )
    return found


def _thumbnail(root: Path, image_path: str) -> tuple[str | None, str]:
    """A grey PNG of at most THUMBNAIL_PX a side as a data address, or None and why there is none."""
    path = (root / image_path).resolve()
    if not path.is_relative_to(root.resolve()):
        return None, "the path leads out of the images' folder"
    try:
        with Image.open(path) as picture:
            picture.load()
            grey = _grey(picture)
    except FileNotFoundError:
        return None, "the picture is missing"
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return None, f"the picture cannot be shown ({type(error).__name__})"
    grey.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    grey.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), ""


def _grey(picture: Image.Image) -> Image.Image:
    """Eight-bit grey; deeper pixels are spread over their own range rather than clipped."""
    if not picture.mode.startswith(("I", "F")):
        return picture.convert("L")
    values = np.nan_to_num(np.asarray(picture, dtype=np.float64))
    span = float(values.max() - values.min()) or 1.0
    return Image.fromarray(np.uint8((values - values.min()) / span * 255))


def _limits(run: Run, units: Units) -> list[str]:
    """What a reader must not conclude from this page."""
    certificate, scheme = _certificate(run), run.configuration.split.scheme
    found = []
    if run.simulated():
        found.append("The cohort is SIMULATED. Nothing on this page is clinical evidence, however good it looks.")
    if "busi" in f"{certificate['name']} {certificate['source']} {certificate['citation']}".lower():
        found.append("BUSI shows breast lesions, not thyroid nodules: it shows that the software works, nothing more.")
    found.append(
        "No result of the CSASN paper is reproduced or claimed here: its full text, code, data and weights were not "
        "available, and this is an independent implementation."
    )
    if scheme != "leave-one-site-out":
        found.append(
            "Sites stand on both sides of this split, so it does not tell how the model reads at a site that it has "
            "never seen; results there are commonly lower."
        )
    small = [name for name in units.classes.names if units.binary(name).n_patients(positive=True) < FEW_PATIENTS]
    if small:
        found.append(f"Fewer than {FEW_PATIENTS} patients have {', '.join(small)}: figures for them settle nothing.")
    found += [
        "Intervals resample patients. They hold the trained models fixed and do not include the variation of training "
        "again, nor differences between hospitals.",
        "PPV and NPV belong to the prevalence in this cohort; at another prevalence they are different.",
        "Thresholds were chosen on each fold's tuning partition, which also decided when training stopped.",
        "This was a retrospective reading of stored images. It is not a medical device and not for diagnosis.",
    ]
    return found


def _provenance(run: Run) -> dict[str, Any]:
    """run.json in two parts: names and values for a table, and the stages as indented text."""
    record = run.record()
    plain = {name: value for name, value in record.items() if not isinstance(value, dict)}
    versions = record.get("versions")
    plain |= {f"{name} version": value for name, value in versions.items()} if isinstance(versions, dict) else {}
    fit = {name: value for name, value in run.stages().get("fit", {}).items() if name not in ("inputs", "outputs")}
    return {
        "plain": {name: str(value) for name, value in plain.items()},
        "fit": {name: value if isinstance(value, str) else json.dumps(value) for name, value in fit.items()},
        "stages": json.dumps(run.stages(), indent=1, ensure_ascii=False),
    }
