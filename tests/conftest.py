"""Fixtures shared by every test: where the development data and pretrained weights lie, if they do."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.trained_run import made_once

# Tests run commands in folders of their own, where a relative path would lead elsewhere.
for _variable in ("CSASN_DATA", "CSASN_WEIGHTS"):
    if os.environ.get(_variable):
        os.environ[_variable] = str(Path(os.environ[_variable]).resolve())

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def _folder_or_skip(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable) or default)
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set {variable} to a folder that holds it to run this test")
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real ultrasound images (CSASN_DATA, else ../shared/data beside the checkout)."""
    return _folder_or_skip("CSASN_DATA", SHARED / "data")


@pytest.fixture(scope="session")
def weights_folder() -> Path:
    """The folder of pretrained weights (CSASN_WEIGHTS, else ../shared/weights beside the checkout)."""
    return _folder_or_skip("CSASN_WEIGHTS", SHARED / "weights")


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cohort` (40 simulated patients, 2 sites) and `run` (configs/smoke.toml): copy what a test changes."""
    return made_once(tmp_path_factory)


@pytest.fixture
def grey() -> np.ndarray:
    """A smooth picture without anything like a letter."""
    rows, columns = np.mgrid[0:48, 0:64]
    return (rows * 3 + columns).astype(np.uint8)
