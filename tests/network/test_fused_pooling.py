"""Summaries of a map against torch's own reductions, and their gradients against those that torch makes of them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from csasn.network.fused_pooling import over_channels, over_lines, over_positions

Summary = Callable[[Tensor], tuple[Tensor, ...]]


def plainly_over_places(x: Tensor) -> tuple[Tensor, ...]:
    return x, x.mean(dim=(2, 3), keepdim=True), x.flatten(2).max(dim=2).values[:, :, None, None]


def plainly_over_channels(x: Tensor) -> tuple[Tensor, ...]:
    return x, x.mean(dim=1, keepdim=True), x.max(dim=1, keepdim=True).values


def plainly_over_lines(x: Tensor) -> tuple[Tensor, ...]:
    return x, x.mean(dim=3, keepdim=True), x.mean(dim=2, keepdim=True)


SUMMARIES = [
    (over_positions, plainly_over_places),
    (over_channels, plainly_over_channels),
    (over_lines, plainly_over_lines),
]
CHANNELS_LAST, AS_NAMED = torch.channels_last, torch.contiguous_format


def given(shape: tuple[int, ...], layout: torch.memory_format) -> Tensor:
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))
    return x.contiguous(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("layout", [CHANNELS_LAST, AS_NAMED], ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (2, 5, 5, 5), (2, 1, 3, 2), (2, 6, 1, 1)], ids=str)
@pytest.mark.parametrize(("summary", "plain"), SUMMARIES, ids=["places", "channels", "lines"])
def test_values_and_gradients_are_torchs_own(
    summary: Summary, plain: Summary, shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    x, same = given(shape, layout), given(shape, layout)
    found, expected = summary(x), plain(same)
    weights = [torch.randn_like(each) for each in expected]
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-14)
    for parts in (found, expected):
        sum((part.square() * weight).sum() for part, weight in zip(parts, weights, strict=True)).backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, same.grad, rtol=0, atol=1e-13)


@pytest.mark.parametrize("layout", [CHANNELS_LAST, AS_NAMED], ids=str)
@pytest.mark.parametrize("summary", [over_positions, over_channels, over_lines])
def test_gradients_are_right_to_the_second_order(summary: Summary, layout: torch.memory_format) -> None:
    x = given((2, 3, 4, 2), layout)
    assert torch.autograd.gradcheck(lambda each: tuple(part.square() for part in summary(each)), (x,))
    assert torch.autograd.gradgradcheck(lambda each: tuple(part.pow(3) for part in summary(each)), (x,))


@pytest.mark.parametrize("summary", [over_positions, over_channels, over_lines])
def test_a_part_that_nobody_reads_sends_nothing_back(summary: Summary) -> None:
    x = given((2, 3, 4, 5), CHANNELS_LAST)
    summary(x)[0].sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("summary", [over_positions, over_channels, over_lines])
def test_the_gradient_lies_as_the_map_does(summary: Summary) -> None:
    x = given((2, 3, 4, 5), CHANNELS_LAST)
    parts = summary(x)
    sum((part * 2).sum() for part in parts).backward()
    assert x.grad.is_contiguous(memory_format=CHANNELS_LAST)
