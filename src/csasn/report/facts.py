"""What a run says of itself in sentences, for the model card and the checklists."""

import json
from dataclasses import dataclass

import polars as pl

from csasn.config import Configuration
from csasn.evidence.explanations import Explanations
from csasn.evidence.metric_panel import estimable_classes
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.sections.limits import limits_of
from csasn.report.sections.results import SCHEMES, headline

AUTHORS = "For the authors"
UNCHANGED = "Not done: the model is used as it was trained."


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A run's own answers; each method is one sentence or a few."""

    evaluated: EvaluatedRun

    @property
    def settings(self) -> Configuration:
        """The resolved settings."""
        return self.evaluated.run.configuration

    @property
    def stamp(self) -> str:
        """The warning of a simulated cohort, or nothing."""
        return "**SIMULATED COHORT: not clinical evidence.** " if self.evaluated.simulated else ""

    def objectives(self) -> str:
        """Development, with which evaluation."""
        return (
            f"Development of a recogniser of {', '.join(self.evaluated.classes.names)}, with its internal evaluation."
        )

    def sources(self) -> str:
        """Source and citation of the certificate."""
        found = self.evaluated.certificate
        return f"{found.get('source') or 'not stated'}. Citation: {found.get('citation') or 'not stated'}. {self.stamp}"

    def centres(self) -> str:
        """Number of sites and their patients."""
        sites = self.evaluated.manifest.group_by("site").agg(pl.col("patient_id").n_unique().alias("n")).sort("site")
        shown = ", ".join(f"{site} ({n:,} patients)" for site, n in sites.iter_rows())
        return f"{sites.height} site{'' if sites.height == 1 else 's'}: {shown}. {AUTHORS}: setting and place."

    def preparation(self) -> str:
        """From the file to the tensor."""
        size = self.settings.imaging.size_px
        return (
            "Each file is decoded to 8-bit grey, checked against its SHA-256 and letterboxed to "
            f"{size} x {size} px. What could not be used, and every fix, stands in ledger.csv. Exact and near "
            "duplicates were searched for (certificate.json)."
        )

    def outcome(self) -> str:
        """Where the labels came from."""
        return (
            f"Classes as the cohort's source gives them: {', '.join(self.evaluated.classes.names)}. {AUTHORS}: how and "
            "when the diagnosis was made."
        )

    def predictors(self) -> str:
        """Pixels alone."""
        return "The pixels of the B-mode image alone; no clinical variable enters the model."

    def acquisition(self) -> str:
        """Devices of the manifest."""
        devices = sorted(self.evaluated.manifest["device"].drop_nulls().unique().to_list())
        shown = ", ".join(devices) if devices else "not in the manifest"
        return f"Devices: {shown}. {AUTHORS}: probes, presets and protocol."

    def no_judgement(self) -> str:
        """Nobody reads the pixels."""
        return "None: the pixels are read by the model."

    def size(self) -> str:
        """Patients by class and what they can exclude."""
        return (
            f"All that the source holds: {self._patients()}. The sensitivity that so few patients can exclude "
            "stands by site and class in certificate.json; the detectable difference stands beside each comparison."
        )

    def missing(self) -> str:
        """Unknown subtypes and what was set aside."""
        unknown = self.evaluated.manifest["subtype"].null_count()
        return (
            f"{unknown:,} images have no known subtype and train the first task alone. Images that could not be used "
            "were set aside (ledger.csv); nothing was imputed."
        )

    def partitions(self) -> str:
        """The split in words."""
        settings, n = self.settings.split, self.evaluated.split["fold"].n_unique()
        return (
            f"{SCHEMES[settings.scheme].format(n=n).capitalize()}. {100 * settings.tuning_fraction:.0f} % of the "
            "training patients, by class, are set aside for tuning (early stopping, thresholds, temperature, "
            f"prediction sets). Seed {settings.seed}; split.csv holds every row."
        )

    def disjoint(self) -> str:
        """Patient level, and site level where it is so."""
        level = "patient and site" if self.settings.split.scheme == "leave-one-site-out" else "patient"
        alike = "dealt as one" if self.settings.split.near_duplicates == "together" else "not joined (by settings)"
        return f"The {level}; patients whose pictures look alike are {alike}. The checks stand in certificate.json."

    def model(self) -> str:
        """The network in one sentence."""
        network = self.settings.network
        branches = {"both": f"{network.cnn} and {network.vit}", "cnn": network.cnn, "vit": network.vit}
        return (
            f"CSASN: {branches[network.branches]}; fusion of {network.fusion}; attention {network.attention}; "
            f"classifier {network.classifier}; head {network.head}. Task weights {self.settings.loss.tasks}, class "
            f"weights {self.settings.loss.classes}. config.toml has every setting."
        )

    def clusters(self) -> str:
        """Figures by site."""
        n = self.evaluated.manifest["site"].n_unique()
        if n < 2:
            return "One site: differences between sites cannot be told."
        return f"Figures by site and their heterogeneity: section on sites of report.html, {n} sites."

    def measures(self) -> str:
        """What was measured."""
        return (
            "AUROC, AUPRC, sensitivity, specificity, PPV and NPV at thresholds frozen on tuning, Brier, calibration "
            "error, prediction sets, net benefit; per patient, nodule and image (metrics.json)."
        )

    def uncertainty(self) -> str:
        """Intervals and tests."""
        settings = self.settings.evaluate
        return (
            f"{self.evaluated.level} intervals from {settings.n_bootstrap:,} bootstrap draws of patients, by class; "
            "a jackknife over patients for AUPRC; Wilson for shares; paired differences adjusted by Holm over the "
            "declared family."
        )

    def no_updating(self) -> str:
        """The model stays as trained."""
        return UNCHANGED

    def predictions(self) -> str:
        """How a patient's probability comes about."""
        return (
            f"{self.settings.predict.n_views} views an image, log-probabilities averaged; over the images of a nodule "
            "likewise; the patient takes its most suspicious nodule (predictions.parquet)."
        )

    def imbalance(self) -> str:
        """The weighting."""
        return (
            f"Class weights {self.settings.loss.classes} from the training partition of each fold alone. Probabilities "
            "are corrected by temperature on tuning; the section on calibration shows them before and after."
        )

    def fairness(self) -> str:
        """Subgroups where the manifest has them."""
        found = sorted({row.by for row in self.evaluated.metrics.subgroups})
        if not found:
            return f"The manifest holds no age, sex, nodule size or device. {AUTHORS}: fairness."
        return f"Figures by {', '.join(found)} in report.html. {AUTHORS}: which groups matter and why."

    def output(self) -> str:
        """Probabilities and thresholds."""
        return (
            f"One probability for each of {', '.join(self.evaluated.classes.names)}, which sum to 1; malignancy is the "
            "sum of the malignant ones. Thresholds: Youden on each fold's tuning partition (metrics.json)."
        )

    def differences(self) -> str:
        """Development against evaluation."""
        if self.settings.split.scheme == "leave-one-site-out":
            return "Evaluation patients are of a site that training had not seen; counts by site and class are shown."
        return "None by design: both come from the same sites."

    def code(self) -> str:
        """The software."""
        version = self.evaluated.run.record().get("csasn")
        return f"csasn {version}, Apache-2.0. {AUTHORS}: where the trained model and the data can be had."

    def flow(self) -> str:
        """The flow diagram."""
        n = self.evaluated.run.ledger().filter(pl.col("outcome") == "refused").height
        return (
            f"Flow diagram in report.html (figures/flow.svg); {n:,} items set aside, each with its reason (ledger.csv)."
        )

    def characteristics(self) -> str:
        """What the manifest knows."""
        found = [each for each in ("age_years", "sex", "nodule_size_mm") if self._filled(each)]
        shown = ", ".join(found) if found else "no age, sex or nodule size in the manifest"
        return f"Counts by site and class: tables/cohort.csv; {shown}. {AUTHORS}: clinical characteristics."

    def events(self) -> str:
        """Patients by class, and the folds."""
        return f"{self._patients()}. Patients of each partition by fold: split.csv and the flow diagram."

    def full_model(self) -> str:
        """The run folder."""
        return (
            "config.toml, checkpoints/ (safetensors with SHA-256), run.json (versions, hashes, seed) of the run folder."
        )

    def performance(self) -> str:
        """The headline."""
        return headline(self.evaluated)

    def limitations(self) -> str:
        """The limits section."""
        return " ".join(limits_of(self.evaluated))

    def poor_input(self) -> str:
        """What the software does with bad files."""
        return "Files that cannot be read as they should are refused with a reason, never guessed."

    def retrospective(self) -> str:
        """Stored images."""
        return f"Retrospective reading of stored images. {AUTHORS}: whether they were collected prospectively."

    def selection(self) -> str:
        """All or declared."""
        return "All images that could be used; frames of cine loops by the declared choice (certificate.json)."

    def deidentification(self) -> str:
        """What became of identifiers."""
        return (
            "DICOM enters without tags, overlays and pixels outside the ultrasound region, under keyed pseudonyms; "
            "burned-in text inside is masked or refused. Tables and picture folders keep the ids that they give."
        )

    def software(self) -> str:
        """Versions."""
        versions = self.evaluated.run.record().get("versions")
        found = versions if isinstance(versions, dict) else {}
        return ", ".join(f"{name} {version}" for name, version in found.items())

    def initial_weights(self) -> str:
        """Where each branch started."""
        return json.dumps(self.evaluated.run.stages().get("fit", {}).get("weights", "not recorded"))

    def training(self) -> str:
        """Two stages."""
        fit = self.settings.fit
        return (
            f"AdamW, batches of {fit.batch_size}; up to {fit.frozen.epochs} epochs with frozen branches, then up to "
            f"{fit.finetune.epochs} of fine-tuning; warm-up and cosine; augmentation and seed in config.toml."
        )

    def selection_of_model(self) -> str:
        """Early stopping on tuning."""
        return (
            "The epoch with the least tuning loss of the averaged weights, every class counting the same; the test "
            f"partition takes no part. Stopped after {self.settings.fit.patience_epochs} epochs without a gain."
        )

    def ensembles(self) -> str:
        """None."""
        return "None: one model a fold; several views of an image are averaged."

    def robustness(self) -> str:
        """Audit where it was made."""
        return "By site and subgroup, and the shortcut audit where it was run (report.html)."

    def explanations(self) -> str:
        """Maps where they were made."""
        if self.evaluated.beyond("explanations.json", Explanations) is None:
            return "Not done in this run (`csasn explain`)."
        return (
            "Grad-CAM and attention maps of test images, measured against the nodule masks where there are any, and "
            "checked by dealing the weights anew (report.html)."
        )

    def internal(self) -> str:
        """Cross-validation."""
        return self.partitions()

    def external(self) -> str:
        """Leave-one-site-out is not an external test."""
        if self.settings.split.scheme == "leave-one-site-out":
            return f"Each site in turn was unseen. {AUTHORS}: a cohort collected independently, if there is one."
        return f"None in this run. {AUTHORS}: external data, if there are any."

    def failures(self) -> str:
        """The hardest errors."""
        return "The hardest errors with their pictures, and the confusion matrix, in report.html."

    def _patients(self) -> str:
        units = self.evaluated.units
        counts = {name: int(units.binary(name).y_true.sum()) for name in units.classes.names}
        k = len(estimable_classes(units)[0])
        shown = ", ".join(f"{name} {n:,}" for name, n in counts.items())
        return f"{units.y_true.size:,} patients tested: {shown}; {k} of {len(counts)} classes could be evaluated"

    def _filled(self, column: str) -> bool:
        manifest = self.evaluated.manifest
        return column in manifest.columns and manifest[column].null_count() < manifest.height
