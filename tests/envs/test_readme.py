"""The environment and the suite of envs/README.md, as a reader would write them."""

import re
from pathlib import Path

import numpy as np

from envs.suites import build

README = Path(__file__).resolve().parents[2] / "envs" / "README.md"


def test_the_environment_and_the_suite_of_the_readme_work(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", README.read_text(), re.S)
    assert [name for name, _ in blocks] == ["my_envs", "my_suites"]
    for name, code in blocks:
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    (task,) = build("my_suites:LINE")
    env = task.source.make(40, seed=0)
    frames, _ = env.reset()
    # one white column of 8 pixels in each frame, at the place that the level draws
    assert frames.shape == (40, 64, 64, 1)
    np.testing.assert_array_equal(frames[:, 0, ::8, 0].argmax(axis=1), env.place)
    assert (frames == 255).sum() == 40 * 8 * 64
    assert len(set(env.place.tolist())) > 4
    right = env.place.copy() == 6
    _, reward, terminated, _, infos = env.step(np.ones(40, int))
    assert right.any()
    np.testing.assert_array_equal(reward, right | terminated)
    np.testing.assert_array_equal(infos["_final_obs"], terminated)
