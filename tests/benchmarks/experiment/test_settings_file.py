"""--settings: the same run as with --set, which goes over it, and mistakes named with the file."""

from pathlib import Path

import pytest

from agents.runs.config import run_id
from benchmarks.experiment.settings_file import settings_text
from benchmarks.transfer import Args, plan
from envs.registry import UsageError

TEXT = """
# a comment
[ppo]
gamma = 0.9
value_clip = "none"

[pca]
components = 7
"""


def runs(tmp_path, text=TEXT, **options):
    file = tmp_path / "best.toml"
    file.write_text(text)
    return plan(Args(repr=("pca",), suite="counting", preset="smoke", settings=file, **options))


def test_a_run_is_the_same_as_with_set(tmp_path):
    words = ("ppo.gamma=0.9", "ppo.value_clip=none", "pca.components=7")
    expected = plan(Args(repr=("pca",), suite="counting", preset="smoke", set=words))
    assert runs(tmp_path) == expected
    assert [run_id(config) for config in runs(tmp_path)] == [run_id(config) for config in expected]
    assert expected[0].algo_settings["gamma"] == 0.9
    assert expected[0].algo_settings["value_clip"] is None


def test_set_goes_over_the_file(tmp_path):
    (config, _) = runs(tmp_path, set=("ppo.gamma=0.5",))
    assert (config.algo_settings["gamma"], config.repr_settings["components"]) == (0.5, 7)


def test_what_is_written_is_read_back(tmp_path):
    settings = {"ppo.learning_rate": 1.25e-5, "ppo.epochs": 2, "pca.components": 5, "ppo.bonus_once": True}
    text = settings_text(settings, "pca: best of 3\nand more")
    assert text.splitlines()[:6] == [
        "# pca: best of 3",
        "# and more",
        "",
        "[ppo]",
        "learning_rate = 1.25e-05",
        "epochs = 2",
    ]
    (config, _) = runs(tmp_path, text)
    assert config.algo_settings["learning_rate"] == 1.25e-5
    assert (config.algo_settings["epochs"], config.algo_settings["bonus_once"]) == (2, True)
    assert config.repr_settings["components"] == 5
    assert settings_text({"cnn.trunk": "own", "cnn.hidden": (4, 5)}, "x").endswith('trunk = "own"\nhidden = [4, 5]\n')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[vae]\nbeta = 1", "vae.beta=1: 'vae' is not part of this command, which has cnn, pca, ppo"),
        ("[ppo]\ngama = 1", "ppo.gama: no such field; did you mean 'gamma'?"),
        ('[ppo]\ngamma = "high"', "ppo.gamma=high: 'high' is not a value of type float"),
        ("gamma = 1", "gamma: write [MODULE] on a line, and gamma = VALUE below it"),
        ("gamma", "is not TOML: "),
    ],
)
def test_a_mistake_is_named_with_the_file(tmp_path, text, words):
    with pytest.raises(UsageError) as refusal:
        runs(tmp_path, text)
    assert str(refusal.value).startswith(f"--settings {tmp_path / 'best.toml'}")
    assert words in str(refusal.value)


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match=r"--settings nowhere.toml cannot be read \(No such file"):
        plan(Args(settings=Path("nowhere.toml"), suite="counting", preset="smoke"))
