// The player: episodes side by side under one slider, lines of what the policy thought, and levels to choose from.
// Everything comes from the JSON in the page.
"use strict";
const { runs } = JSON.parse(document.getElementById("player-data").textContent);
const root = document.getElementById("player");
const at = (name) => root.querySelector(`[data-${name}]`);
const slider = at("slider"), playButton = at("play");
const PICKED = "level chosen below";
const STEPS_PER_SECOND = 15;

let run = null, panes = [], step = 0, total = 1, wanted = 0, timer = null;

// frames: contact sheets, decoded once ----------------------------------------------------------------------------

const images = new Map();

function sheet(address) {
  if (!images.has(address)) {
    const image = new Image();
    image.src = address;
    const entry = { image, ready: false };
    entry.loading = image.decode().then(() => { entry.ready = true; });
    images.set(address, entry);
  }
  return images.get(address);
}

function sheetAt(screen, frame) { return sheet(screen.sheets[Math.floor(frame / screen.perSheet)]); }

function draw(screen, frame) {
  const place = frame % screen.perSheet, { width, height } = screen.canvas;
  const x = (place % screen.columns) * width, y = Math.floor(place / screen.columns) * height;
  screen.canvas.getContext("2d").drawImage(sheetAt(screen, frame).image, x, y, width, height, 0, 0, width, height);
  screen.canvas.dataset.frame = frame;
}

function screenOf(episode, source, label) {
  const canvas = make("canvas", { width: source.width, height: source.height, role: "img", "aria-label": label });
  return { canvas, sheets: source.sheets, perSheet: episode.frames_per_sheet, columns: episode.columns };
}

// panes: an episode each -----------------------------------------------------------------------------------------------

function fill(pane, episode) {
  pane.episode = episode;
  pane.main = screenOf(episode, episode, `${pane.name}, frame of the episode`);
  pane.variants = episode.variants.map((variant) => ({
    screen: screenOf(episode, variant, `the same state, ${variant.name}`), differs: variant.differs, name: variant.name,
  }));
  for (const variant of pane.variants) {
    variant.caption = make("figcaption");
    variant.figure = make("figure", {}, variant.screen.canvas, variant.caption);
  }
  const figures = pane.variants.map((variant) => variant.figure);
  const screens = make("div", { className: "screens" }, pane.main.canvas);
  if (figures.length) screens.append(make("div", { className: "variants" }, ...figures));
  pane.now = make("p", { className: "now" });
  pane.strips = stripsOf(episode);
  const missing = episode.cut ? `, the first ${episode.frames} shown` : "";
  const facts = `level ${episode.level}: return ${fixed(episode.return)} in ${episode.length} steps${missing}`;
  pane.root.replaceChildren(make("h3", {}, pane.name), make("p", { className: "soft" }, `${facts}; ${episode.rule}`),
    screens, pane.now);
}

function nowText(episode, frame, ended) {
  const reward = episode.rewards[frame] ? `, reward ${fixed(episode.rewards[frame])}` : "";
  return `step ${frame + 1} of ${episode.frames}: ${actionName(episode, frame)}${reward}${ended ? "; the end" : ""}`;
}

function update(pane) {
  const episode = pane.episode, frame = Math.min(step, episode.frames - 1);
  draw(pane.main, frame);
  for (const variant of pane.variants) {
    const differs = Boolean(variant.differs[frame]);
    draw(variant.screen, frame);
    variant.figure.classList.toggle("differs", differs);
    const name = variant.name.replaceAll("+", "+\u200b"); // may be broken there
    variant.caption.textContent = differs ? `≠ ${name}` : name;
  }
  pane.now.textContent = nowText(episode, frame, frame === episode.frames - 1);
  for (const strip of pane.strips) moveCursor(strip, frame, total);
}

function sheetsNeeded(place) {
  return panes.flatMap((pane) => [pane.main, ...pane.variants.map((variant) => variant.screen)].map(
    (screen) => sheetAt(screen, Math.min(place, pane.episode.frames - 1))));
}

async function show(next) {
  // All canvases change together: where a sheet is still being decoded, none does.
  const request = ++wanted, target = Math.max(0, Math.min(next, total - 1));
  slider.value = step = target;
  const pending = sheetsNeeded(target).filter((entry) => !entry.ready).map((entry) => entry.loading);
  if (pending.length) await Promise.all(pending);
  if (request !== wanted) return;
  panes.forEach(update);
  at("step").textContent = `${step + 1} / ${total}`;
  slider.setAttribute("aria-valuetext", `step ${step + 1} of ${total}`);
  root.dataset.step = step;
}

function paneOf(episode) {
  const pane = { name: splitName(episode.split), root: make("div", { className: "pane", "data-split": episode.split }) };
  fill(pane, episode);
  return pane;
}

function begin(episodes) {
  pause();
  panes = episodes.map(paneOf);
  total = Math.max(1, ...episodes.map((episode) => episode.frames));
  slider.max = total - 1;
  for (const pane of panes) pane.root.append(
    ...pane.strips.map((strip) => drawStrip(strip, total, show)), ...explanationViews(pane.episode, show));
  at("panes").replaceChildren(...panes.map((pane) => pane.root));
  mark();
  return show(0);
}

const recorded = (name) => run.episodes.find((episode) => episode.name === name);
const follow = (choice) => begin(choice ? choice.episodes.map(recorded) : []);

function play() {
  if (step >= total - 1) show(0);
  let before = performance.now(), owed = 0;
  const tick = (now) => {
    owed += (now - before) / 1000 * STEPS_PER_SECOND * Number(at("speed").value);
    before = now;
    const whole = Math.floor(owed);
    owed -= whole;
    if (whole) show(step + whole);
    timer = step < total - 1 ? requestAnimationFrame(tick) : pause();
  };
  timer = requestAnimationFrame(tick);
  playButton.textContent = "⏸";
  playButton.setAttribute("aria-label", "pause");
}

function pause() {
  if (timer) cancelAnimationFrame(timer);
  playButton.textContent = "▶";
  playButton.setAttribute("aria-label", "play");
  return timer = null;
}

const toggle = () => timer ? pause() : play();

function pick(name) {
  const chosen = recorded(name), others = panes.map((pane) => pane.episode);
  const place = others.findIndex((episode) => episode.split === chosen.split);
  at("choice").value = PICKED;
  begin(place < 0 ? [...others, chosen] : others.with(place, chosen));
  slider.focus();
}

function mark() {
  for (const button of root.querySelectorAll(".levels button")) {
    const { split, level } = button.dataset;
    const shown = panes.some(({ episode }) => episode.split === split && String(episode.level) === level);
    button.setAttribute("aria-pressed", String(shown));
  }
}

function choose(index) {
  run = runs[index];
  at("browser").replaceChildren(...(run.levels ? levelBrowser(run.levels, pick) : []));
  at("choice").replaceChildren(...run.choices.map((choice, place) => make("option", { value: place }, choice.title)),
    ...(run.levels ? [make("option", { value: PICKED, disabled: true }, PICKED)] : []));
  return follow(run.choices[0]);
}

// controls -------------------------------------------------------------------------------------------------------------

const KEYS = { ArrowLeft: () => show(step - 1), ArrowRight: () => show(step + 1), Home: () => show(0),
  End: () => show(total - 1), " ": toggle };
root.addEventListener("keydown", (event) => {
  const { target } = event, tag = target.tagName;
  const native = tag === "SELECT" || (tag === "INPUT" && target !== slider) || (tag === "BUTTON" && event.key === " ");
  if (native || !(event.key in KEYS) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (event.key !== " ") pause();
  KEYS[event.key]();
});
slider.addEventListener("input", () => { pause(); show(Number(slider.value)); });
playButton.addEventListener("click", toggle);
at("back").addEventListener("click", () => { pause(); show(step - 1); });
at("next").addEventListener("click", () => { pause(); show(step + 1); });
at("run").addEventListener("change", () => choose(at("run").selectedIndex));
at("choice").addEventListener("change", () => {
  if (at("choice").value !== PICKED) follow(run.choices[at("choice").value]);
});
at("run").closest("label").hidden = runs.length === 1;
at("run").append(...runs.map((each) => make("option", {}, each.name)));
choose(0);
