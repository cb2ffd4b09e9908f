"""Maps against hand-computed and independent ones, what must leave them alone, and weights dealt anew."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from csasn.config import NetworkSettings
from csasn.inference.explanations import evenly_spaced
from csasn.inference.randomised import deal_anew, levels_of
from csasn.network.attention_capture import KeptAttention
from csasn.network.csasn import Csasn, FusionHead
from csasn.network.maps import attention_relevance, explain, grad_cam, log_odds, why_missing
from csasn.network.weights import state_sha256
from csasn.schema import MAPS
from tests.support.small_training import CLASSES, CONFIGURATION, SIZE_PX, branches


def network(**settings: str) -> Csasn:
    """A small network in evaluation mode whose class token and maps all matter."""
    torch.manual_seed(3)
    kept = NetworkSettings(**{**CONFIGURATION.network.model_dump(), **settings})
    made = Csasn(branches(), FusionHead(kept, CLASSES)).eval().requires_grad_(False)
    for name, each in made.head.named_buffers():
        if name.endswith("running_mean"):
            each.normal_(std=0.1)
    return made


@pytest.fixture(scope="module")
def whole() -> Csasn:
    return network()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))


def test_grad_cam_by_hand() -> None:
    activation = torch.tensor([[[[1.0, 0.0], [2.0, 3.0]], [[0.0, 4.0], [1.0, 0.0]]]])
    gradient = torch.tensor([[[[1.0, 1.0], [1.0, 5.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])
    # means over places: 2 and -1; 2 A_1 - A_2 = [[2, -4], [3, 6]]
    assert grad_cam(activation, gradient).tolist() == [[[2.0, 0.0], [3.0, 6.0]]]


def test_attention_relevance_by_hand() -> None:
    first = torch.tensor([[[[0.5, 0.5], [0.25, 0.75]]]])
    slope = torch.tensor([[[[0.0, 2.0], [-1.0, 1.0]]]])
    # relu(A * dy/dA) = [[0, 1], [0, 0.75]]
    assert attention_relevance([first], [slope], torch.tensor([[5.0, 0.0]])).tolist() == [[0.0, 1.0]]
    assert attention_relevance([first], [slope], torch.tensor([[1.0, 3.0]])).tolist() == [[0.0, 0.8125]]
    second, other = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]]), torch.ones(1, 1, 2, 2)
    # R - I after both: E1 + E2 (I + E1) = [[0, 1], [0, .75]] + [[1, 0], [.5, .5]] [[1, 1], [0, 1.75]]
    assert attention_relevance([first, second], [slope, other], torch.tensor([[1.0, 0.0]])).tolist() == [[1.0, 2.0]]


def chefer(weights: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """The class token's row of the authors' rule (Chefer 2021, generate_relevance), written out in loops."""
    n_heads, n = weights[0].shape[1:3]
    relevance = torch.eye(n, dtype=torch.float64)
    for weight, gradient in zip(weights, gradients, strict=True):
        mean = torch.zeros(n, n, dtype=torch.float64)
        for head in range(n_heads):
            mean += (weight[0, head] * gradient[0, head]).clamp(min=0) / n_heads
        relevance = relevance + torch.matmul(mean, relevance)
    relevance[0, 0] -= 1
    return relevance[0]


def test_a_network_that_reads_the_class_token_alone_has_chefers_map() -> None:
    rng = torch.Generator().manual_seed(1)
    weights = [torch.rand(1, 3, 5, 5, generator=rng, dtype=torch.float64).softmax(-1) for _ in range(4)]
    gradients = [torch.randn(1, 3, 5, 5, generator=rng, dtype=torch.float64) for _ in range(4)]
    last = torch.tensor([[2.5, 0, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(attention_relevance(weights, gradients, last)[0], chefer(weights, gradients))


def test_log_odds_are_those_of_the_probability() -> None:
    logits = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    chosen = torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(log_odds(logits, chosen), torch.logit(logits.exp()[torch.arange(4), chosen]))


def test_kept_attention_computes_what_torch_does_and_keeps_every_block(whole: Csasn, images: Tensor) -> None:
    vit = whole.branches["vit"]
    with KeptAttention() as kept:
        tokens = vit.encode(images)
    torch.testing.assert_close(tokens, vit.encode(images), atol=1e-5, rtol=1e-5)
    assert len(kept.weights) == len(vit.backbone.blocks)
    for each in kept.weights:
        torch.testing.assert_close(each.sum(-1), torch.ones(each.shape[:3]))
    query = torch.randn(1, 1, 5, 8)
    with KeptAttention() as masked:
        functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    assert not masked.weights


def by_hooks(whole: Csasn, images: Tensor, layer: nn.Module, of: Callable[[object], Tensor]) -> list[np.ndarray]:
    """Grad-CAM as others compute it: hooks on a layer of the plain forward pass, one image at a time."""
    held: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _given, output: held.append(of(output)))
    found = []
    for row in range(len(images)):
        held.clear()
        output = whole(images[row : row + 1].clone().requires_grad_())
        held[0].retain_grad()
        p = output.logits.softmax(1)[0].max()
        torch.log(p / (1 - p)).backward()
        activation, gradient = held[0].detach()[0].double().numpy(), held[0].grad[0].double().numpy()
        cam = np.maximum(sum(g.mean() * a for a, g in zip(activation, gradient, strict=True)), 0)
        found.append(cam / cam.max() if cam.max() > 0 else cam)
    handle.remove()
    return found


def test_grad_cam_is_that_of_hooks_on_the_plain_forward_pass(whole: Csasn, images: Tensor) -> None:
    explained = explain(whole, images)
    assert explained.target_class.tolist() == whole(images).logits.argmax(1).tolist()
    for kind, layer, of in (
        ("cnn", whole.branches["cnn"], lambda output: output.map),
        ("fused", whole.head.fusion, lambda output: output),
    ):
        for own, other in zip(explained.maps[kind], by_hooks(whole, images, layer, of), strict=True):
            assert own.max() == 1
            assert own == pytest.approx(other, abs=1e-3)


def test_explaining_changes_no_bit_and_repeats_itself(whole: Csasn, images: Tensor) -> None:
    before = state_sha256(whole)
    once, again = explain(whole, images), explain(whole, images)
    assert state_sha256(whole) == before
    assert not whole.training
    assert all(each.grad is None for each in whole.parameters())
    assert set(once.maps) == set(MAPS)
    for kind in MAPS:
        assert (once.maps[kind] == again.maps[kind]).all()
        assert once.maps[kind].min() >= 0
    assert once.maps["vit"].shape[1:] == whole.branches["vit"].patch_grid


def test_a_batch_is_its_images_one_by_one(whole: Csasn, images: Tensor) -> None:
    together = explain(whole, images)
    for row in range(len(images)):
        alone = explain(whole, images[row : row + 1], together.target_class[row : row + 1])
        for kind in MAPS:
            assert alone.maps[kind][0] == pytest.approx(together.maps[kind][row], abs=2e-3)


def test_a_mirrored_image_has_the_mirrored_map_where_the_network_is_symmetric(images: Tensor) -> None:
    """A convolution with symmetric kernels, pooled: nothing in it knows left from right."""
    torch.manual_seed(0)
    kernel = torch.randn(4, 1, 3, 3)
    kernel = kernel + kernel.flip(-1)

    def cam(given: Tensor) -> Tensor:
        activation = functional.conv2d(given, kernel, stride=1, padding=1).relu().requires_grad_()
        y = (activation.mean((2, 3)) @ torch.tensor([1.0, -2.0, 0.5, 3.0])).tanh()
        return grad_cam(activation, torch.autograd.grad(y.sum(), activation)[0])

    torch.testing.assert_close(cam(images.flip(-1)), cam(images).flip(-1))


def test_a_factor_on_the_logits_leaves_the_maps() -> None:
    rng = torch.Generator().manual_seed(2)
    activation, gradient = (torch.randn(2, 6, 4, 4, generator=rng) for _ in range(2))
    plain, scaled = grad_cam(activation, gradient), grad_cam(activation, 7 * gradient)
    torch.testing.assert_close(scaled / scaled.amax((1, 2), keepdim=True), plain / plain.amax((1, 2), keepdim=True))
    weights = [torch.rand(2, 3, 5, 5, generator=rng).double().softmax(-1) for _ in range(4)]
    slopes = [torch.randn(2, 3, 5, 5, generator=rng).double() for _ in range(4)]
    last = torch.rand(2, 5, generator=rng).double()
    # Chefer's rule is of first order in the slopes where they are small, as those of a network's logits are.
    maps = [attention_relevance(weights, [c * each for each in slopes], c * last) / c for c in (1e-4, 1e-5)]
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("settings", "present", "reason"),
    [
        ({"branches": "cnn"}, {"cnn"}, {"vit": "no transformer branch", "fused": "nothing is fused"}),
        ({"branches": "vit"}, {"vit"}, {"cnn": "no convolutional branch", "fused": "nothing is fused"}),
        ({"fusion": "pooled"}, {"cnn", "vit"}, {"fused": "pooled vectors"}),
        ({"attention": "none", "classifier": "linear", "head": "flat"}, set(MAPS), {}),
    ],
)
def test_ablated_networks_have_the_maps_that_they_can_have(
    settings: dict[str, str], present: set[str], reason: dict[str, str], images: Tensor
) -> None:
    made = network(**settings)
    found = explain(made, images)
    assert set(found.maps) == present
    for kind, words in reason.items():
        assert words in why_missing(made, kind)
    assert all(np.isfinite(each).all() for each in found.maps.values())
    names = [name for name, _ in levels_of(made)]
    assert names[0] == "head"
    assert names[-1] == "branches 4/4"
    assert ("classifier" in names) == (settings.get("classifier") != "linear")
    assert ("attention" in names) == (settings.get("attention") != "none")


def test_attention_that_cannot_be_followed_gives_no_map(images: Tensor) -> None:
    made = network()
    for block in made.branches["vit"].backbone.blocks:
        block.attn.fused_attn = False
    assert set(explain(made, images).maps) == {"cnn", "fused"}
    assert "cannot be followed" in why_missing(made, "vit")


def test_levels_hold_every_parameter_once_and_deal_its_own_numbers_anew(whole: Csasn) -> None:
    dealt, again = copy.deepcopy(whole), copy.deepcopy(whole)
    for each in (dealt, again):
        generator = torch.Generator().manual_seed(5)
        for _, parameters in levels_of(each):
            deal_anew(parameters, generator)
    names = {id(parameter): name for name, parameter in dealt.named_parameters()}
    of_levels = [names[id(each)] for _, parameters in levels_of(dealt) for each in parameters]
    assert sorted(of_levels) == sorted(names.values())
    for (name, own), other in zip(whole.named_parameters(), dealt.parameters(), strict=True):
        assert own.flatten().sort().values.equal(other.flatten().sort().values), name
        assert own.unique().numel() < 9 or not own.equal(other), name  # norms at their start are all ones or zeros
    assert state_sha256(dealt) == state_sha256(again)


def test_randomising_the_head_changes_the_maps_and_nothing_below_it(whole: Csasn, images: Tensor) -> None:
    dealt = copy.deepcopy(whole)
    _, head = levels_of(dealt)[0]
    deal_anew(head, torch.Generator().manual_seed(0))
    assert state_sha256(dealt.branches) == state_sha256(whole.branches)
    own, other = (explain(each, images, np.array([1, 1, 1])) for each in (whole, dealt))
    assert not np.array_equal(own.maps["fused"], other.maps["fused"])


def test_images_of_a_patient_are_evenly_spaced() -> None:
    assert evenly_spaced(2, 2) == [0, 1]
    assert evenly_spaced(1, 2) == [0]
    assert evenly_spaced(9, 2) == [0, 8]
    assert evenly_spaced(9, 3) == [0, 4, 8]
