"""The arrows between the folders, read from the source: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("envs", "representations", "intrinsic", "agents", "benchmarks")
MAY_IMPORT = {
    "envs": {"envs"},
    "representations": {"envs", "representations"},
    "intrinsic": {"envs", "intrinsic", "representations.nets"},
    "agents": {"envs", "representations", "intrinsic", "agents"},
    "benchmarks": set(FOLDERS),
}
SB3 = {"stable_baselines3", "sb3_contrib"}
SB3_OUTSIDE_AGENTS = {"representations/frozen.py", "envs/wrappers/sb3.py"}
FORBIDDEN_NAMES = {"utils", "util", "common", "core", "helpers"}


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imported(source: str, package: str) -> set[str]:
    """Full names of everything a source imports, at any depth: modules, and module.name of ``from`` imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            base = (above + (node.module or "")).rstrip(".")
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def violations(source: str, path: str) -> list[str]:
    """Imports of ``source``, which lies at ``path`` (relative to the root), that the arrows do not allow."""
    folder = path.split("/")[0]
    wrong = []
    for name in sorted(imported(source, folder)):
        top = name.split(".")[0]
        if top in FOLDERS and not any((name + ".").startswith(allowed + ".") for allowed in MAY_IMPORT[folder]):
            wrong.append(f"{path} imports {name}")
        if top in SB3 and folder not in ("agents", "benchmarks") and path not in SB3_OUTSIDE_AGENTS:
            wrong.append(f"{path} imports {name}: stable-baselines3 belongs to agents")
        if top == "tests":
            wrong.append(f"{path} imports the tests")
    return wrong


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in sources()])
def test_a_file_imports_only_along_the_arrows(path):
    assert violations((ROOT / path).read_text(), path) == []


def test_no_folder_for_leftovers():
    assert [p for p in sources() if FORBIDDEN_NAMES & set(p.relative_to(ROOT).with_suffix("").parts)] == []


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("envs/a.py", "import representations.base", 1),
        ("representations/a.py", "from intrinsic.base import IntrinsicBonus", 1),
        ("representations/a.py", "def f():\n    from agents import ppo", 1),
        ("representations/a.py", "from stable_baselines3 import PPO", 1),
        ("intrinsic/a.py", "from representations.nets import Nature", 0),
        ("intrinsic/a.py", "from representations import nets", 0),
        ("intrinsic/a.py", "from representations.base import Mode", 1),
        ("agents/a.py", "from benchmarks import transfer", 1),
        ("agents/a.py", "import stable_baselines3, envs.steps, intrinsic.base, representations.vae", 0),
    ],
)
def test_the_check_itself(path, source, wrong):
    assert len(violations(source, path)) == wrong


@pytest.mark.parametrize("folder", ["agents", "representations", "intrinsic", "envs"])
def test_a_map_of_a_folder_imports_no_torch(folder):
    """Listing names must be fast: the registries resolve only when asked."""
    code = f"import sys, {folder}; print([m for m in ('torch', 'stable_baselines3', 'procgen') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
