"""The player in a real browser without a screen: slider, frames, keys, levels, red frames, a narrow and a dark page."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.reporting import player
from benchmarks.reporting.report import write_report
from tests.benchmarks.reporting.recorded import HEIGHT, VARIANT, WIDTH, shade, write_recordings
from tests.benchmarks.tools import make_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")
TRAIN, UNSEEN = '[data-split="train"].pane', '[data-split="heldout"].pane'
PIXELS = """canvas => {
  const data = [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
  const pixels = new Set();
  for (let place = 0; place < data.length; place += 4) pixels.add(data.slice(place, place + 3).join());
  return [...pixels];
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report with recordings written by hand."""
    experiment = tmp_path_factory.mktemp("experiment")
    write_recordings(make_run(experiment, "cnn"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(player, "record", lambda cells: [])
        write_report(experiment)
    return (experiment / "report.html").as_uri()


@pytest.fixture
def page(browser, address):
    """The report at its first step; afterwards no error was printed, and nothing was asked of any network."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if request.url[:5] not in ("file:", "data:") else None)
    page.goto(address)
    at_step(page, 0)
    yield page
    page.close()
    assert wrong == []


def at_step(page, step):
    """Wait until the canvases show it."""
    page.wait_for_selector(f'#player[data-step="{step}"]', timeout=5000)


def past_step(page, step):
    """Wait until playing has come further; by asking, as the page's policy lets no watcher of playwright's in."""
    for _ in range(100):
        if int(page.locator("#player").get_attribute("data-step")) > step:
            return
        page.wait_for_timeout(50)
    pytest.fail(f"not past step {step} after 5 s")


def slide(page, step):
    slider = page.locator("[data-slider]")
    slider.evaluate("(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input')); }", step)
    at_step(page, step)


def colours(page, pane, canvas=0):
    """Distinct colours of a pane's canvas."""
    return page.locator(f"{pane} canvas").nth(canvas).evaluate(PIXELS)


def words(rgb):
    return [",".join(map(str, rgb))]


def test_the_slider_shows_the_recorded_pixels_of_both(page):
    for step in (0, 17, 130, 255, 256, 299):  # within and across contact sheets
        slide(page, step)
        assert colours(page, TRAIN) == words(shade(7, step))
        assert colours(page, UNSEEN) == words(shade(40, min(step, 139)))  # its episode has 140 frames
    size = page.locator(f"{TRAIN} canvas").first.evaluate("canvas => [canvas.width, canvas.height]")
    assert size == [WIDTH, HEIGHT]
    assert page.locator("[data-slider]").get_attribute("max") == "299"
    assert page.locator("[data-slider]").get_attribute("aria-valuetext") == "step 300 of 300"


def test_a_variant_stays_in_step_and_is_red_where_it_differs(page):
    for step, red in ((3, False), (4, True), (5, False), (259, True)):
        slide(page, step)
        red_part, green, blue = shade(7, step)
        assert colours(page, TRAIN, 1) == words((red_part + VARIANT, green, blue))
        figure = page.locator(f"{TRAIN} figure").first
        assert ("differs" in (figure.get_attribute("class") or "")) == red
        assert ("≠" in figure.inner_text()) == red
        outline = figure.locator("canvas").evaluate("canvas => getComputedStyle(canvas).outlineColor")
        assert (outline == "rgb(209, 26, 42)") == red
        assert "differs" not in (page.locator(f"{TRAIN} figure").nth(1).get_attribute("class") or "")


def test_keys_step_jump_and_play(page):
    page.locator("[data-slider]").focus()
    for key, step in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 299), ("Home", 0)):
        page.keyboard.press(key)
        at_step(page, step)
    assert page.locator(":focus-visible").count() == 1
    page.keyboard.press("Space")
    past_step(page, 3)
    assert page.locator("[data-play]").get_attribute("aria-label") == "pause"
    page.keyboard.press("Space")
    assert page.locator("[data-play]").get_attribute("aria-label") == "play"
    stopped = page.locator("#player").get_attribute("data-step")
    page.wait_for_timeout(250)
    assert page.locator("#player").get_attribute("data-step") == stopped


def test_playing_keeps_both_in_step_to_the_end(page):
    page.locator("[data-speed]").select_option("4")
    slide(page, 270)
    page.locator("[data-play]").click()
    past_step(page, 275)
    frames = page.evaluate(
        "[...document.querySelectorAll('.pane .screens canvas')].map(canvas => Number(canvas.dataset.frame))"
    )
    train, *variants, unseen = frames
    assert variants[:3] == [train, train, train]  # two visual variants, and the masks of slots
    assert unseen == min(train, 139)
    at_step(page, 299)
    assert page.locator("[data-play]").get_attribute("aria-label") == "play"


def test_the_rule_chooses_the_episodes_and_is_printed(page):
    assert "median and best of 4 episodes by return" in page.locator(TRAIN).inner_text()
    page.locator("[data-choice]").select_option(label="worst by return")
    page.wait_for_selector(f"{TRAIN} >> text=worst of 4 episodes by return")
    at_step(page, 0)
    slide(page, 3)
    assert colours(page, TRAIN) == words(shade(9, 3))
    assert colours(page, UNSEEN) == words(shade(42, 3))
    assert "in 400 steps, the first 280 shown" in page.locator(UNSEEN).inner_text()
    assert "bonus" in page.locator(TRAIN).inner_text()
    page.locator("[data-choice]").select_option(label="best by return")
    page.wait_for_selector(f"{UNSEEN} >> text=best of 4 episodes by return")
    assert colours(page, TRAIN) == words(shade(7, 0))


def test_lines_tell_the_numbers_of_the_step(page):
    slide(page, 25)
    text = page.locator(TRAIN).inner_text()
    assert "step 26 of 300: left (west)" in text
    assert "value 1.50" in text  # 25 / 10 - 1
    assert "<jump>\n0.63" in text  # likeliest first
    assert "left / west\n0.38" in text  # of one effect: 0.25 + 0.125
    assert page.locator(f"{TRAIN} .cursor").first.get_attribute("x1") == str(1000 * 25 / 299)
    chart = page.locator(f"{TRAIN} .chart").first
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * 100 / 299, "y": 5})
    at_step(page, 100)


def test_a_level_plays_where_it_was_recorded(page):
    levels = page.locator('.levels button[data-split="heldout"]')
    assert [text.split() for text in levels.all_inner_texts()] == [
        *(["0%", "40"], ["33%", "41"], ["67%", "42"], ["100%", "43"]),
    ]
    page.locator('.levels button[data-level="43"]').focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{UNSEEN} >> text=first episode of its level")
    at_step(page, 0)
    assert colours(page, UNSEEN) == words(shade(43, 0))
    assert colours(page, TRAIN) == words(shade(7, 0))
    assert page.locator('.levels button[aria-pressed="true"]').count() == 2
    assert page.locator("[data-choice]").input_value() == "level chosen below"
    assert page.locator('.levels button[data-level="3"]').is_disabled()
    bars = page.locator('.levels button[data-split="heldout"] .bar')
    ends = [bars.nth(n).evaluate("bar => getComputedStyle(bar).backgroundColor") for n in (0, 3)]
    assert ends == ["rgb(0, 32, 77)", "rgb(255, 234, 70)"]


def test_patches_are_marked_by_what_hiding_them_lowers(page):
    tiles = page.locator(f"{TRAIN} .saliency canvas")
    corners = """(canvas, place) => [...canvas.getContext('2d').getImageData(...place, 1, 1).data].slice(0, 3)"""
    page.wait_for_timeout(100)
    # 2 x 3 patches of 4 x 4 pixels on a frame of (0, 0, 7): the first by 0.8 of orange, the third by half of that
    for place, colour in (([1, 1], (192, 88, 1)), ([5, 1], (0, 0, 7)), ([9, 1], (96, 44, 4)), ([9, 6], (0, 0, 7))):
        np.testing.assert_allclose(tiles.first.evaluate(corners, place), colour, atol=1)
    page.locator(f"{TRAIN} .saliency select").select_option("value")
    np.testing.assert_allclose(tiles.first.evaluate(corners, [9, 6]), (192, 88, 1), atol=1)
    assert tiles.first.evaluate(corners, [1, 1]) == [0, 0, 7]
    tiles.nth(1).click()
    at_step(page, 200)


def test_a_slider_moves_every_latent(page):
    page.locator(f"{TRAIN} .traversal summary").click()
    tiles = page.locator(f"{TRAIN} .traversal canvas")
    assert page.locator(f"{TRAIN} .traversal figcaption").all_inner_texts() == ["z4: 2.5", "z1: 0.5"]
    slider = page.locator(f"{TRAIN} .traversal input")
    for key, column in (("End", 2), ("ArrowLeft", 1), ("Home", 0)):
        slider.press(key)
        for row in (0, 1):
            assert tiles.nth(row).evaluate(PIXELS) == words(shade(7, 3 * row + column))
    assert page.locator("#player").get_attribute("data-step") == "0"  # keys were this slider's own


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_of_either_scheme_is_not_wider_than_its_screen(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert page.evaluate("document.getElementById('player').scrollWidth") <= 400
    left, right = (page.locator(f"{pane} canvas").first.bounding_box() for pane in (TRAIN, UNSEEN))
    assert left["x"] + left["width"] < right["x"]  # side by side still
    background, ink = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    dark, bright = ("rgb(18, 21, 25)", "rgb(246, 247, 249)")
    assert background == (dark if scheme == "dark" else bright)
    assert (sum(map(int, ink[4:-1].split(","))) > 384) == (scheme == "dark")
    line = page.locator("figure svg text").first.evaluate("text => getComputedStyle(text).fill")
    assert (sum(map(int, line[4:-1].split(","))) > 384) == (scheme == "dark")


def test_the_pages_policy_stops_a_foreign_script_and_an_image(browser, address, tmp_path):
    text = Path(address.removeprefix("file://")).read_text()
    hostile = text.replace("</main>", '<script>window.ran = 1</script><img src="http://127.0.0.1:9/x.png"></main>')
    (tmp_path / "hostile.html").write_text(hostile)
    page = browser.new_page()
    blocked = []
    page.on("console", lambda message: blocked.append(message.text))
    page.goto((tmp_path / "hostile.html").as_uri())
    at_step(page, 0)
    assert page.evaluate("window.ran") is None
    assert len([text for text in blocked if "Content Security Policy" in text]) == 2
    page.close()
