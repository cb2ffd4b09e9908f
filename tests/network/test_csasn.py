"""The whole network on tiny branches: shapes, gradients, determinism, and every ablation switch."""

import dataclasses

import pytest
import timm
import torch
from torch import nn

from csasn.config import NetworkSettings
from csasn.errors import BadInputError
from csasn.network.backbones import Branch, Features, build_cnn, build_vit
from csasn.network.csasn import Csasn, FusionHead, Output, count_parameters
from csasn.network.fusion import Fusion
from csasn.schema import ClassList

CLASSES = ClassList(names=("benign", "normal", "PTC", "FTC", "MTC"), n_non_malignant=2)
CNN, VIT, SIZE_PX = 256, 64, 64  # channels of timm's smallest networks, image side
SETTINGS = NetworkSettings(
    cnn="test_efficientnet",
    cnn_channels=CNN,
    vit="test_vit",
    vit_channels=VIT,
    classifier_channels=16,
    feature_dropout=0.0,
    dropout=0.0,
)


def tiny_branches(size_px: int = SIZE_PX) -> dict[str, Branch]:
    return {
        "cnn": build_cnn("test_efficientnet", channels=CNN, overlay=None),
        "vit": build_vit("test_vit", channels=VIT, size_px=size_px, overlay=None),
    }


def tiny(**changes: object) -> Csasn:
    torch.manual_seed(0)
    return Csasn(tiny_branches(), FusionHead(SETTINGS.model_copy(update=changes), CLASSES))


def images(n: int = 3, size_px: int = SIZE_PX) -> torch.Tensor:
    return torch.rand(n, 1, size_px, size_px, generator=torch.Generator().manual_seed(1))


def loss_of(output: Output) -> torch.Tensor:
    """Every logit takes part."""
    weights = torch.linspace(-1, 2, output.logits.numel()).reshape(output.logits.shape)
    return (output.logits * weights).sum() + output.malignancy.sum()


def test_every_parameter_learns_once_the_merge_scale_has_left_zero() -> None:
    network = tiny()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    for _ in range(2):  # the first step moves the merge's scale off zero; the second reaches what lies behind it
        optimizer.zero_grad()
        loss_of(network.train()(images())).backward()
        first = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
        optimizer.step()
    assert all(torch.isfinite(each).all() for each in first.values())
    assert [name for name, each in first.items() if not each.any()] == []
    assert [name for name, each in network.named_parameters() if torch.equal(each, before[name])] == []


def test_behind_the_merge_nothing_learns_in_the_very_first_step() -> None:
    network = tiny()
    loss_of(network.train()(images())).backward()
    still = {name for name, parameter in network.named_parameters() if not parameter.grad.any()}
    merge = "head.classifier.merge.0.weight"
    views = {name for name, _ in network.named_parameters() if name.startswith("head.classifier.views.")}
    assert still == {merge} | views


def tensors_of(output: Output) -> dict[str, torch.Tensor]:
    """Every tensor of an output by name, the branches' features among them."""
    found = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    features = found.pop("features")
    for branch, each in features.items():
        found |= {f"{branch}.{field.name}": getattr(each, field.name) for field in dataclasses.fields(each)}
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}


def test_it_reads_zeros_and_constants_without_nan() -> None:
    network = tiny()
    flat = torch.cat([torch.full((1, 1, SIZE_PX, SIZE_PX), value) for value in (0.0, 0.5, 1.0)])
    for training in (False, True):
        output = network.train(training)(flat)
        for name, tensor in tensors_of(output).items():
            assert torch.isfinite(tensor).all(), name
    loss_of(network(torch.zeros(2, 1, SIZE_PX, SIZE_PX))).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_two_evaluations_are_bit_identical() -> None:
    network = tiny(dropout=0.5, feature_dropout=0.5).eval()
    with torch.no_grad():
        first, second = network(images()), network(images())
        assert not torch.equal(first.logits, network(images() * 0.5).logits)
    again = tensors_of(second)
    for name, tensor in tensors_of(first).items():
        assert torch.equal(tensor, again[name]), name


@pytest.mark.parametrize("setting", ["dropout", "feature_dropout"])
def test_dropout_works_in_training_alone(setting: str) -> None:
    network = tiny(**{setting: 0.9}).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.train()
    with torch.no_grad():
        assert not torch.equal(network(images()).logits, network(images()).logits)


def test_named_intermediates_have_the_documented_shapes() -> None:
    output = tiny().eval()(images(3))
    assert output.logits.shape == (3, 5)
    assert output.malignancy.shape == (3,)
    assert output.fused_map.shape == (3, VIT + CNN, 2, 2)
    assert output.channel_gate.shape == (3, VIT + CNN, 1, 1)
    assert output.spatial_gate.shape == (3, 1, 2, 2)
    assert output.embedding.shape == (3, 16 + VIT)
    for gate in (output.channel_gate, output.spatial_gate):
        assert ((gate > 0) & (gate < 1)).all()
    assert output.logits.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)


@pytest.mark.parametrize(("size_px", "side"), [(64, 2), (80, 3), (96, 3)])
def test_both_branches_share_one_grid(size_px: int, side: int) -> None:
    branches = tiny_branches(size_px)
    found = {name: branch.eval()(images(2, size_px)) for name, branch in branches.items()}
    assert found["cnn"].map.shape == (2, CNN, side, side)
    assert found["vit"].map.shape == (2, VIT, side, side)
    assert found["cnn"].token is None
    assert found["vit"].token.shape == (2, VIT)


def test_the_transformers_map_is_its_patches_in_place() -> None:
    """A change in one corner of the picture, before any mixing of patches, changes that corner of the map."""
    branch = tiny_branches()["vit"].eval()
    branch.backbone.blocks = nn.Sequential()
    plain = torch.full((1, 1, SIZE_PX, SIZE_PX), 0.5)
    marked = plain.clone()
    marked[:, :, :16, -16:] = 0.0
    with torch.no_grad():
        changed = (branch(marked).map - branch(plain).map).abs().amax(dim=1)[0] > 1e-6
    assert changed.tolist() == [[False, True], [False, False]]


def test_grey_is_standardised_as_the_weights_were_trained() -> None:
    branch = tiny_branches()["cnn"].eval()
    seen: list[torch.Tensor] = []
    branch.backbone.forward_features = lambda x: (seen.append(x), x)[1]
    branch(torch.full((1, 1, 4, 4), 0.5))
    cfg = branch.backbone.pretrained_cfg
    expected = [(0.5 - mean) / std for mean, std in zip(cfg["mean"], cfg["std"], strict=True)]
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


ABLATIONS = {
    "cnn alone": {"branches": "cnn"},
    "vit alone": {"branches": "vit"},
    "pooled": {"fusion": "pooled"},
    "pooled cnn": {"fusion": "pooled", "branches": "cnn"},
    "channel": {"attention": "channel"},
    "spatial": {"attention": "spatial"},
    "reversed": {"attention": "reversed"},
    "parallel": {"attention": "parallel"},
    "scsa": {"attention": "scsa"},
    "no attention": {"attention": "none"},
    "no shortcut": {"classifier": "multiscale"},
    "linear": {"classifier": "linear"},
    "flat": {"head": "flat"},
}
CHANNEL = 2 * (VIT + CNN) * ((VIT + CNN) // 16)
SPATIAL = 2 * 7 * 7 + 2


def parts_of(attention: str) -> str:
    return "channel-spatial" if attention in ("reversed", "parallel", "scsa") else attention


def neck_parameters(**changes: object) -> dict[str, int]:
    """Parameters of each part, counted by hand."""
    s = SETTINGS.model_copy(update=changes)
    channels = {"both": VIT + CNN, "cnn": CNN, "vit": VIT}[s.branches]
    width = s.classifier_channels
    views = sum(k * k * width + width * width + 2 * width for k in (1, 3, 5))
    linear = s.classifier == "linear"
    with_token = s.branches != "cnn" and s.fusion == "maps"
    read = (channels if linear else width) + (VIT if with_token else 0)
    parts = parts_of(s.attention)
    attention = ("channel" in parts) * 2 * channels * (channels // 16) + ("spatial" in parts) * SPATIAL
    if s.attention == "scsa":  # four depthwise convolutions with biases, three normalisations, three projections
        attention = sum(channels // 4 * (k + 1) for k in (3, 5, 7, 9)) + 3 * 2 * channels + 3 * channels
    return {
        "attention": attention,
        "classifier": 0 if linear else channels * width + 2 * width + views + 3 * width * width + 2 * width,
        "token_norm": 2 * VIT if with_token else 0,
        "output": (read + 1) * (5 if s.head == "flat" else 1 + 2 + 3),
    }


@pytest.mark.parametrize("changes", [{}, *ABLATIONS.values()], ids=["whole", *ABLATIONS])
def test_every_switch_builds_runs_and_counts(changes: dict[str, str]) -> None:
    network = tiny(**changes)
    output = network.train()(images(2))
    assert output.logits.shape == (2, 5)
    assert torch.isfinite(output.logits).all()
    attention = parts_of(changes.get("attention", "channel-spatial"))
    assert (output.channel_gate is not None) == ("channel" in attention)
    assert (output.spatial_gate is not None) == ("spatial" in attention)
    assert list(network.branches) == {"cnn": ["cnn"], "vit": ["vit"]}.get(changes.get("branches"), ["vit", "cnn"])
    if changes.get("fusion") == "pooled":
        assert output.fused_map.shape[2:] == (1, 1)
    counted = count_parameters(network)
    of_branches = {name: sum(p.numel() for p in branch.parameters()) for name, branch in network.branches.items()}
    expected = {name: n for name, n in neck_parameters(**changes).items() if n} | of_branches
    assert counted == expected
    assert sum(counted.values()) == sum(parameter.numel() for parameter in network.parameters())


def test_switches_cost_what_their_parts_cost() -> None:
    assert neck_parameters()["attention"] == CHANNEL + SPATIAL
    assert neck_parameters(attention="none")["attention"] == 0
    whole, one = (sum(neck_parameters(branches=each).values()) for each in ("both", "cnn"))
    assert whole > one


def test_fusion_puts_the_transformer_first() -> None:
    vit = Features(map=torch.full((2, 3, 2, 2), 7.0), token=torch.full((2, 3), 5.0))
    cnn = Features(map=torch.arange(8.0).reshape(2, 1, 2, 2), token=None)
    maps, pooled = (Fusion(channels=4, pooled=each).eval() for each in (False, True))
    scale = (1 + maps.norm.eps) ** -0.5  # BatchNorm without history
    assert (maps([vit, cnn])[1, :, 1, 1] / scale).tolist() == pytest.approx([7, 7, 7, 7.0])
    assert (pooled([vit, cnn])[:, :, 0, 0] / scale)[0].tolist() == pytest.approx([5, 5, 5, 1.5])


def test_a_wrong_declared_width_names_both_numbers() -> None:
    with pytest.raises(BadInputError, match=f"declared 100, timm builds {CNN}"):
        build_cnn("test_efficientnet", channels=100, overlay=None)
    with pytest.raises(BadInputError, match=f"declared 100, timm builds {VIT}"):
        build_vit("test_vit", channels=100, size_px=SIZE_PX, overlay=None)


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(BadInputError, match=r"no network named test_nothing.*test_byobnet"):
        build_cnn("test_nothing", channels=8, overlay=None)


def test_each_branch_takes_its_own_kind_of_network() -> None:
    with pytest.raises(BadInputError, match=r"network\.cnn must name a convolutional"):
        build_cnn("test_vit", channels=VIT, overlay=None)


BASELINES = {"resnet18": 512, "densenet121": 1024, "swin_tiny_patch4_window7_224": 768, "convnext_atto": 320}


@pytest.mark.parametrize(("name", "channels"), BASELINES.items())
def test_rivals_by_name_give_the_map_that_timm_pools(name: str, channels: int) -> None:
    branch = build_cnn(name, channels=channels, overlay=None, size_px=96).eval()
    given = images(2, size_px=96)
    seen = branch(given)
    assert seen.map.shape == (2, channels, 3, 3)
    options = {"img_size": 96} if name.startswith("swin") else {}
    whole = timm.create_model(name, num_classes=0, **options).eval()
    whole.load_state_dict(branch.backbone.state_dict())
    pooled = seen.map.mean(dim=(2, 3))
    if name.startswith("convnext"):  # its last normalisation stands behind the pooling
        pooled = whole.head.norm(pooled[:, :, None, None]).flatten(1)
    torch.testing.assert_close(pooled, whole(branch.standardised(given)), atol=1e-5, rtol=1e-4)
