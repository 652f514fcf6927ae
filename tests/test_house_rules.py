"""Habits that no linter knows: maps that name every file, plain docstrings, plain names, short test names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("envs", "representations", "intrinsic", "agents", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PACKAGES = sorted(path.parent for path in SOURCES if path.name == "__init__.py")
WITH_README = (*FOLDERS, "benchmarks/results", "tests")
RIDDLE = re.compile(r"(What|How|Where|Who|Whether|In what|Of|As|Being)\b")
EMPTY_NAMES = {"found", "told", "judged", "paid", "sight", "undecided", "stuff", "thing", "things"}
LONGEST_TEST_NAME = 70
INHERITED = {"_stats_window_size"}
"""Private names that stable-baselines3 gives its subclasses."""
WITHOUT_PUBLIC_NAME = {"_to_model"}
"""Private names of other packages where nothing public does the same."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def unnamed_in_map(package: Path) -> list[str]:
    """Modules and sub-packages of a folder that its ``__init__`` docstring does not name in double backticks."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    names = [path.stem for path in package.glob("*.py") if not path.stem.startswith("__")]
    names += [path.parent.name for path in package.glob("*/__init__.py")]
    return sorted(name for name in names if f"``{name}``" not in text)


def named_but_missing(package: Path) -> list[str]:
    """Names at the start of a map's line that are no file of the folder."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    first = re.findall(r"^\s*\* ``(\w+)``", text, re.MULTILINE)
    return [name for name in first if not (package / f"{name}.py").exists() and not (package / name).is_dir()]


@pytest.mark.parametrize("package", PACKAGES, ids=relative)
def test_a_folders_map_names_its_files_and_no_others(package):
    assert unnamed_in_map(package) == []
    assert named_but_missing(package) == []


@pytest.mark.parametrize("folder", WITH_README)
def test_a_folder_has_a_readme(folder):
    assert (ROOT / folder / "README.md").read_text().startswith("# ")


def docstrings(tree: ast.Module) -> list[tuple[int, str]]:
    """Line and first line of every docstring."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    pairs = [(getattr(node, "lineno", 1), ast.get_docstring(node)) for node in nodes]
    return [(line, text.split("\n")[0]) for line, text in pairs if text]


def riddles(source: str) -> list[tuple[int, str]]:
    return [(line, first) for line, first in docstrings(ast.parse(source)) if RIDDLE.match(first)]


def bound_names(source: str) -> set[str]:
    """Names that a source assigns, takes as arguments or defines."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_docstrings_open_with_the_thing_and_names_say_what_they_hold(path):
    source = path.read_text()
    assert riddles(source) == []
    assert bound_names(source) & EMPTY_NAMES == set()


def private_across_files(source: str) -> list[str]:
    """``object._name`` of names that this file does not define itself; torch's own are left out."""
    tree = ast.parse(source)
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    defined |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            holder = ast.unparse(node.value)
            own = holder.split(".")[0] in ("self", "cls", "torch", "nn", "super()")
            if not own and node.attr not in defined | INHERITED | WITHOUT_PUBLIC_NAME:
                wrong.append(f"{holder}.{node.attr}")
    return wrong


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_private_attributes_stay_in_their_file(path):
    assert private_across_files(path.read_text()) == []


def test_names_of_tests_are_short():
    names = [
        f"{relative(path)}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name) >= LONGEST_TEST_NAME
    ]
    assert names == []


def test_the_checks_themselves():
    assert riddles('"""What a thing is."""') == [(1, "What a thing is.")]
    assert riddles('def f():\n    """Rewards of a rollout."""') == []
    assert bound_names("def told(found): self.paid = 1") == {"told", "found", "paid"}
    assert private_across_files("agent._state = 1\nother._size") == ["other._size"]
    assert private_across_files("self._size") == []
