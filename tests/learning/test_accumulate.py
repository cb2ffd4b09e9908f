"""A step in parts is the step of the whole batch, resumes like it, and is refused where it could not be it."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from csasn.config import Configuration, FinetuneSettings, FitSettings, FrozenSettings, LossSettings
from csasn.learning.epochs import batch_inputs
from csasn.learning.module import build_training_module
from csasn.learning.objective.labels import Whole
from csasn.learning.objective.losses import MultitaskLoss
from csasn.learning.optimisation import Stage, training_mode
from csasn.learning.training import StageRun, train_stage
from tests.support.small_training import CONFIGURATION, ROWS, branches, cohort, input_source
from tests.support.small_unit import SHORT, start_fabric, train_unit

FROZEN = Stage(name="frozen", n_epochs=2, learning_rate=1e-3)
FINETUNE = Stage(name="finetune", n_epochs=1, learning_rate=1e-4)


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return start_fabric()


def configured(*, accumulate: int, loss: dict[str, object], **fit: object) -> Configuration:
    """The small configuration without anything random inside the network."""
    still = {"dropout": 0.0, "feature_dropout": 0.0}
    return CONFIGURATION.model_copy(
        update={
            "network": CONFIGURATION.network.model_copy(update=still),
            "loss": LossSettings(**loss),
            "fit": CONFIGURATION.fit.model_copy(update={"accumulate": accumulate, **fit}),
        }
    )


@pytest.fixture
def batch_norm_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch normalisation in evaluation mode everywhere: its batch statistics are what parts cannot share."""

    def still(module: torch.nn.Module, stage: Stage) -> None:
        training_mode(module, stage)
        for layer in module.modules():
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.eval()

    monkeypatch.setattr("csasn.learning.training.training_mode", still)


def trained(fabric: Fabric, stage: Stage, configuration: Configuration) -> tuple[dict[str, torch.Tensor], list[object]]:
    """Tensors after the stage, and its history."""
    torch.manual_seed(0)
    module = build_training_module("csasn", branches(), cohort(), ROWS.train, configuration)
    course = StageRun(
        fabric=fabric,
        module=module,
        inputs=input_source(frozen=stage.name == "frozen"),
        rows=ROWS,
        stage=stage,
        configuration=configuration,
    )
    history = train_stage(course)
    return {name: each.clone() for name, each in module.state_dict().items()}, history


def gap(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference of any weight."""
    return max(float((one[name].float() - each.float()).abs().max()) for name, each in other.items())


LOSSES = [
    {"classes": "none", "tasks": "fixed"},
    {"classes": "dynamic", "tasks": "uncertainty"},
    {"classes": "effective-number", "effective_beta": 0.9, "tasks": "dwa"},
    {"classes": "ldam-drw", "tasks": "uncertainty"},
    {"classes": "logit-adjustment", "tasks": "fixed"},
    {"classes": "focal", "tasks": "dwa"},
    {"classes": "dynamic", "tasks": "uncertainty", "site_adversary": 1.0},
]


@pytest.mark.usefixtures("batch_norm_still")
@pytest.mark.parametrize("loss", LOSSES, ids=lambda each: "-".join(map(str, each.values())))
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_parts_of_a_batch_give_the_step_of_the_batch(fabric: Fabric, loss: dict[str, object], mixup: float) -> None:
    """36 rows in batches of 8: the last batch has 4 rows, and two parts where the others have four."""
    (whole, told), (parts, again) = (
        trained(fabric, FROZEN, configured(accumulate=n, loss=loss, frozen=FrozenSettings(mixup=mixup))) for n in (1, 4)
    )
    assert gap(whole, parts) < 1e-5
    for mine, other in zip(told, again, strict=True):
        assert other["train_loss"] == pytest.approx(mine["train_loss"], rel=1e-5)
        for kind, weights in mine["weights"].items():
            assert other["weights"][kind] == pytest.approx(weights, rel=1e-4), kind


@pytest.mark.usefixtures("batch_norm_still")
@pytest.mark.parametrize("blending", [{"cutmix": 1.0}, {"mixup": 0.4}], ids=["cut", "blended"])
def test_parts_of_a_batch_of_images_give_its_step_too(fabric: Fabric, blending: dict[str, float]) -> None:
    loss = {"classes": "dynamic", "tasks": "uncertainty"}
    whole, parts = (
        trained(fabric, FINETUNE, configured(accumulate=n, loss=loss, finetune=FinetuneSettings(**blending)))[0]
        for n in (1, 3)
    )
    assert gap(whole, parts) < 1e-5


@pytest.mark.usefixtures("batch_norm_still")
def test_a_loss_normalised_part_by_part_would_be_another_step(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what most loops do, the mean of the parts' own weighted means."""
    loss = {"classes": "effective-number", "effective_beta": 0.9, "tasks": "fixed"}
    whole, _ = trained(fabric, FROZEN, configured(accumulate=1, loss=loss))
    real = MultitaskLoss.forward

    def part_by_part(self: MultitaskLoss, output: object, labels: object, whole: Whole, shared: object) -> torch.Tensor:
        return real(self, output, labels, None, shared) * whole.portion

    monkeypatch.setattr(MultitaskLoss, "forward", part_by_part)
    naive, _ = trained(fabric, FROZEN, configured(accumulate=4, loss=loss))
    assert gap(whole, naive) > 1e-4


def test_cut_in_the_middle_of_a_step_a_training_goes_on_to_the_same_bits(
    fabric: Fabric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before the third of the parts of a batch, in each stage."""
    fit = CONFIGURATION.fit.model_copy(update={"accumulate": 4, "finetune": FinetuneSettings(cutmix=1.0, epochs=2)})
    configuration = CONFIGURATION.model_copy(update={"fit": fit})
    looked = [0]

    def train(folder: Path, cut_at: int = 0) -> str:
        looked[0] = 0

        def followed(*given: object, **named: object) -> object:
            looked[0] += 1
            if looked[0] == cut_at:
                raise KeyboardInterrupt
            return batch_inputs(*given, **named)

        monkeypatch.setattr("csasn.learning.training.batch_inputs", followed)
        return train_unit(fabric, folder, lambda *_: None, configuration=configuration)

    uncut = train(tmp_path / "uncut")
    n_parts = looked[0]
    assert n_parts == sum(stage.n_epochs for stage in SHORT) * (4 + 4 + 2)
    for cut_at in (7, n_parts - 3):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / str(cut_at), cut_at)
        assert train(tmp_path / str(cut_at)) == uncut


def test_gradnorm_in_parts_and_parts_of_one_image_are_refused() -> None:
    with pytest.raises(ValueError, match="the norm of a step's gradient is not their sum"):
        Configuration(fit=FitSettings(accumulate=2), loss=LossSettings(tasks="gradnorm"))
    with pytest.raises(ValueError, match="give at most 4 parts"):
        Configuration(fit=FitSettings(accumulate=5, batch_size=8))
