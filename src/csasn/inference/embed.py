"""The pooled vector and the energy of images, written down so that what is asked of them later needs no model."""

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from csasn.imaging.views import PLAIN_VIEW
from csasn.inference.loading import Reader
from csasn.network.backbones import Features
from csasn.schema import EMBEDDING_COLUMNS

BATCH_SIZE = 32


def embeddings_name(fold: int) -> str:
    """The run folder's file of a fold's embeddings."""
    return f"embeddings/fold{fold}.parquet"


def embed(reader: Reader, manifest: pl.DataFrame, partitions: dict[str, NDArray[np.int64]]) -> pl.DataFrame:
    """Partition, image_path, energy and embedding of manifest rows, by the name of their partition; plain view."""
    rows = np.concatenate(list(partitions.values()))
    names = [name for name, each in partitions.items() for _ in each]
    used = reader.network.head.used
    looks = (
        reader.inputs.batch(chosen, np.full(len(chosen), PLAIN_VIEW), used)
        for chosen in (rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE))
    )
    energy, embedding = zip(*(read_embedding(reader, look) for look in looks), strict=True)
    return table_of(names, manifest[rows]["image_path"].to_list(), np.concatenate(energy), np.concatenate(embedding))


@torch.inference_mode()
def read_embedding(
    reader: Reader, given: dict[str, Features] | Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features or images of a batch -> energy (B,) and embedding (B, D)."""
    output = reader.network(given)
    return output.energy.float().cpu().numpy(), output.embedding.float().cpu().numpy()


def table_of(
    names: list[str], image_paths: list[str], energy: NDArray[np.float32], embedding: NDArray[np.float32]
) -> pl.DataFrame:
    """The embedding columns as a table; `names` is the partition, or whatever else the rows are grouped by."""
    columns = dict(zip(EMBEDDING_COLUMNS, (names, image_paths, energy.astype(np.float64)), strict=True))
    vectors = pl.Series("embedding", embedding, dtype=pl.Array(pl.Float32, embedding.shape[1]))
    return pl.DataFrame(columns, schema=EMBEDDING_COLUMNS).with_columns(vectors)
