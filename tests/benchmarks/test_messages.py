"""Every option that any message, help or docstring names exists: a cure that is not there is none."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from agents import ALGORITHMS
from intrinsic import BONUSES
from representations import REPRESENTATIONS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("envs", "representations", "intrinsic", "agents", "benchmarks")
STYLES = ROOT / "benchmarks/reporting/html.py"
"""Names variables of CSS, which look like options."""
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path != STYLES)
READMES = sorted([ROOT / "README.md", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("README.md"))])
OTHERS = {
    *("help", "short", "porcelain", "untracked-files", "nproc-per-node", "nnodes", "standalone"),  # git, torchrun
    *("no-deps", "index-url", "extra-index-url", "user", "upgrade", "force-reinstall"),  # pip
    *("id", "yes"),  # wandb sync
}
"""Options of other programs."""
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?![\w-])")
SETTING = re.compile(r"(?<![\w.])([a-z_][a-z_0-9]*)\.([a-z_][a-z_0-9]*)=")
SET = re.compile(r"--set ((?:[A-Za-z_][\w.]*=\S+ ?)+)")


def strings(path):
    """Texts of a source, f-strings with ``{}`` for what they insert; of another file, its whole text."""
    if path.suffix != ".py":
        return [path.read_text()]
    texts, inside = [], set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            texts.append(node.value)
    return texts


def option_fields(cls):
    return {field.name.replace("_", "-") for field in dataclasses.fields(cls)}


def declared(baselines):
    """Options of every command: fields of dataclasses of arguments, and arguments of argparse.

    Args:
        baselines: count those of other people's training loops, too, which only their own messages may name.
    """
    names = set()
    for path in SOURCES:
        if path.parent.name == "baselines" and not baselines:
            continue
        text = path.read_text()
        names |= set(re.findall(r'add_argument\(\s*"--([a-z-]+)"', text))
        if path.is_relative_to(ROOT / "benchmarks") and re.search(r"^class \w*Args\b", text, re.MULTILINE):
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            classes = [value for name, value in vars(module).items() if name.endswith("Args")]
            names |= {name for cls in classes if dataclasses.is_dataclass(cls) for name in option_fields(cls)}
    return names | {f"no-{name}" for name in names} | OTHERS


def configs():
    """Module, by its name in ``--set`` -> fields of its Config."""
    registries = (REPRESENTATIONS, ALGORITHMS, BONUSES)
    classes = {name: registry.resolve(name) for registry in registries for name in registry.places}
    return {name: {field.name for field in dataclasses.fields(cls.Config)} for name, cls in classes.items()}


@pytest.fixture(scope="module")
def known():
    return {baselines: declared(baselines) for baselines in (False, True)}


def unknown_options(texts, known):
    return sorted({name for text in texts for name in FLAG.findall(text)} - known)


@pytest.mark.parametrize("path", [*SOURCES, *READMES], ids=lambda path: str(path.relative_to(ROOT)))
def test_options_that_are_named_exist(path, known):
    options = known[path.parent.name == "baselines" or path.suffix == ".md"]
    removed = set(re.findall(r'"--([a-z-]+)": "', path.read_text()))  # those of an earlier version, which say so
    assert [name for name in unknown_options(strings(path), options) if name not in removed] == []


def test_settings_that_are_named_exist():
    fields, wrong = configs(), []
    for path in [*SOURCES, *READMES]:
        for text in strings(path):
            for words in SET.findall(text):
                for module, field in SETTING.findall(words):
                    own = path.suffix == ".md" and module not in fields  # a README's example of one's own
                    if not own and field not in fields.get(module, set()):
                        wrong.append(f"{path.relative_to(ROOT)}: {module}.{field}")
    assert wrong == []


def test_the_checks_themselves(known):
    assert unknown_options(["use --trunk impala", "f --env-option {}"], known[False]) == ["trunk"]
    assert SETTING.findall(SET.findall("as --set cnn.trunk=impala ppo.lr=1 or")[0]) == [
        ("cnn", "trunk"),
        ("ppo", "lr"),
    ]
