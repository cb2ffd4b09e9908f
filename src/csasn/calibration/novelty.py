"""How far an image lies from everything that a model was trained on, by four detectors and their combination."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from csasn.arrays import Array

MEASURED = ("energy", "mahalanobis", "neighbours", "gate")
DETECTORS = (*MEASURED, "combined")
OF_EMBEDDING = "mahalanobis"  # the half of the combination that looks at the embedding
MOST_REFERENCES = 5000  # training images that neighbours are looked for among, so that the cost does not grow with n^2
POINTS_AT_ONCE = 1024  # keeps the table of distances to 5000 references at 41 MB
TINY = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """What is known of m images without a model: energy (m,), embedding (m, D), statistics (m, S)."""

    energy: Array
    embedding: Array
    statistics: Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gaussians:
    """Gaussians of one covariance: means (K, D) and the precision's factor (D, D), precision = factor factor'."""

    means: Array
    factor: Array

    def distance(self, points: Array) -> Array:
        """Squared Mahalanobis distance of points (m, D) to the nearest mean (m,)."""
        whitened, means = points @ self.factor, self.means @ self.factor
        squared = ((whitened[:, None, :] - means[None, :, :]) ** 2).sum(axis=2)
        return np.asarray(squared.min(axis=1), dtype=np.float64)


def fit_gaussians(points: Array, group: NDArray[Any]) -> Gaussians:
    """A mean for each group, one shrunk covariance for all (Lee 2018, arXiv 1807.03888; Ledoit and Wolf 2004).

    points (n, D), group (n,). Columns that do not vary are ignored by the shrinkage's floor, not divided by.
    """
    names, code = np.unique(group, return_inverse=True)
    means = np.stack([points[code == k].mean(axis=0) for k in range(names.size)])
    found = LedoitWolf(assume_centered=True, store_precision=False).fit(points - means[code])
    values, vectors = np.linalg.eigh(found.covariance_)
    floor = max(float(values.max(initial=0.0)) * 1e-9, TINY)
    return Gaussians(means=means, factor=vectors / np.sqrt(np.maximum(values, floor)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detectors:
    """Detectors fitted on a fold's training images and put on one scale by its tuning images.

    `references` (R, D) are training embeddings over `scale` (D,) at unit length; `n_neighbours` is the k of the k-th
    nearest; `centre` and `spread` (by detector) are mean and SD of the tuning images' raw distances.
    """

    classes: Gaussians
    references: Array
    n_neighbours: int
    scale: Array
    gate: Gaussians
    gate_centre: Array
    gate_spread: Array
    centre: dict[str, float]
    spread: dict[str, float]

    def novelty(self, images: Images) -> dict[str, Array]:
        """Standardised novelty (m,) by detector: 0 is a usual tuning image, 1 an SD further away."""
        raw = _raw(self, images)
        found = {name: (each - self.centre[name]) / self.spread[name] for name, each in raw.items()}
        return found | {"combined": np.maximum(found[OF_EMBEDDING], found["gate"])}

    def arrays(self) -> dict[str, Array]:
        """Everything as arrays by name, for a file; `detectors_from` makes the detectors of them again."""
        return {
            "classes.means": self.classes.means,
            "classes.factor": self.classes.factor,
            "references": self.references,
            "n_neighbours": np.array([self.n_neighbours], dtype=np.float64),
            "scale": self.scale,
            "gate.means": self.gate.means,
            "gate.factor": self.gate.factor,
            "gate.centre": self.gate_centre,
            "gate.spread": self.gate_spread,
            "tuning.centre": np.array([self.centre[name] for name in MEASURED]),
            "tuning.spread": np.array([self.spread[name] for name in MEASURED]),
        }


def detectors_from(arrays: Mapping[str, Array]) -> Detectors:
    """The detectors of what `Detectors.arrays` gave; KeyError where one is missing."""
    return Detectors(
        classes=Gaussians(means=arrays["classes.means"], factor=arrays["classes.factor"]),
        references=arrays["references"],
        n_neighbours=int(arrays["n_neighbours"][0]),
        scale=arrays["scale"],
        gate=Gaussians(means=arrays["gate.means"], factor=arrays["gate.factor"]),
        gate_centre=arrays["gate.centre"],
        gate_spread=arrays["gate.spread"],
        centre=dict(zip(MEASURED, arrays["tuning.centre"].tolist(), strict=True)),
        spread=dict(zip(MEASURED, arrays["tuning.spread"].tolist(), strict=True)),
    )


def fit_detectors(train: Images, group: NDArray[Any], tuning: Images, *, n_neighbours: int = 10) -> Detectors:
    """Fit on training images with their class names `group` (n,); the tuning images set the scale alone.

    energy: of the logits (Liu 2020, arXiv 2010.03759). mahalanobis: to the nearest class mean. neighbours: Euclidean
    distance to the k-th nearest training embedding, each scaled by the columns' training SD and then to unit length
    (Sun 2022, arXiv 2204.06507, for whom a part of the training set was enough: beyond MOST_REFERENCES evenly spaced
    images serve). gate: Mahalanobis distance of the picture's own statistics. combined: the larger of
    mahalanobis and gate.
    """
    scale = column_scale(train.embedding)
    references = train.embedding[:: -(-len(train.embedding) // MOST_REFERENCES)]
    centre, spread = train.statistics.mean(axis=0), np.maximum(train.statistics.std(axis=0), 1e-6)
    fitted = Detectors(
        classes=fit_gaussians(train.embedding / scale, group),
        references=on_sphere(references, scale),
        n_neighbours=min(n_neighbours, len(references)),
        scale=scale,
        gate=fit_gaussians((train.statistics - centre) / spread, np.zeros(len(train.statistics))),
        gate_centre=centre,
        gate_spread=spread,
        centre={},
        spread={},
    )
    for name, raw in _raw(fitted, tuning).items():
        fitted.centre[name] = float(raw.mean())
        fitted.spread[name] = max(float(raw.std()), TINY)
    return fitted


def novelty_thresholds(patients: Mapping[str, Array], abstained_fraction: float) -> dict[str, float]:
    """By detector, the novelty beyond which at most `abstained_fraction` of tuning patients lie.

    `patients` holds the novelty (n,) of the tuning patients by detector.
    """
    return {name: float(np.quantile(patients[name], 1 - abstained_fraction, method="higher")) for name in DETECTORS}


def _raw(fitted: Detectors, images: Images) -> dict[str, Array]:
    """Distances as each detector gives them; those that are squared or heavy-tailed by their logarithm."""
    embedding = images.embedding / fitted.scale
    gate = fitted.gate.distance((images.statistics - fitted.gate_centre) / fitted.gate_spread)
    return {
        "energy": images.energy,
        "mahalanobis": np.log(fitted.classes.distance(embedding) + TINY),
        "neighbours": _neighbour_distance(
            on_sphere(images.embedding, fitted.scale), fitted.references, fitted.n_neighbours
        ),
        "gate": np.log(gate + TINY),
    }


def _neighbour_distance(points: Array, references: Array, k: int) -> Array:
    """Euclidean distance of points (m, D) to the k-th nearest of references (R, D), all of unit length (m,)."""
    nearest = [
        np.partition(1 - points[start : start + POINTS_AT_ONCE] @ references.T, k - 1, axis=1)[:, k - 1]
        for start in range(0, len(points), POINTS_AT_ONCE)
    ]
    return np.asarray(np.sqrt(2 * np.maximum(np.concatenate(nearest), 0)))  # |a - b|^2 = 2 - 2 a.b at unit length


def column_scale(embedding: Array) -> Array:
    """The SD of each column of training embeddings (n, D), floored at a thousandth of the SD of them all (D,)."""
    return np.asarray(np.maximum(embedding.std(axis=0), TINY + 1e-3 * embedding.std()))


def on_sphere(points: Array, scale: Array) -> Array:
    """Points (m, D) over the columns' scale (D,), brought to unit length."""
    scaled = points / scale
    return np.asarray(scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), TINY))
