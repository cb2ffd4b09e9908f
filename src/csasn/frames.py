"""Parquet and CSV files of a cohort or run: a path is one file, never a pattern, and a damaged file is said by name."""

import io
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from csasn.errors import BadInputError
from csasn.files import file_bytes

MADE_AGAIN = "Restore it, or run the stage that writes it again."


def read_parquet(path: Path, *, remedy: str = MADE_AGAIN) -> pl.DataFrame:
    """A parquet file; BadInputError names it where it is missing, no plain file, or not readable.

    polars is given bytes: it takes [ ] * ? in a path as a pattern, and would read a neighbour's file.
    """
    try:
        return pl.read_parquet(io.BytesIO(file_bytes(path)))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OverflowError) as error:
        raise BadInputError(f"{path} is not readable parquet ({type(error).__name__}). {remedy}") from None


def read_csv(path: Path, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """A CSV file with these columns and types; BadInputError names it where it has others or cannot be read."""
    content = file_bytes(path)
    try:
        found = pl.read_csv(io.BytesIO(content), n_rows=0, infer_schema=False).columns
        if found != list(columns):
            raise BadInputError(
                f"{path} has the columns {', '.join(columns)}; received {len(found)} others. {MADE_AGAIN}"
            )
        return pl.read_csv(io.BytesIO(content), schema=dict(columns))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OverflowError) as error:
        raise BadInputError(f"{path} is not readable CSV ({type(error).__name__}). {MADE_AGAIN}") from None
