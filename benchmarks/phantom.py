"""The simulated cohort's own figures: speed, equal bytes, speckle, attribute frequencies, and what one feature tells.

    OMP_NUM_THREADS=1 python benchmarks/phantom.py [--full] [--seeds 5]

Bars: 20 images/s with two workers, every one stored 512 px deep; the same bytes for one and two workers; speckle 1.91;
every cell of the published table within its 99 % band over 2,000 patients; no single feature over AUROC .65; --full:
2,000 patients within 10 minutes. A canary (pictures a second of this process alone, before and after) says how busy the
machine was.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from csasn.decoding.workers import Lost, each_in_workers
from csasn.phantom.acoustics import echo_envelope
from csasn.phantom.attributes import SUSPICION, Attributes, draw_attributes, frequencies
from csasn.phantom.cohort import simulate
from csasn.phantom.looks import LOOKS, SUBTYPES, Subtype
from csasn.phantom.patients import draw_patients
from csasn.phantom.rendering import Acquisition, acquisitions, write_picture
from csasn.phantom.scanner import draw_scanner

N_PATIENTS, N_SITES, BAR = 2000, 4, 20.0


@contextmanager
def job_folder() -> Iterator[Path]:
    """A folder with room for images and masks."""
    with tempfile.TemporaryDirectory() as name:
        for each in ("images", "masks"):
            (Path(name) / each).mkdir()
        yield Path(name)


def deep_acquisitions(n: int) -> list[Acquisition]:
    """n pictures of scanners that store all of their 512 px."""
    patients = draw_patients(n_patients=max(40, n // 2), n_sites=N_SITES, seed=1)
    scanners = [replace(draw_scanner(site, 1), zoom=1.0) for site in range(N_SITES)]
    planned = acquisitions(patients, scanners, seed=1, overlay_shortcut=0.0)
    return [planned[at] for at in np.random.default_rng(0).permutation(len(planned))[:n]]


def canary(planned: list[Acquisition]) -> float:
    """Pictures a second of CPU time of this process alone: what the machine gives one core now."""
    with job_folder() as folder:
        write_picture((folder, planned[0]))
        started = time.process_time()
        for acquisition in planned:
            write_picture((folder, acquisition))
        return len(planned) / (time.process_time() - started)


def measured_rate(planned: list[Acquisition], n_workers: int) -> float:
    """Pictures a second, worker processes already started."""
    with job_folder() as folder:
        jobs = [(folder, acquisition) for acquisition in planned]
        started = 0.0
        for place, written in enumerate(each_in_workers(write_picture, jobs, workers=n_workers, limit_s=120)):
            if isinstance(written, Lost):
                raise TypeError(written.reason)
            if place == 2 * 8 * n_workers:  # both workers are at work
                started, first = time.perf_counter(), place
        return (len(jobs) - 1 - first) / (time.perf_counter() - started)


def digest(folder: Path) -> str:
    """SHA-256 over every file's name and bytes."""
    total = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


def speed(n: int) -> bool:
    """Pictures a second, and the same bytes whatever the number of workers."""
    planned = deep_acquisitions(n)
    before = canary(planned[:24])
    rates = {n_workers: measured_rate(planned, n_workers) for n_workers in (1, 2)}
    after = canary(planned[:24])
    print(f"canary: {before:.1f} and {after:.1f} images a CPU second, before and after")
    print(f"images/s at 512 px deep: one worker {rates[1]:.1f}, two workers {rates[2]:.1f} (bar {BAR:g}), {n} images")
    with tempfile.TemporaryDirectory() as name:
        for n_workers in (1, 2):
            simulate(Path(name) / str(n_workers), n_patients=24, n_sites=N_SITES, seed=5, workers=n_workers)
        equal = digest(Path(name) / "1") == digest(Path(name) / "2")
    print(f"the same bytes with one and two workers: {equal}")
    return equal and rates[2] >= BAR


def speckle() -> bool:
    """Mean over SD of the envelope in even tissue; Rayleigh gives sqrt(pi / (4 - pi)) = 1.913."""
    envelope = echo_envelope(
        np.zeros((1024, 1024), dtype=np.float32),
        1.0,
        np.linspace(1.2, 2.5, 1024),
        np.random.default_rng(0),
        columns_a_line=2,
    )
    ratio = float(envelope.mean() / envelope.std())
    print(f"speckle: mean / SD {ratio:.3f} (bar 1.91 +- 0.05)")
    return abs(ratio - 1.91) < 0.05


def cells(drawn: list[Attributes]) -> Iterator[tuple[str, int, int, float]]:
    """Name, count, number of nodules and published frequency of every cell of the table."""
    for name, look in LOOKS.items():
        group = [each for each in drawn if each.subtype == name]
        for attribute in SUSPICION:
            for level, share in frequencies(look, attribute).items():
                yield (
                    f"{name} {attribute} {level}",
                    sum(getattr(each, attribute) == level for each in group),
                    len(group),
                    share,
                )
        yield f"{name} taller", sum(each.taller_than_wide for each in group), len(group), look.taller_than_wide
        yield f"{name} female", sum(each.female for each in group), len(group), look.female
        for below, share in zip((True, False), look.taller_by_size(), strict=True):
            part = [each.taller_than_wide for each in group if (each.size_mm < 10) == below]
            yield f"{name} taller {'<' if below else '>='} 10 mm", sum(part), len(part), share


def bands(n_seeds: int) -> bool:
    """Cells outside their 99 % binomial band, over seeds."""
    outside = []
    for seed in range(n_seeds):
        drawn = [each.attributes for each in draw_patients(n_patients=N_PATIENTS, n_sites=N_SITES, seed=seed)]
        table = list(cells(drawn))
        outside += [
            f"seed {seed}: {name} {count}/{n}, published {share}"
            for name, count, n, share in table
            if not binom.ppf(0.005, n, share) <= count <= binom.ppf(0.995, n, share)
        ]
    print(f"cells outside their 99 % band: {len(outside)} of {len(table)} in {n_seeds} seeds", *outside, sep="\n  ")
    return not outside


def held_out_auroc(x: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """AUROC of a logistic regression learned on every second row and read on the others."""
    model = LogisticRegression(max_iter=1000).fit(x[::2], truth[::2])
    return float(roc_auc_score(truth[1::2], model.predict_proba(x[1::2])[:, 1]))


def ceilings() -> None:
    """What all attributes together tell, as a logistic regression reads them; pictures can only tell less."""
    rng = np.random.default_rng(0)
    drawn = {name: draw_attributes(name, 8000, rng) for name in SUBTYPES}

    def features(nodules: list[Attributes]) -> NDArray[np.float64]:
        return np.array(
            [
                [SUSPICION[name].index(getattr(each, name)) == at for name in SUSPICION for at in range(4)]
                + [each.taller_than_wide, np.log(each.size_mm)]
                for each in nodules
            ],
            dtype=float,
        )

    pairs: tuple[tuple[Subtype, Subtype], ...] = (
        ("benign", "PTC"),
        ("benign", "FTC"),
        ("benign", "MTC"),
        ("benign", "ATC"),
        ("PTC", "MTC"),
    )
    told = []
    for negative, positive in pairs:
        x = np.concatenate([features(drawn[negative]), features(drawn[positive])])
        told.append(f"{positive}/{negative} {held_out_auroc(x, np.repeat([False, True], 8000)):.3f}")
    print("attribute ceilings, AUROC:", ", ".join(told), "(wanted: .92-.94, ~.75, ~.90, ~.95, ~.78)")


def single_features(n_seeds: int) -> bool:
    """The largest AUROC that size, site or calipers alone reach for malignancy or one class against the rest."""
    largest: dict[str, float] = {}
    for seed in range(n_seeds):
        patients = draw_patients(n_patients=N_PATIENTS, n_sites=N_SITES, seed=seed)
        scanners = [draw_scanner(site, seed) for site in range(N_SITES)]
        planned = acquisitions(patients, scanners, seed=seed, overlay_shortcut=0.0)
        names = np.array([each.patient.attributes.subtype for each in planned])
        read: dict[str, Callable[[Acquisition], list[float]]] = {
            "size": lambda each: [float(np.log(each.patient.attributes.size_mm))],
            "site": lambda each: [float(each.patient.site_number == site) for site in range(N_SITES)],
            "calipers": lambda each: [float(each.calipers)],
        }
        for feature, reading in read.items():
            x = np.array([reading(each) for each in planned])
            for target in (names != "benign", *(names == name for name in SUBTYPES)):
                fitted = LogisticRegression().fit(x, target).predict_proba(x)[:, 1]
                largest[feature] = max(largest.get(feature, 0.0), float(roc_auc_score(target, fitted)))
    print("largest single-feature AUROC:", ", ".join(f"{name} {value:.3f}" for name, value in largest.items()))
    return max(largest.values()) < 0.65


def whole_cohort(n_patients: int) -> bool:
    """Seconds that a cohort takes with two workers, manifest, certificate and contact sheet included."""
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        simulate(Path(name) / "cohort", n_patients=n_patients, n_sites=N_SITES, seed=0, workers=2)
        seconds = time.perf_counter() - started
    scaled = seconds * N_PATIENTS / n_patients
    print(
        f"{n_patients} patients with two workers: {seconds:.0f} s; 2,000 patients: {scaled / 60:.1f} minutes (bar 10)"
    )
    return scaled <= 600


def main() -> None:
    """Measure everything; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="2,000 patients rather than 120")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=160, help="pictures of the speed test")
    options = parser.parse_args()
    passed = [speckle(), bands(options.seeds), single_features(options.seeds)]
    ceilings()
    passed += [speed(options.images), whole_cohort(N_PATIENTS if options.full else 120)]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
