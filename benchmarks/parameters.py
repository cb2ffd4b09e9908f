"""Trainable parameters of each part of each profile, with five classes and random weights.

python benchmarks/parameters.py
"""

from pathlib import Path

from csasn.network.csasn import Csasn, FusionHead, count_parameters
from csasn.network.weights import build_branches
from csasn.schema import ClassList
from csasn.settings_files import read_configuration

CLASSES = ClassList(names=("benign", "PTC", "FTC", "MTC", "ATC"), n_non_malignant=1)


def main() -> None:
    """Print a table a profile."""
    for path in sorted((Path(__file__).parents[1] / "configs").glob("*.toml")):
        configuration = read_configuration(path)
        branches, _ = build_branches(configuration.network, weights="none", size_px=configuration.imaging.size_px)
        parts = count_parameters(Csasn(branches, FusionHead(configuration.network, CLASSES)))
        print(
            f"{path.stem}: "
            + ", ".join(f"{name} {n:,}" for name, n in parts.items())
            + f", all {sum(parts.values()):,}"
        )


if __name__ == "__main__":
    main()
