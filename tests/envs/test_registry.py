"""Registries resolve lazily; errors are one line."""

import sys

import pytest

from envs import ENVIRONMENTS
from envs.registry import Registry, UsageError, check_int


@pytest.fixture
def registry():
    return Registry("fruit", "tests.no_such_group", {"apple": "collections:OrderedDict", "pear": "no.such.module:Pear"})


def test_names_are_listed_and_checked_without_an_import(registry):
    assert list(registry) == ["apple", "pear"]
    assert len(registry) == 2
    assert registry["pear"] == registry.check("pear") == "no.such.module:Pear"
    assert "no" not in sys.modules


def test_resolve_gives_the_class(registry):
    from collections import Counter, OrderedDict

    assert registry.resolve("apple") is OrderedDict
    assert registry.resolve("collections:Counter") is Counter  # a class by its place


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aple", "unknown fruit 'aple'; did you mean 'apple'. Known: apple, pear"),
        ("zzz", "unknown fruit 'zzz'. Known: apple, pear"),
        ("pear", "fruit 'pear': no module 'no.such.module'"),
        ("no.such:Thing", "no module 'no.such'"),
        ("collections:NoSuchClass", "module 'collections' has no 'NoSuchClass'"),
    ],
)
def test_mistakes_are_one_line_that_names_them(registry, name, message):
    with pytest.raises(UsageError, match=message) as caught:
        registry.resolve(name)
    assert "\n" not in str(caught.value)


def test_a_module_that_misses_another_is_not_called_missing(registry, tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import surely_not_installed_xyz")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed_xyz"):
        registry.resolve("needs_more:Thing")


def test_entry_points_add_names_but_never_hide_ours(monkeypatch):
    from importlib.metadata import EntryPoint

    import envs.registry

    group = "tests.group"
    points = [EntryPoint("kiwi", "collections:Counter", group), EntryPoint("apple", "evil:Apple", group)]
    monkeypatch.setattr(envs.registry, "entry_points", lambda group: points)
    registry = Registry("fruit", group, {"apple": "collections:OrderedDict"})
    assert dict(registry) == {"kiwi": "collections:Counter", "apple": "collections:OrderedDict"}


def test_a_class_is_named_as_commands_name_it(registry, monkeypatch):
    from collections import ChainMap, Counter, OrderedDict
    from importlib.metadata import EntryPoint

    assert registry.name_of(OrderedDict) == "apple"
    assert registry.name_of(ChainMap) == "chainmap"
    monkeypatch.setattr("envs.registry.entry_points", lambda group: [EntryPoint("kiwi", "collections:Counter", group)])
    assert registry.name_of(Counter) == "kiwi"


def test_every_environment_resolves():
    assert {name: ENVIRONMENTS.resolve(name).__name__ for name in ("procgen", "counting")} == {
        "procgen": "ProcgenVectorEnv",
        "counting": "CountingVectorEnv",
    }


def test_an_old_entry_point_group_is_read_with_one_line(monkeypatch, capsys):
    from importlib.metadata import EntryPoint

    import envs.registry

    points = {
        "tests.new": [EntryPoint("kiwi", "collections:Counter", "tests.new")],
        "tests.old": [
            EntryPoint("kiwi", "evil:Kiwi", "tests.old"),
            EntryPoint("fig", "collections:deque", "tests.old"),
        ],
    }
    monkeypatch.setattr(envs.registry, "entry_points", lambda group: points[group])
    registry = Registry("fruit", "tests.new", {}, old_group="tests.old")
    assert dict(registry) == {"kiwi": "collections:Counter", "fig": "collections:deque"}
    assert len(registry) == 2
    assert capsys.readouterr().err == (
        "fruit kiwi, fig: entry-point group 'tests.old' is now 'tests.new'; the old name is read for one more version\n"
    )


def test_a_place_that_holds_something_else_is_refused():
    registry = Registry("fruit", "tests.fruit", {"fig": "collections:deque"}, attribute="maxlen")
    assert registry.resolve("fig").__name__ == "deque"
    with pytest.raises(UsageError, match="fruit 'os:system' is none: it has no maxlen; name a class that is one"):
        registry.resolve("os:system")


@pytest.mark.parametrize("value", [True, 3.0, "3", 0, 11, None])
def test_integers_are_checked_with_one_line(value):
    assert check_int("fruit", "count", 10, 1, 10) == 10
    with pytest.raises(UsageError, match=r"^fruit: count=.* is not an integer in \[1, 10\]; peel it$"):
        check_int("fruit", "count", value, 1, 10, "peel it")
