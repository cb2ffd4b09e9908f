"""Pictures that no model of the thyroid should answer: photographs, noise, and the images of other cohorts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

from csasn.files import read_json
from csasn.imaging.certified import certified_picture
from csasn.imaging.letterbox import letterbox
from csasn.schema import read_manifest

CROPS_A_PHOTOGRAPH = 50
OF_EACH_NOISE = 25
MOST_OF_A_COHORT = 200
CROP_PX, NOISE_PX = 120, 320  # smallest side of a crop; side of a noise picture


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Foreign:
    """Letterboxed pictures (N, S, S) uint8, the group and the name of each."""

    pixels: NDArray[np.uint8]
    group: list[str]
    name: list[str]


def foreign_pictures(size_px: int, cohorts: Sequence[Path], *, seed: int) -> Foreign:
    """Crops of scikit-learn's two photographs, four kinds of noise, and at most 200 images of each cohort folder.

    The same seed gives the same pictures. Raises BadInputError where a folder is no cohort, or where a picture
    is another one than its manifest certifies.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 4]))
    found = [("photographs", name, each) for name, each in _crops(rng)]
    found += [("noise", name, each) for name, each in _noise(rng)]
    for cohort in cohorts:
        manifest, certificate = read_manifest(cohort), read_json(cohort / "certificate.json")
        group = str(certificate.get("name") or cohort.name)
        root = cohort / str(certificate["images_root"])
        chosen = rng.permutation(len(manifest))[:MOST_OF_A_COHORT]
        rows = manifest[np.sort(chosen)].select("image_path", "sha256").iter_rows()
        found += [(group, name, certified_picture(root, name, sha256)) for name, sha256 in rows]
    return Foreign(
        pixels=np.stack([letterbox(pixels, size_px) for _, _, pixels in found]),
        group=[group for group, _, _ in found],
        name=[name for _, name, _ in found],
    )


def _crops(rng: np.random.Generator) -> list[tuple[str, NDArray[np.uint8]]]:
    """Random rectangles of the photographs, in grey."""
    found = load_sample_images()
    crops = []
    for path, colour in zip(found.filenames, found.images, strict=True):
        grey = np.rint(colour @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        for number in range(CROPS_A_PHOTOGRAPH):
            height, width = (int(rng.integers(CROP_PX, side)) for side in grey.shape)
            top, left = (int(rng.integers(a - b + 1)) for a, b in zip(grey.shape, (height, width), strict=True))
            crop = grey[top : top + height, left : left + width]
            crops.append((f"{Path(path).stem}-{number}", crop))
    return crops


def _noise(rng: np.random.Generator) -> list[tuple[str, NDArray[np.uint8]]]:
    """White uniform, white Gaussian, smooth clouds, and log-compressed Rayleigh speckle without any anatomy."""
    shape = (NOISE_PX, NOISE_PX)
    pictures = []
    for number in range(OF_EACH_NOISE):
        waves = [gaussian_filter(rng.standard_normal(shape), (1.0, 2.5)) for _ in range(2)]
        kinds = {
            "uniform": rng.random(shape),
            "gaussian": 0.5 + 0.2 * rng.standard_normal(shape),
            "clouds": _spread(gaussian_filter(rng.standard_normal(shape), 12)),
            "speckle": 1 + 20 * np.log10(_spread(np.hypot(*waves)) + 1e-3) / 60,
        }
        for kind, values in kinds.items():
            pictures.append((f"{kind}-{number}", np.rint(255 * values.clip(0, 1)).astype(np.uint8)))
    return pictures


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - values.min()) / (values.max() - values.min()))
