"""How many small changes of units, calibration and evidence their tests notice: mutation testing of a seeded sample.

    python benchmarks/mutation.py RESULTS.jsonl [SECONDS [MODULE ...]]

Mutants: comparisons, arithmetic, and / or, not, minus, numbers plus one, True / False, conditions turned round. Left as
they are: text, annotations, decorators, and zip's `strict`. PER_MODULE mutants of every module are drawn. Each runs the
module's tests, which the tree tells, until one fails, in a fork of a process that has loaded the libraries. Where all
of a module's were noticed, the module as it is must pass. RESULTS gets a line a mutant; run again, it goes on where it
stopped. Ends with the share that was noticed and the mutants that were not.
"""

import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PER_MODULE, SEED, MOST_S = 12, 0, 120
QUIET = (
    "-m",
    "not slow",
    "--hypothesis-seed=0",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)  # libraries came before pytest
AS_IT_IS = -1  # the number of no mutant
LIBRARIES = ("numpy", "polars", "scipy.stats", "scipy.optimize", "sklearn.linear_model", "sklearn.covariance")
LIBRARIES += (
    "sklearn.neighbors",
    "sklearn.model_selection",
    "statsmodels.stats.api",
    "crepes",
    "pydantic",
    "hypothesis",
)
SOURCE, TEST_FILES = ROOT / "src/csasn", sorted((ROOT / "tests").rglob("test_*.py"))
HEAVY = ("csasn.cli", "csasn.learning", "csasn.network", "csasn.inference", "csasn.study")  # such tests train


def imported(path: Path) -> set[str]:
    """The modules of csasn that a file imports, by dotted name."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and str(node.module).startswith("csasn")]
    return {str(node.module) for node in froms} | {
        f"{node.module}.{each.name}" for node in froms for each in node.names
    }


def tests_by_module() -> dict[str, tuple[str, ...]]:
    """The tests of every module, from the tree: those that import it, or else those of the modules that import it."""
    files = [SOURCE / "units.py", *SOURCE.glob("calibration/*.py"), *SOURCE.glob("evidence/**/*.py")]
    files = sorted(path for path in files if path.stem != "__init__")
    names = {path: f"csasn.{'.'.join(path.relative_to(SOURCE).with_suffix('').parts)}" for path in files}
    of_test = {path: imported(path) for path in TEST_FILES}
    light = {path: found for path, found in of_test.items() if not any(each.startswith(HEAVY) for each in found)}
    direct = {
        name: [str(path.relative_to(ROOT)) for path, found in light.items() if name in found] for name in names.values()
    }
    users = {name: [names[path] for path in files if name in imported(path)] for name in names.values()}
    found = {
        name: own or sorted({each for user in users[name] for each in direct[user]}) for name, own in direct.items()
    }
    return {name.removeprefix("csasn."): tuple(tests) for name, tests in found.items() if tests}


TESTS = tests_by_module()
TURNED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


class Changes(ast.NodeTransformer):
    """Counts the places that can be changed, and changes the one that is wanted."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.n, self.line, self.what = wanted, 0, 0, ""

    def _here(self, node: ast.AST, what: str) -> bool:
        self.n += 1
        if self.n - 1 != self.wanted:
            return False
        self.line, self.what = getattr(node, "lineno", 0), what
        return True

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """The body and the defaults, neither decorators nor annotations."""
        node.body = [self.visit(each) for each in node.body]
        node.args.defaults = [self.visit(each) for each in node.args.defaults]
        node.args.kw_defaults = [each and self.visit(each) for each in node.args.kw_defaults]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """The body without the decorators."""
        node.body = [self.visit(each) for each in node.body]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """The value without the annotation."""
        node.value = node.value and self.visit(node.value)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        """All but `strict`, which guards lengths that are equal anyway."""
        return node if node.arg == "strict" else self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Each comparison for its neighbour or opposite."""
        self.generic_visit(node)
        for place, each in enumerate(node.ops):
            if self._here(node, f"{type(each).__name__} to {TURNED[type(each)].__name__}"):
                node.ops[place] = TURNED[type(each)]()  # type: ignore[call-overload]
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Each arithmetic operator for its opposite."""
        self.generic_visit(node)
        text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
        turned = TURNED.get(type(node.op))
        if turned and not text and self._here(node, f"{type(node.op).__name__} to {turned.__name__}"):
            node.op = turned()  # type: ignore[assignment]
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """And for or."""
        self.generic_visit(node)
        if self._here(node, "and / or"):
            node.op = TURNED[type(node.op)]()  # type: ignore[assignment]
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """Without not, minus or invert."""
        self.generic_visit(node)
        return node.operand if self._here(node, f"without {type(node.op).__name__}") else node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A number plus one, True for False."""
        value = node.value
        if isinstance(value, bool):
            return ast.copy_location(ast.Constant(not value), node) if self._here(node, f"not {value}") else node
        if isinstance(value, int | float):
            changed = ast.copy_location(ast.Constant(value + 1), node)
            return changed if self._here(node, f"{value} plus 1") else node
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        """A condition turned round."""
        self.generic_visit(node)
        if self._here(node, "if turned round"):
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """The two branches exchanged."""
        self.generic_visit(node)
        if self._here(node, "branches exchanged"):
            node.body, node.orelse = node.orelse, node.body
        return node


def path_of(module: str) -> Path:
    """The file of a module by its dotted name below csasn."""
    return SOURCE / f"{module.replace('.', '/')}.py"


def mutant(module: str, number: int) -> tuple[ast.Module, Changes]:
    """The module's tree with one change, and what was changed."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    change = Changes(number)
    return ast.fix_missing_locations(change.visit(copy.deepcopy(tree))), change


def drawn(modules: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The sample, a mutant of every module in turn."""
    chosen = {}
    for module in modules:
        n = mutant(module, AS_IT_IS)[1].n
        order = random.Random(f"{SEED} {module}").sample(range(n), min(n, PER_MODULE))  # noqa: S311
        chosen[module] = order
    for turn in range(PER_MODULE):
        yield from ((module, order[turn]) for module, order in chosen.items() if turn < len(order))


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name, self.tree = name, tree

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """The changed module, and nothing else."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed tree."""
        exec(compile(self.tree, f"{self.name} (changed)", "exec"), module.__dict__)  # noqa: S102


def noticed(module: str, tree: ast.Module) -> bool:
    """Whether a test of the module fails with the changed tree, or takes too long."""
    child = os.fork()
    if not child:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        sys.meta_path.insert(0, Loader(f"csasn.{module}", tree))
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *QUIET, *TESTS[module]])
        os._exit({pytest.ExitCode.OK: 0, pytest.ExitCode.TESTS_FAILED: 1, pytest.ExitCode.INTERRUPTED: 1}.get(code, 3))
    ends = time.monotonic() + MOST_S
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done and (code := os.waitstatus_to_exitcode(status)) == 3:
            raise RuntimeError(f"The tests of {module} could not be run: {TESTS[module]}.")
        if done:
            return code != 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def rows_of(results: Path, seconds: float, modules: Sequence[str]) -> list[dict[str, Any]]:
    """Go on with the sample until the time is over; the rows known by then. Modules AS_IT_IS come last, if needed."""
    ends = time.monotonic() + seconds
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    done = {(row["module"], row["number"]) for row in known}
    for pair in [*drawn(modules), *((module, AS_IT_IS) for module in modules)]:
        if pair in done or (pair[1] == AS_IT_IS and any(r["module"] == pair[0] and not r["noticed"] for r in known)):
            continue
        if time.monotonic() > ends:
            break
        started, (tree, change) = time.monotonic(), mutant(*pair)
        row = {"module": pair[0], "number": pair[1], "line": change.line, "what": change.what}
        row |= {"noticed": noticed(pair[0], tree), "seconds": round(time.monotonic() - started, 1)}
        if pair[1] == AS_IT_IS and row["noticed"]:
            raise RuntimeError(f"The tests of {pair[0]} fail with the module as it is: {TESTS[pair[0]]}.")
        with results.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        known.append(row)
    return [row for row in known if row["number"] != AS_IT_IS]


def main(results: Path, seconds: float, modules: Sequence[str]) -> None:
    """Load the libraries, go on with the sample, and tell what is known."""
    os.chdir(ROOT)
    for each in LIBRARIES:
        importlib.import_module(each)
    known = rows_of(results, seconds, modules)
    missed = [row for row in known if not row["noticed"]]
    for row in missed:
        line = path_of(row["module"]).read_text().splitlines()[row["line"] - 1].strip()
        print(f"not noticed: {row['module']}.py:{row['line']} ({row['number']}) {row['what']}: {line}")
    share = 100 * (len(known) - len(missed)) / max(len(known), 1)
    print(f"{len(known) - len(missed)} of {len(known)} mutants noticed ({share:.1f} %)")


if __name__ == "__main__":
    limit = float(sys.argv[2]) if len(sys.argv) > 2 else float("inf")
    main(Path(sys.argv[1]).resolve(), limit, sys.argv[3:] or sorted(TESTS))
