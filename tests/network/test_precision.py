"""bfloat16: the rule by capability, and attention on a CPU against torch's own."""

import pytest
import torch
from torch.nn import functional

from csasn.config import FitSettings
from csasn.learning.session import takes_bfloat16
from csasn.network.backbones import build_vit
from csasn.network.precision import bfloat16, computes_bfloat16, plain_attention

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"avx2": True}, False),  # emulated there, a hundred times slower than float32
        ({"avx2": True, "avx512_f": True, "amx_bf16": False, "avx512_bf16": False}, False),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_bfloat16_is_taken_where_the_processor_computes_it(
    capabilities: dict[str, bool], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert computes_bfloat16(CPU) is native
    assert takes_bfloat16(FitSettings(), CPU, kind="vit") is native
    assert takes_bfloat16(FitSettings(), CPU, kind="cnn") is False
    assert takes_bfloat16(FitSettings(precision="float32"), CPU, kind="vit") is False
    assert takes_bfloat16(FitSettings(precision="bfloat16"), CPU, kind="cnn") is True


def test_plain_attention_is_attention() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64).unbind(0)
    torch.testing.assert_close(
        plain_attention(query, key, value), functional.scaled_dot_product_attention(query, key, value)
    )


def test_a_transformer_under_bfloat16_takes_plain_attention_and_stays_near_float32() -> None:
    torch.manual_seed(0)
    branch, images = build_vit("test_vit", channels=64, size_px=64, overlay=None).eval(), torch.rand(4, 1, 64, 64)
    exact = branch(images).map
    branch.in_bfloat16 = True
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        near = branch(images).map
    assert near.dtype == torch.float32
    assert 0 < (near - exact).norm() / exact.norm() < 0.03
    assert not [event.key for event in profile.key_averages() if "flash" in event.key]


def test_what_plain_attention_does_not_know_goes_to_torch() -> None:
    query = torch.randn(1, 1, 5, 8).bfloat16()
    with bfloat16(CPU, enabled=True):
        causal = functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    torch.testing.assert_close(causal[..., 0, :], query[..., 0, :])  # the first token sees itself alone
