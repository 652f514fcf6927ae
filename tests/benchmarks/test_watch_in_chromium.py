"""The page of the command ``watch`` in a real browser: frames follow the slider and the keys, variants stay in step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from agents.actions import Categorical
from benchmarks.recording.episode import Episode
from benchmarks.recording.page import page as page_text

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")
STEPS = 5
RED = "canvas => canvas.getContext('2d').getImageData(3, 2, 1, 1).data[0]"


def episode(level, shift):
    """Frames of 40 x 48 pixels, red 20 * step + shift, in the variant 3 more; the effect differs at step 2."""
    frames = [np.full((40, 48, 3), 20 * step + shift, np.uint8) for step in range(STEPS)]
    others = [frame + np.uint8(3) for frame in frames]
    recorded = Episode(level, 0, False, action_names=["<b>left</b>", "right", "up"], total=1.0, length=STEPS)
    recorded.frames, recorded.actions = frames, [np.array(step % 3) for step in range(STEPS)]
    recorded.parameters = [torch.tensor([0.5, 0.3, 0.2]).log()] * STEPS
    recorded.values, recorded.rewards = [0.5 * step for step in range(STEPS)], [0.0] * STEPS
    recorded.variants = {"dark": (others, [step == 2 for step in range(STEPS)])}
    return recorded


def test_the_page_plays_every_episode(tmp_path):
    file, wrong = tmp_path / "watch.html", []
    episodes = {"train": [episode(1, 0), episode(2, 7)], "validation": [episode(3, 13)]}
    file.write_text(page_text("run & <i>co</i>", "About <b>it</b>.", episodes, Categorical(3)), encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 400, "height": 800})
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_selector('#player[data-step="0"]', timeout=20000)
        colours = lambda: [canvas.evaluate(RED) for canvas in page.locator(".screens canvas").all()]  # noqa: E731
        assert colours() == [0, 3, 13, 16]
        assert page.inner_text("h1") == "run & <i>co</i>"
        assert "About <b>it</b>." in page.inner_text("#player")
        assert page.locator(".pane h3").all_inner_texts() == ["training level", "split validation"]
        assert page.locator(".pane .now").first.inner_text() == "step 1 of 5: <b>left</b>"
        page.locator("[data-slider]").focus()
        for _ in range(2):
            page.keyboard.press("ArrowRight")
        page.wait_for_selector('#player[data-step="2"]', timeout=20000)
        assert colours() == [40, 43, 53, 56]
        assert page.locator("figure.differs").count() == 2
        assert "up\n0.20" in page.locator(".pane").first.inner_text()
        page.locator("[data-choice]").select_option(label="2: level 2")
        page.wait_for_selector('#player[data-step="0"]', timeout=20000)
        assert colours() == [7, 10]
        assert page.locator("figure.differs").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.locator("[data-play]").click()
        page.wait_for_selector(f'#player[data-step="{STEPS - 1}"]', timeout=20000)
        assert colours() == [87, 90]
        browser.close()
    assert wrong == []
