"""A fault goes through the real `ingest`; what became of every item of it, in how much time and memory."""

import csv
import functools
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
from numpy.typing import NDArray

from csasn.cohort.ingest import IngestResult, ingest
from csasn.cohort.items import Item, Reading, read_item
from csasn.csv_cells import restored_cell
from csasn.decoding.pictures import pixel_sha256, read_mask, read_picture
from csasn.errors import BadInputError
from tests.faults.fault import Fault

LIMIT_S, LIMIT_BYTES = 10.0, 1 << 30


def reads_everything(folder: Path) -> bool:
    """Whether this process may read what its mode forbids to all: root may, unless it gave up CAP_DAC_OVERRIDE."""
    path = folder / "forbidden"
    path.touch(mode=0)
    try:
        path.open("rb").close()
    except PermissionError:
        return False
    finally:
        path.unlink()
    return True


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a fault's items; `wrong` holds every way in which this is not what was declared."""

    wrong: tuple[str, ...]
    wrong_codes: int = 0
    wrong_pixels: int = 0
    n_items: int = 0
    n_used: int = 0
    n_refused: int = 0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    said: str = field(default="", repr=False)


class Measured:
    """`read_item` in its worker process, with the seconds and the peak memory of the process written to a log."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.__module__ = read_item.__module__  # what worker processes load before the first item: as with read_item

    def __call__(self, item: Item) -> Reading:
        started = time.perf_counter()
        try:
            return read_item(item)
        finally:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            with self.log.open("a", encoding="ascii") as stream:
                stream.write(f"{time.perf_counter() - started} {peak}\n")


def outcome_of(fault: Fault, folder: Path) -> Outcome:
    """Make a fault in an empty folder, ingest it with one worker, and compare with what it declares."""
    folder.mkdir(parents=True, exist_ok=True)
    fault.make(folder)
    out, private, log = folder / "cohort", folder / "private", folder.parent / f"{folder.name}.log"
    before = _names(folder)
    options = {"labels": folder / fault.labels, "private": private} if fault.labels else {}
    try:
        with mock.patch("csasn.cohort.ingest.read_item", Measured(log)):
            result = ingest(
                folder / fault.source, out, layout=fault.layout, settings=fault.settings, workers=1, **options
            )
    except BadInputError as error:
        return _aborted(fault, str(error), before, _names(folder), log)
    if fault.aborts:
        return Outcome(wrong=("it was not aborted",), wrong_codes=1)
    return _compared(fault, folder, result, log)


def _names(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def _aborted(fault: Fault, said: str, before: set[str], after: set[str], log: Path) -> Outcome:
    wrong = [f"{text!r} is not in the message" for text in fault.aborts if text not in said]
    if not fault.aborts:
        wrong.append(f"it was aborted: {said}")
    if before != after:
        wrong.append(f"written: {sorted(after - before)}")
    seconds, peak = _measures(log)
    return Outcome(wrong=tuple(wrong), wrong_codes=len(wrong), slowest_s=seconds, peak_bytes=peak, said=said)


def _measures(log: Path) -> tuple[float, int]:
    rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return max((float(row[0]) for row in rows), default=0.0), max((int(row[1]) for row in rows), default=0)


def _compared(fault: Fault, folder: Path, result: IngestResult, log: Path) -> Outcome:
    originals = _originals(folder / "private")
    refused: dict[str, set[str]] = {}
    fixed: dict[str, set[str]] = {}
    for row in _rows(result.folder / "ledger.csv"):
        item = originals.get(row["item"], restored_cell(row["item"]))
        (refused if row["outcome"] == "refused" else fixed).setdefault(item, set()).add(row["code"])
    used = _used(folder / fault.source, result, originals)
    codes = _differences("refused", {item: {code} for item, code in fault.refused.items()}, refused)
    codes += _differences("fixed", {item: set(found) for item, found in fault.fixed.items()}, fixed)
    if set(used) != set(fault.used):
        codes.append(f"used: {sorted(set(used) ^ set(fault.used))} differ")
    patients = tuple(pl.read_parquet(result.folder / "manifest.parquet")["patient_id"])
    if fault.patients not in ((), patients):
        codes.append(f"patients: {patients}, not {fault.patients}")
    codes += [
        f"{text!r} is in {path.name}" for path in _files(result.folder) for text in fault.absent if text in _words(path)
    ]
    pixels = [wrong for item, expected in fault.pixels.items() if (wrong := _pixels(used.get(item), expected, fault))]
    pixels += [wrong for item, inside in fault.masks.items() if (wrong := _mask(folder, fault, result, item, inside))]
    pixels += _wrong_spacings(fault, result, originals)
    seconds, peak = _measures(log)
    limits = [f"an item took {seconds:.1f} s"] if seconds > LIMIT_S else []
    limits += [f"an item took {peak >> 20} MiB"] if peak > LIMIT_BYTES else []
    n_refused = len(set(refused) - set(used))  # of the ledger, not by subtraction
    if result.n_items != len(used) + n_refused or result.n_used != len(used):
        limits.append(f"{result.n_items} items in, {len(used)} used, {n_refused} refused")
    return Outcome(
        wrong=tuple(codes + pixels + limits),
        wrong_codes=len(codes),
        wrong_pixels=len(pixels),
        n_items=result.n_items,
        n_used=len(used),
        n_refused=n_refused,
        slowest_s=seconds,
        peak_bytes=peak,
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _words(path: Path) -> str:
    """What a file says: the cells of a table, else its bytes one by one."""
    return str(pl.read_parquet(path).rows()) if path.suffix == ".parquet" else path.read_bytes().decode("latin-1")


def _differences(what: str, expected: Mapping[str, set[str]], found: Mapping[str, set[str]]) -> list[str]:
    return [
        f"{what}: {item!r} is {sorted(found.get(item, ()))}, not {sorted(expected.get(item, ()))}"
        for item in sorted({*expected, *found})
        if expected.get(item) != found.get(item)
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _originals(private: Path) -> dict[str, str]:
    """Pseudonym of a file of an export -> its path; empty where nothing was pseudonymised."""
    path = private / "crosswalk-cohort.csv"
    rows = _rows(path) if path.exists() else []
    return {row["pseudonym"]: restored_cell(row["original"]) for row in rows if row["kind"] == "item"}


def _used(root: Path, result: IngestResult, originals: Mapping[str, str]) -> dict[str, Callable[[], NDArray[np.uint8]]]:
    """Items in the manifest, and how the pixels of the first picture of each are had: those that were certified."""
    manifest = pl.read_parquet(result.folder / "manifest.parquet")
    hashes = dict(
        pl.read_parquet(result.folder / "fingerprints.parquet").select("image_path", "pixel_sha256").iter_rows()
    )
    used: dict[str, Callable[[], NDArray[np.uint8]]] = {}
    root = root if root.is_dir() else root.parent
    for name in sorted(manifest["image_path"].to_list()):
        item = originals.get(Path(name).name.rpartition("-f")[0], name)
        path = (result.folder if originals else root) / name
        used.setdefault(item, functools.partial(_certified, path, hashes[name]))
    return used


def _certified(path: Path, sha256: str) -> NDArray[np.uint8]:
    pixels = read_picture(path)
    assert pixel_sha256(pixels) == sha256, "what is read later is not what ingest certified"
    return pixels


def _wrong_spacings(fault: Fault, result: IngestResult, originals: Mapping[str, str]) -> list[str]:
    if not fault.spacing_mm:
        return []
    rows = pl.read_parquet(result.folder / "manifest.parquet").select("image_path", "pixel_spacing_mm").iter_rows()
    found = {originals.get(Path(name).name.rpartition("-f")[0], name): mm for name, mm in rows}
    return [f"{item}: {found[item]} mm, not {mm}" for item, mm in fault.spacing_mm.items() if found[item] != mm]


def _mask(folder: Path, fault: Fault, result: IngestResult, item: str, inside: NDArray[np.bool_]) -> str | None:
    """What is wrong with an item's mask, read as every later stage reads it."""
    root = (folder / fault.source).parent
    names = pl.read_parquet(result.folder / "manifest.parquet").filter(image_path=item)["mask_path"].to_list()
    if len(names) != 1 or names[0] is None:
        return f"masks of {item}: {names}"
    found = read_mask(root / names[0])
    return None if np.array_equal(found, inside) else f"the mask of {item} differs in {(found != inside).sum()} pixels"


def _pixels(read: Callable[[], NDArray[np.uint8]] | None, expected: NDArray[np.uint8], fault: Fault) -> str | None:
    if read is None:
        return "nothing was used where pixels are declared"
    found = read()
    if found.shape != expected.shape:
        return f"pixels {found.shape}, not {expected.shape}"
    largest = int(np.abs(found.astype(np.int16) - expected).max())
    return f"a pixel differs by {largest}" if largest > fault.tolerance else None
