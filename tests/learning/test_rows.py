import numpy as np
import polars as pl
import pytest
import torch

from csasn.errors import BadInputError
from csasn.imaging.letterbox import as_images
from csasn.learning.rows import labels
from csasn.learning.sampling import batches, epoch_order
from csasn.schema import ClassList

CLASSES = ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)


def manifest(rows: list[tuple[str | None, bool]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "image_path": [f"{number}.png" for number in range(len(rows))],
            "subtype": [subtype for subtype, _ in rows],
            "malignant": [malignant for _, malignant in rows],
        },
        schema_overrides={"subtype": pl.String},
    )


def test_images_are_floats_between_0_and_1() -> None:
    pixels = np.array([[[0, 51], [102, 255]]], dtype=np.uint8)
    pixels.flags.writeable = False  # as the store's memory map
    images = as_images(pixels)
    assert images.shape == (1, 1, 2, 2)
    assert images.dtype == torch.float32
    assert torch.allclose(images.flatten(), torch.tensor([0.0, 0.2, 0.4, 1.0]))


def test_the_order_is_a_permutation_fixed_by_seed_and_epoch() -> None:
    first = epoch_order(100, seed=1, epoch=2)
    assert sorted(first.tolist()) == list(range(100))
    assert (first == epoch_order(100, seed=1, epoch=2)).all()
    assert (first != epoch_order(100, seed=1, epoch=3)).any()
    assert (first != epoch_order(100, seed=2, epoch=2)).any()


@pytest.mark.parametrize(
    ("n", "sizes"), [(12, [4, 4, 4]), (14, [4, 4, 4, 2]), (13, [4, 4, 5]), (3, [3]), (1, [1]), (5, [5]), (0, [])]
)
def test_no_batch_but_an_only_one_has_one_image(n: int, sizes: list[int]) -> None:
    order = epoch_order(n, seed=0, epoch=0)
    dealt = list(batches(order, 4))
    assert [len(batch) for batch in dealt] == sizes
    assert [at for batch in dealt for at in batch] == order.tolist()


def test_labels_keep_the_row_order_and_mark_the_unknown() -> None:
    index, malignant = labels(manifest([("FTC", True), ("benign", False), (None, True), ("PTC", True)]), CLASSES)
    assert index.tolist() == [2, 0, -1, 1]
    assert index.dtype == np.int64
    assert malignant.tolist() == [True, False, True, True]
    assert malignant.dtype == np.bool_


def test_labels_refuse_what_the_class_list_does_not_have() -> None:
    with pytest.raises(BadInputError, match="MTC"):
        labels(manifest([("MTC", True)]), CLASSES)
    with pytest.raises(BadInputError, match=r"1\.png: benign"):
        labels(manifest([("PTC", True), ("benign", True)]), CLASSES)
