"""The direction in which files may import one another, read from the files themselves."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOW = ("datamodules", "backbones", "policy")
FILES = sorted(path for package in FLOW for path in (ROOT / package).rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path):
    """Yield (module, line) for what a file imports of ours, type-checking blocks left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in FLOW:
                    yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module.split(".")[0] in FLOW:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield (inner if inner in MODULES else node.module), node.lineno


def test_packages_import_only_those_to_their_left():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for name, path in MODULES.items()
        for module, line in imports(path)
        if FLOW.index(module.split(".")[0]) > FLOW.index(name.split(".")[0])
    ]
    assert wrong == []


def test_no_file_imports_itself_by_a_detour():
    graph = {name: {m for m, _ in imports(path)} - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("imports form a circle: " + " → ".join(reversed(error.args[1])))


def test_names_are_imported_from_modules_and_never_a_whole_package():
    """``import policy`` finds whatever folder of that name lies nearest."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.split(".")[0] in FLOW
    ]
    assert wrong == []


def test_folders_are_at_most_two_deep():
    assert [str(path) for path in FILES if len(path.relative_to(ROOT).parts) > 3] == []


def test_no_file_has_a_name_of_the_standard_library():
    """Started inside such a folder, Python would import ours instead of its own."""
    assert [str(p) for p in FILES if p.stem in sys.stdlib_module_names - {"__main__"}] == []


@pytest.mark.parametrize("package", FLOW)
def test_packages_tell_type_checkers_that_they_are_typed(package):
    assert (ROOT / package / "py.typed").exists()


def test_the_tests_are_no_packages():
    """``tests/policy/__init__.py`` would make pytest import that folder as ``policy``."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []
