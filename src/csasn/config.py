"""Every setting, frozen, with its unit; TOML files and the command line hold only differences from these defaults."""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every generator of random numbers takes
Sampling = Literal["plain", "class-balanced", "patient-balanced"]
CLASS_CORRECTIONS = (
    "inverse-frequency",
    "effective-number",
    "ldam-drw",
    "logit-adjustment",
    "balanced-softmax",
    "dynamic",
)
Scheme = Literal["grouped-kfold", "leave-one-site-out", "holdout"]
Tracker = Literal["tensorboard", "mlflow"]
Strategy = Literal["ddp", "fsdp"]
Baseline = Literal["cnn-only", "vit-only", "vit-logistic-regression"]


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DicomSettings(Settings):
    """What becomes of DICOM ultrasound: declared policies, each recorded in the certificate."""

    frames: Literal["middle", "evenly-spaced", "all"] = "middle"
    """Frames taken from a cine loop; they stay with their patient."""
    n_frames: Annotated[int, Field(ge=1)] = 3
    """Number of evenly spaced frames."""
    no_region: Literal["refuse", "whole-image"] = "refuse"
    """An image without a B-mode ultrasound region is refused, or used whole, burned-in text masked by its policy."""
    burned_in_text: Literal["mask", "refuse"] = "mask"
    """Text inside the region is masked, or the frame is refused."""
    colour_doppler: Literal["refuse", "keep"] = "refuse"
    """Frames with colour flow are refused, or kept as grey."""


class IngestSettings(Settings):
    """How a source is read; the tables in TOML are [columns] and [dicom]."""

    columns: dict[str, str] = {}
    """Manifest column and the table's own name for it, in pairs: --columns patient_id PatientNumber label Histology."""
    malignant_classes: tuple[str, ...] = ()
    """Further malignant labels, beside PTC, FTC, MTC, ATC and malignant."""
    non_malignant_classes: tuple[str, ...] = ()
    """Further non-malignant labels, beside benign and normal."""
    site: str = "site-1"
    """Site of rows that name none."""
    same_patients: bool = False
    """Ids that differ only in spelling or issuer, and one id at several sites, are one patient each; else refused."""
    distinct_sites: bool = False
    """Each site counts its own patients: one id at two sites is two patients; else refused."""
    dicom: DicomSettings = DicomSettings()


class SplitSettings(Settings):
    """How patients are dealt into folds and partitions."""

    scheme: Scheme = "grouped-kfold"
    """Grouped k-fold, leave-one-site-out, or one holdout."""
    n_folds: Annotated[int, Field(ge=2)] = 5
    """Folds of grouped-kfold."""
    tuning_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.15
    """Share of a fold's training patients set aside for early stopping and operating points."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=0.9)] = 0.2
    """Share of patients tested under holdout."""
    near_duplicates: Literal["together", "ignore"] = "together"
    """Patients whose pictures look alike are dealt together, or not."""
    lone_classes: Literal["refuse", "not-estimable"] = "refuse"
    """A class with one patient is refused, or kept: learned from in every fold, never tested, not estimable."""
    seed: int = 0
    """Seed of the deal: any whole number."""


class ImagingSettings(Settings):
    """How pixels become tensors."""

    size_px: Annotated[int, Field(ge=32)] = 224
    """Side of the letterboxed square, px."""


class AugmentationSettings(Settings):
    """Ranges of the random changes; every draw is seeded per image and epoch. None mirrors top and bottom."""

    flip_probability: Fraction = 0.5
    """Chance of a left-right flip."""
    rotation_deg: Annotated[float, Field(ge=0.0, le=30.0)] = 8.0
    """Largest rotation either way, degrees."""
    scale: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.1
    """Largest relative enlargement or reduction."""
    gain: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Largest additive change of brightness, as a share of full white."""
    contrast: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Largest relative change of contrast about mid-grey."""
    speckle: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.08
    """Largest standard deviation of multiplicative, spatially correlated noise."""


class NetworkSettings(Settings):
    """CSASN; each part is switched off by one setting."""

    branches: Literal["both", "cnn", "vit"] = "both"
    """Both branches, or one alone."""
    cnn: str = "tf_efficientnet_lite0"
    """timm name of the convolutional branch."""
    cnn_channels: int = 1280
    """Declared channels of its last map; checked when the network is built."""
    vit: str = "vit_small_patch14_dinov2"
    """timm name of the transformer branch."""
    vit_channels: int = 384
    """Declared width of its tokens; checked when the network is built."""
    fusion: Literal["maps", "pooled"] = "maps"
    """Fuse feature maps (ours) or pooled vectors (the paper's literal reading)."""
    attention: Literal["channel-spatial", "reversed", "parallel", "channel", "spatial", "scsa", "none"] = (
        "channel-spatial"
    )
    """Channel then spatial attention (Woo 2018), reversed, side by side, one alone, SCSA (Si 2024), or none."""
    reduction: Annotated[int, Field(ge=1)] = 16
    """Channel attention's bottleneck ratio r."""
    classifier: Literal["residual-multiscale", "multiscale", "linear"] = "residual-multiscale"
    """Residual multiscale classifier, the same without the shortcut, or pooling alone."""
    classifier_channels: Annotated[int, Field(ge=8)] = 128
    """Width of the multiscale classifier, channels."""
    feature_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Dropout of whole channels of the fused map and of the class token, before the attention."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    """Dropout before the heads."""
    head: Literal["chain", "flat"] = "chain"
    """Malignancy first and then the class within its group, or one flat softmax."""


class LossSettings(Settings):
    """The dynamically weighted multitask loss, on its two levels."""

    tasks: Literal["uncertainty", "fixed", "dwa", "gradnorm"] = "uncertainty"
    """Learned uncertainty (Kendall 2018), all one, the pace of each loss (Liu 2019), or gradients (Chen 2018)."""
    classes: Literal[
        "none",
        "inverse-frequency",
        "effective-number",
        "focal",
        "ldam-drw",
        "logit-adjustment",
        "balanced-softmax",
        "dynamic",
    ] = "dynamic"
    """How rare classes are made to count; dynamic follows difficulty on top of the effective number."""
    effective_beta: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Beta of the effective number of samples (Cui 2019)."""
    difficulty_momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Memory of the running difficulty of each class, per step."""
    focal_gamma: Annotated[float, Field(ge=0.0, le=10.0)] = 2.0
    """Exponent of the focal loss (Lin 2017)."""
    logit_tau: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0
    """Factor on the log prior in logit adjustment (Menon 2021)."""
    ldam_max_margin: Annotated[float, Field(gt=0.0, le=10.0)] = 0.5
    """Margin of the rarest class under LDAM (Cao 2019), on the scale of logits."""
    ldam_scale: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    """Factor on LDAM's logits; 1 keeps probabilities as told, because ours are not cosines as Cao's are."""
    gradnorm_alpha: Annotated[float, Field(ge=0.0, le=10.0)] = 1.5
    """How strongly GradNorm pulls the tasks to one pace (Chen 2018)."""
    site_adversary: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Largest factor on the reversed gradient of a head that tells the site (DANN, Ganin 2016: 1); 0 leaves it out."""


class FrozenSettings(Settings):
    """The first stage: the branches frozen, everything above them trained on cached features."""

    epochs: Annotated[int, Field(ge=1)] = 30
    """Most epochs of the frozen stage."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """Peak AdamW rate of the frozen stage."""
    mixup: Annotated[float, Field(ge=0.0, le=2.0)] = 0.4
    """Beta parameter of mixup between the cached features of two images, in the frozen stage; 0 turns it off."""


class FinetuneSettings(Settings):
    """The second stage: both branches trained too, from cached activations or from pixels."""

    epochs: Annotated[int, Field(ge=0)] = 0
    """Most epochs of fine-tuning both branches; 0 leaves them frozen."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-5
    """Peak AdamW rate of the branches' last blocks in fine-tuning; everything above them takes ten times that."""
    blocks: Annotated[int, Field(ge=0)] = 0
    """Last blocks (transformer) and stages (CNN) that are trained, on cached activations; 0 trains all, from pixels."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    """Factor on the rate for every block further down (Bao 2022, arXiv 2106.08254); 1 gives all the same."""
    unfreeze_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs before each further block joins, from the top (Howard 2018, arXiv 1801.06146); 0 trains all at once."""
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Chance of skipping a branch's last block in fine-tuning, falling linearly to 0 at the first (Huang 2016)."""
    clip_norm: Annotated[float, Field(ge=0.0)] = 1.0
    """Largest norm of the whole gradient in fine-tuning; 0 leaves it unclipped."""
    mixup: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Beta parameter of mixup in fine-tuning, between cached activations or, from pixels, between the features that the
    branches give; 0 turns it off. Pixels are never blended."""
    cutmix: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Beta parameter of CutMix (Yun 2019) between images in fine-tuning from pixels; 0 turns it off."""


class FitSettings(Settings):
    """Two stages: frozen backbones on cached maps, then optional fine-tuning of both branches."""

    weights: str = "auto"
    """Pretrained weights: auto (CSASN_WEIGHTS, else the installed package, else none), hub, none, or a folder."""
    cached_views: Annotated[int, Field(ge=1, le=64)] = 6
    """Views of each image whose maps are cached: the plain one, its mirror, then augmented ones."""
    frozen: FrozenSettings = FrozenSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Images a step."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts in which a step's images are computed one after the other, for want of memory; their gradients add up."""
    sampling: Sampling = "plain"
    """Each training image once an epoch, or every class, or every patient, as often as every other."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.98
    """Largest memory, per step, of the moving average of the weights that is evaluated and kept."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.05
    """AdamW's decoupled weight decay."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps in which the rate rises linearly, before the cosine."""
    patience_epochs: Annotated[int, Field(ge=1)] = 10
    """Epochs without a better tuning loss before a stage stops."""
    save_every_steps: Annotated[int, Field(ge=0)] = 0
    """Steps between two saved states of a training, from which it goes on; 0 counts none."""
    save_every_s: Annotated[float, Field(ge=0.0)] = 60.0
    """Seconds between two saved states of a training; 0 counts none."""
    track: tuple[Tracker, ...] = ()
    """Further places for the training curves, beside the run folder's journal; they come with the extra `track`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto takes bfloat16 where the device computes it natively, and float32 elsewhere."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Device, by Lightning Fabric's name."""
    baselines: tuple[Baseline, ...] = ("cnn-only", "vit-only", "vit-logistic-regression")
    """Models trained beside CSASN on the same folds, for the comparison."""
    seed: Seed = 0
    """Seed of initialisation, order and augmentation."""


class PredictSettings(Settings):
    """How a trained model reads."""

    n_views: Annotated[int, Field(ge=1, le=64)] = 6
    """Views of each image whose log-probabilities are averaged: the plain one, its mirror, then augmented ones."""
    gated_attention: bool = False
    """Also read each nodule's images together, by gated attention (Ilse 2018), beside the mean of their logits."""


class EvaluateSettings(Settings):
    """How predictions become evidence."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Level of every interval."""
    n_bootstrap: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    """Draws of patients with replacement."""
    calibration_bins: Annotated[int, Field(ge=2)] = 10
    """Equal-mass bins of the reliability diagram and of ECE."""
    fixed_specificity: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    """Specificity at which the sensitivity of each curve is read."""
    fixed_sensitivity: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    """Sensitivity at which the specificity of each curve is read, and biopsies are counted."""
    population: dict[str, Annotated[float, Field(gt=0.0, lt=1.0)]] = {}
    """Prevalence where the model will be used: malignancy alone, or every class (sum 1); empty: not declared."""
    set_alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of each class that prediction sets may miss."""
    calibrated_together: tuple[str, ...] = ()
    """Classes too scarce to calibrate alone, declared to share one threshold of the prediction sets."""


class NoveltySettings(Settings):
    """How a model notices what it was not trained on, and abstains."""

    abstained_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Share of the tuning patients beyond the abstention threshold."""
    n_neighbours: Annotated[int, Field(ge=1)] = 10
    """Training images to the last of which the distance is taken."""


class ShortcutSettings(Settings):
    """How the audit asks whether a model leans on what is not the nodule."""

    n_patients: Annotated[int, Field(ge=1)] = 200
    """Most patients whose altered pictures are read; every class is drawn from in turn."""
    n_permutations: Annotated[int, Field(ge=99)] = 1999
    """Permutations of the labels behind each p-value."""
    false_alarm_rate: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.01
    """Chance that the audit raises any alarm where nothing leaks."""
    smallest_auroc: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.55
    """AUROC within sites from which on a leak is large enough for an alarm."""


class ExplainSettings(Settings):
    """What is shown of how a model decides."""

    n_patients: Annotated[int, Field(ge=1)] = 200
    """Most patients whose maps are made; every class is drawn from in turn."""
    n_similar: Annotated[int, Field(ge=1)] = 4
    """Nearest training nodules listed for each nodule of a rare class that was read wrongly."""


class Configuration(Settings):
    """Everything a run depends on, but for its cohort."""

    split: SplitSettings = SplitSettings()
    imaging: ImagingSettings = ImagingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    network: NetworkSettings = NetworkSettings()
    loss: LossSettings = LossSettings()
    fit: FitSettings = FitSettings()
    predict: PredictSettings = PredictSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    novelty: NoveltySettings = NoveltySettings()
    shortcuts: ShortcutSettings = ShortcutSettings()
    explain: ExplainSettings = ExplainSettings()

    @model_validator(mode="after")
    def _views_are_cached(self) -> Self:
        if self.predict.n_views > self.fit.cached_views:
            raise ValueError(
                f"predict.n_views ({self.predict.n_views}) must not exceed fit.cached_views ({self.fit.cached_views})"
            )
        return self

    @model_validator(mode="after")
    def _the_prior_is_corrected_once(self) -> Self:
        if self.fit.sampling == "class-balanced" and self.loss.classes in CLASS_CORRECTIONS:
            raise ValueError(
                f"fit.sampling class-balanced with loss.classes {self.loss.classes} would correct the classes' "
                "frequencies twice, and turn a rare class into a common one. Give loss.classes none or focal with it, "
                "or fit.sampling plain or patient-balanced"
            )
        return self

    @model_validator(mode="after")
    def _tasks_share_what_gradnorm_balances(self) -> Self:
        nothing_shared = self.network.classifier == "linear" and self.network.attention == "none"
        if self.loss.tasks == "gradnorm" and nothing_shared:
            raise ValueError(
                "loss.tasks gradnorm balances the tasks' gradients at the last part that they share, and with "
                "network.classifier linear and network.attention none there is none below the heads that learns. "
                "Give another loss.tasks, or keep attention or classifier"
            )
        return self

    @model_validator(mode="after")
    def _a_step_can_be_computed_in_parts(self) -> Self:
        n_parts, batch_size = self.fit.accumulate, self.fit.batch_size
        if n_parts > 1 and self.loss.tasks == "gradnorm":
            raise ValueError(
                f"fit.accumulate {n_parts} with loss.tasks gradnorm would balance the norms of the parts' gradients, "
                "and the norm of a step's gradient is not their sum. Give fit.accumulate 1, or another loss.tasks"
            )
        if batch_size < 2 * n_parts:
            raise ValueError(
                f"fit.batch_size ({batch_size}) is the whole step, and each of its fit.accumulate ({n_parts}) parts "
                f"needs two images for batch normalisation: give at most {batch_size // 2} parts"
            )
        return self

    @model_validator(mode="after")
    def _fine_tuning_blends_one_way(self) -> Self:
        settings = self.fit
        if settings.finetune.mixup and not settings.finetune.epochs:
            raise ValueError(
                f"fit.finetune.mixup ({settings.finetune.mixup}) acts in fine-tuning alone, and fit.finetune.epochs is "
                "0. Give fit.finetune.epochs above 0, or fit.frozen.mixup for the frozen stage"
            )
        if settings.finetune.mixup and settings.finetune.cutmix:
            raise ValueError(
                f"fit.finetune.mixup ({settings.finetune.mixup}) and fit.finetune.cutmix ({settings.finetune.cutmix}) "
                "both blend the images of a batch, and a row has two labels, not four. Give one of them, the other 0"
            )
        return self

    @model_validator(mode="after")
    def _images_are_cut_where_there_are_images(self) -> Self:
        settings = self.fit
        if settings.finetune.cutmix and (settings.finetune.blocks or not settings.finetune.epochs):
            raise ValueError(
                "fit.finetune.cutmix pastes a box of pixels and acts in fine-tuning from pixels alone: on cached maps "
                "and tokens no box has the same area in both branches. Give fit.finetune.epochs above 0 and "
                "fit.finetune.blocks 0 with it, or mixup (fit.frozen.mixup, fit.finetune.mixup) instead"
            )
        return self

    def sha256(self) -> str:
        """SHA-256 of the resolved settings."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
