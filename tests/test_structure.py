"""The shape of the source: short functions, short files, imports at the top."""

import ast
import re
import statistics
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "csasn"
FILES = sorted(SOURCE.rglob("*.py"))


def test_functions_stay_under_60_lines() -> None:
    long = [
        f"{path.relative_to(SOURCE)}: {node.name}, {node.end_lineno - node.lineno + 1} lines"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None and node.end_lineno - node.lineno >= 59
    ]
    assert long == []


def test_files_stay_short() -> None:
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 400} == {}
    assert statistics.median(lengths.values()) <= 120


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("csasn", cache_dir=None, exclude_type_checking_imports=True)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) == len(FILES)
    TopologicalSorter(imports).prepare()  # a cycle is a CycleError that names it


def test_imports_stand_at_the_top_outside_the_command_line() -> None:
    inside = [
        f"{path.relative_to(SOURCE)}: {function.name}"
        for path in FILES
        if "cli" not in path.relative_to(SOURCE).parts
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert inside == []


def test_the_report_is_typed_to_the_last_value() -> None:
    """What it reads are records: it needs no Any, no cast and no comment that silences the type checker."""
    unsure = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in FILES
        if "report" in path.relative_to(SOURCE).parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"\bAny\b|\bcast\(|type: ignore", line)
    ]
    assert any("report" in path.relative_to(SOURCE).parts for path in FILES)
    assert unsure == []


def test_every_room_has_a_folder_of_tests() -> None:
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert rooms
    assert sorted(room for room in rooms if not list((TESTS / room).glob("test_*.py"))) == []


def test_tests_lie_in_folders() -> None:
    """Beside this file, which is about the whole tree, and the fixtures."""
    assert sorted(path.name for path in TESTS.glob("*.py")) == ["__init__.py", "conftest.py", "test_structure.py"]
