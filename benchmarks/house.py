"""What the source and the front door cost: size of files, cycles, `import csasn`, `csasn --help`.

    python benchmarks/house.py [BASE]

BASE: a checkout to compare with, such as `git worktree add /tmp/base COMMIT`. Prints one row a figure as CSV: what,
this checkout, BASE, the bar. Times are medians of eleven, both checkouts by turns in the same interpreter, csasn taken
from the checkout's src.
"""

import csv
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT, ROUNDS = Path(__file__).parents[1], 11
GRAPH = (
    "import grimp; g = grimp.build_graph('csasn', cache_dir=None, exclude_type_checking_imports=True);"
    "[print(name, *sorted(g.find_modules_directly_imported_by(name))) for name in sorted(g.modules)]"
)


def python(checkout: Path, *arguments: str) -> str:
    """What the interpreter prints with csasn taken from a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True, cwd=checkout
    )
    return done.stdout


def file_lengths(checkout: Path) -> list[int]:
    """Lines of every file of the source, shortest first."""
    return sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in (checkout / "src").rglob("*.py"))


def cycle(checkout: Path) -> str:
    """The first import cycle, or "none"."""
    imports = {name: rest for name, *rest in map(str.split, python(checkout, "-c", GRAPH).splitlines())}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return " > ".join(error.args[1])
    return "none"


def import_seconds(checkout: Path) -> float:
    """Of `import csasn` in a fresh interpreter, which has started already."""
    return float(
        python(checkout, "-c", "import time; t = time.perf_counter(); import csasn; print(time.perf_counter() - t)")
    )


def help_seconds(checkout: Path) -> float:
    """Of `csasn --help`, from the shell."""
    begun = time.perf_counter()
    python(checkout, "-m", "csasn", "--help")
    return time.perf_counter() - begun


def medians(measure: Callable[[Path], float], checkouts: list[Path]) -> list[str]:
    """The median of each checkout, measured by turns."""
    found: dict[Path, list[float]] = {each: [] for each in checkouts}
    for _ in range(ROUNDS):
        for each in checkouts:
            found[each].append(measure(each))
    return [f"{statistics.median(values):.3f}" for values in found.values()]


def main() -> None:
    """Print the rows."""
    checkouts = [ROOT, *(Path(each).resolve() for each in sys.argv[1:2])]
    lengths = [file_lengths(each) for each in checkouts]
    rows = [
        ["files of the source", *(len(each) for each in lengths), ""],
        ["median file, lines", *(round(statistics.median(each)) for each in lengths), 120],
        ["longest file, lines", *(each[-1] for each in lengths), 400],
        ["import cycles", *(cycle(each) for each in checkouts), "none"],
        ["import csasn, s", *medians(import_seconds, checkouts), 0.1],
        ["csasn --help, s", *medians(help_seconds, checkouts), 0.5],
    ]
    csv.writer(sys.stdout).writerows(rows)


if __name__ == "__main__":
    main()
