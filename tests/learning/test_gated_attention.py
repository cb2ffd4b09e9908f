"""Gated attention by hand, blind to order and padding, trained where one image of a nodule tells, and evaluated."""

import math
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
import torch

from csasn.config import EvaluateSettings, LossSettings, NetworkSettings
from csasn.evidence.gated_attention import aggregations
from csasn.learning.gated_attention import bags_of, fit_attention
from csasn.network.gated_attention import GatedAttention
from csasn.schema import GATED_ATTENTION, ClassList, classes_of
from tests.support.evaluation import by_unit
from tests.support.synthetic_run import manifest, predictions

CLASSES = ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)
D = 6


def module(n_features: int = D) -> GatedAttention:
    torch.manual_seed(0)
    return GatedAttention(n_features, CLASSES, NetworkSettings()).eval()


def test_gated_attention_by_hand() -> None:
    """Images 1 and 2 of one number, V = U = 1 in the first unit alone: worth tanh(h) sigmoid(h)."""
    attention = module(1)
    with torch.no_grad():
        for layer in (attention.V, attention.U):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[0, 0] = 1
        attention.w.weight.zero_()
        attention.w.weight[0, 0] = 1
        attention.head.malignancy.weight.fill_(2)
        attention.head.malignancy.bias.fill_(-1)
    found = attention(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[True, True]]))
    worth = [math.exp(math.tanh(h) / (1 + math.exp(-h))) for h in (1, 2)]
    a = [each / sum(worth) for each in worth]
    assert found.weights[0].tolist() == pytest.approx(a)
    assert found.output.malignancy.item() == pytest.approx(2 * (a[0] + 2 * a[1]) - 1)


def test_order_and_padding_change_nothing_and_one_image_works() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, D)).astype(np.float32)
    index, malignant = np.array([0, 1, 2]), np.array([False, True, True])
    bags = bags_of([images, images[[2, 0, 1]], images[:1]], index, malignant)
    found = module()(bags.embeddings, bags.present)
    torch.testing.assert_close(found.output.logits[0], found.output.logits[1])
    torch.testing.assert_close(found.weights[0, [2, 0, 1]], found.weights[1])
    assert found.weights[2].tolist() == [1, 0, 0]
    alone = module()(torch.from_numpy(images[None, :1]), torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(found.output.logits[2], alone.output.logits[0])
    torch.testing.assert_close(found.output.logits.exp().sum(dim=1), torch.ones(3))


def drawn(n: int, seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Nodules of four images, one of which tells the class in numbers 0 to 2 and says in number 3 that it does."""
    rng = np.random.default_rng(seed)
    index, which = rng.integers(3, size=n), rng.integers(4, size=n)
    images = rng.normal(size=(n, 4, D))
    images[:, :, 3] = 0
    images[np.arange(n), which, :3] = 3 * np.eye(3)[index]
    images[np.arange(n), which, 3] = 3
    return list(images.astype(np.float32)), index, which


def test_attention_finds_the_image_that_tells() -> None:
    train, tuning, test = (drawn(n, seed) for n, seed in ((400, 0), (100, 1), (300, 2)))
    bags = [bags_of(images, index, index > 0) for images, index, _ in (train, tuning, test)]
    state = torch.get_rng_state()
    fitted, again = (
        fit_attention(bags[0], bags[1], CLASSES, NetworkSettings(), LossSettings(), seed=3) for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(each, again.state_dict()[name]) for name, each in fitted.state_dict().items())
    with torch.no_grad():
        found = fitted(bags[2].embeddings, bags[2].present)
    hit = found.weights.argmax(dim=1).numpy() == test[2]
    shares = sorted(hit[test[1] == k].mean() for k in range(3))
    assert shares[1] > 0.9  # one of the three classes can be told by what no image shows
    assert (found.output.logits.argmax(dim=1).numpy() == test[1]).mean() > 0.9


def test_both_ways_are_evaluated_on_the_same_nodules() -> None:
    table = manifest()
    classes = classes_of(table)
    images = predictions(table, classes)
    own = images.filter(pl.col("model") == "csasn").sort("image_path")
    first_images = own.unique(["fold", "partition", "nodule_id"], keep="first")
    attended = first_images.with_columns(pl.lit(GATED_ATTENTION).alias("model"))
    found = asdict(aggregations(by_unit(images, classes), attended, classes, EvaluateSettings(n_bootstrap=200)))
    assert (found["n_nodules"], found["n_several_images"]) == (144, 144)
    rows = {(row["target"], row["metric"]): row for row in found["figures"]}
    assert set(rows) == {
        ("all", "macro_auroc"),
        ("all", "balanced_accuracy"),
        ("all", "macro_f1"),
        ("malignancy", "auroc"),
    }
    for row in rows.values():
        assert row["mean_low"] <= row["mean_estimate"] <= row["mean_high"]
        assert row["attention_low"] <= row["attention_estimate"] <= row["attention_high"]
        assert row["estimate"] == pytest.approx(row["attention_estimate"] - row["mean_estimate"])
        assert row["n"] == 144
    assert rows["all", "macro_auroc"]["estimate"] < 0  # one image of two tells less than their mean
