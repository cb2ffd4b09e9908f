"""The whole search for near-duplicates over 100,000 fingerprints, changed copies planted among them. Bar: 60 s.

    CSASN_DATA=../shared/data python benchmarks/near_duplicates.py [PATIENTS]

The originals are a SIMULATED cohort (default 2,000 patients, two pictures each); 150 of its pictures get one copy a
change. What fills up to 100,000 has hashes of the same spread and noise for thumbnails. Where CSASN_DATA has busi, the
pairs that its groups hold and those across groups are counted as well.
"""

import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from csasn.cohort.fingerprints import fingerprint
from csasn.cohort.near_duplicates import near_duplicates
from csasn.decoding.pictures import read_picture
from csasn.phantom.cohort import simulate
from csasn.schema import read_manifest

Grey = NDArray[np.uint8]
Prints = tuple[NDArray[np.uint64], Grey]
N_ALL, N_COPIED = 100_000, 150


def resized(pixels: Grey, share: float) -> Grey:
    """Both sides by a share."""
    height, width = pixels.shape
    size = round(width * share), round(height * share)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def saved_again(pixels: Grey) -> Grey:
    """Through JPEG of quality 50."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=50)
    return np.asarray(Image.open(stream))


def cropped(pixels: Grey) -> Grey:
    """2 % of its height and width off, at the top and left."""
    return pixels[round(pixels.shape[0] * 0.02) :, round(pixels.shape[1] * 0.02) :]


def lettered(pixels: Grey) -> Grey:
    """A small line of text burned in."""
    height, width = pixels.shape
    canvas = Image.fromarray(pixels)
    font = ImageFont.load_default(max(11, height // 25))
    ImageDraw.Draw(canvas).text((0.05 * width, 0.85 * height), "RT LOBE 12", fill=255, font=font)
    return np.asarray(canvas)


CHANGES: dict[str, Callable[[Grey], Grey]] = {
    "60 % of its size": lambda pixels: resized(pixels, 0.6),
    "JPEG, quality 50": saved_again,
    "brighter": lambda pixels: np.clip(pixels * 1.15 + 20, 0, 255).astype(np.uint8),
    "cropped by 2 %": cropped,
    "text burned in": lettered,
    "all of them": lambda pixels: saved_again(lettered(cropped(resized((pixels * 0.85 + 5).astype(np.uint8), 0.7)))),
}


def printed(pictures: list[Grey]) -> Prints:
    """Hashes (n,) and thumbnails (n, 1024)."""
    found = [fingerprint(np.ascontiguousarray(each, dtype=np.uint8)) for each in pictures]
    thumbnails = np.stack([np.frombuffer(each.thumbnail, dtype=np.uint8) for each in found])
    return np.array([each.hash for each in found], dtype=np.uint64), thumbnails


def of_folder(root: Path, names: list[str]) -> Prints:
    """Fingerprints of picture files."""
    found = [printed([read_picture(root / name)]) for name in names]
    return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])


def filling(hashes: NDArray[np.uint64], n: int, rng: np.random.Generator) -> Prints:
    """n fingerprints whose hashes are a random one of `hashes` with a quarter of its bits redrawn."""
    keep = rng.integers(0, 2**64, n, dtype=np.uint64) | rng.integers(0, 2**64, n, dtype=np.uint64)
    others = rng.integers(0, 2**64, n, dtype=np.uint64)
    drawn = hashes[rng.integers(0, len(hashes), n)]
    return (drawn & keep) | (others & ~keep), rng.integers(0, 256, (n, 1024), dtype=np.uint8)


def simulated(n_patients: int) -> bool:
    """Recall of each change, false pairs, seconds and memory."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        simulate(Path(name) / "cohort", n_patients=n_patients, n_sites=4, seed=11)
        manifest = read_manifest(Path(name) / "cohort")
        names = manifest["image_path"].to_list()
        originals = of_folder(Path(name) / "cohort", names)
        chosen = rng.choice(len(names), min(N_COPIED, len(names)), replace=False)
        pictures = [read_picture(Path(name) / "cohort" / names[place]) for place in chosen]
    copies = [printed([change(each) for each in pictures]) for change in CHANGES.values()]
    so_far = [originals, *copies]
    so_far.append(filling(originals[0], N_ALL - sum(len(each[0]) for each in so_far), rng))
    hashes, thumbnails = (np.concatenate([each[part] for each in so_far]) for part in (0, 1))
    started = time.perf_counter()
    found = {(i, j) for i, j, *_ in near_duplicates(hashes, thumbnails)}
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(hashes)} fingerprints: {seconds:.1f} s, peak {peak:.0f} MiB, {len(found)} pairs")
    at = len(names)
    for change in CHANGES:
        hit = sum((place, at + number) in found for number, place in enumerate(chosen.tolist()))
        print(f"  {change}: {hit} of {len(chosen)} copies found")
        at += len(chosen)
    patients = manifest["patient_id"].to_list()
    false = sum(j < len(names) and patients[i] != patients[j] for i, j in found)
    strays = sum(j >= at for _, j in found)
    print(f"  pairs of different patients among {n_patients}: {false}; with what fills up: {strays}")
    return seconds <= 60 and not false


def busi(folder: Path) -> bool:
    """Pairs within busi's groups and across them."""
    labels = pl.read_csv(folder / "labels.csv")
    groups = labels["dup_group"].to_numpy()
    hashes, thumbnails = of_folder(folder, labels["image"].to_list())
    same = groups[:, None] == groups[None]
    n_held = int(np.triu(same, 1).sum())
    found = np.zeros_like(same)
    # Two at a time, so that pictures of one hash are counted pair by pair as well.
    for i, j in zip(*np.nonzero(np.triu(np.bitwise_count(hashes[:, None] ^ hashes[None]) <= 11, 1)), strict=True):
        both = [i, j]
        found[i, j] = bool(list(near_duplicates(hashes[both], thumbnails[both])))
    n_across = int((found & ~same).sum())
    print(f"busi: {int((found & same).sum())} of {n_held} pairs within its groups found, {n_across} across groups")
    return n_across == 0


def main(n_patients: int) -> None:
    """Exit code 1 where a bar is missed."""
    passed = [busi(Path(os.environ["CSASN_DATA"]) / "busi")] if "CSASN_DATA" in os.environ else []
    passed.append(simulated(n_patients))
    sys.exit(not all(passed))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
