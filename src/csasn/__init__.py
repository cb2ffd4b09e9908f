"""CSASN: rare thyroid carcinoma recognition in ultrasound, with evidence one can trust.

Importing this package is quick: a name below is imported when it is first used.

Examples:
    >>> import csasn
    >>> classes = csasn.ClassList(names=("benign", "PTC", "FTC"), n_non_malignant=1)
    >>> classes.malignant
    ('PTC', 'FTC')

    A network of its own, with tiny branches and random weights here (`weights="auto"` takes pretrained ones):

    >>> import torch
    >>> settings = csasn.NetworkSettings(cnn="test_efficientnet", cnn_channels=256, vit="test_vit", vit_channels=64)
    >>> network = csasn.build_network(settings, classes, weights="none", size_px=64).eval()
    >>> output = network(torch.zeros(2, 1, 64, 64))
    >>> output.logits.shape
    torch.Size([2, 3])

    Settings are frozen and checked; a file holds only what differs from the defaults:

    >>> csasn.Configuration().fit.frozen.epochs > 0
    True
    >>> csasn.read_configuration("configs/none.toml")
    Traceback (most recent call last):
        ...
    csasn.errors.BadInputError: There is no configuration at configs/none.toml. Profiles lie in configs/*.toml.

    A finished run is read from its folder, every file checked against its hash:

    >>> csasn.open_run("nowhere")
    Traceback (most recent call last):
        ...
    csasn.errors.BadInputError: nowhere is not a run folder (it has no run.json): make one with `csasn split` or `run`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csasn.config import Configuration, NetworkSettings
    from csasn.errors import CsasnError
    from csasn.network.build import build_network
    from csasn.network.csasn import Csasn
    from csasn.runs import Run, open_run
    from csasn.schema import ClassList
    from csasn.settings_files import read_configuration

__version__ = "0.1.0"

__all__ = [
    "ClassList",
    "Configuration",
    "Csasn",
    "CsasnError",
    "NetworkSettings",
    "Run",
    "__version__",
    "build_network",
    "open_run",
    "read_configuration",
]

_MODULES = {
    "ClassList": "csasn.schema",
    "Configuration": "csasn.config",
    "Csasn": "csasn.network.csasn",
    "CsasnError": "csasn.errors",
    "NetworkSettings": "csasn.config",
    "Run": "csasn.runs",
    "build_network": "csasn.network.build",
    "open_run": "csasn.runs",
    "read_configuration": "csasn.settings_files",
}


def __getattr__(name: str) -> Any:
    """A name of the front door, imported when it is first asked for (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
