// Lines below an episode: its value, action probabilities and bonus, with a cursor at the step that is shown.
// Texts of the data are set as text, so that none of them can become markup.
"use strict";
const COLOURS = [0, 1, 2, 3, 4, 5, 6].map((index) => `var(--method-${index})`);
const LINES_SHOWN = 5, WIDTH = 1000, HEIGHT = 100;

function make(tag, settings = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Name of a split; `many`: of its levels.
function splitName(split, many = "") {
  const known = { train: "training level", heldout: "unseen level" }[split];
  return known ? known + many : `split ${split}`;
}

const fixed = (value, digits = 2) => value.toFixed(digits).replace("-", "−");

function effectsOf(episode) {
  // Actions that do the same, by their effect: [{ names, actions }].
  const effects = new Map();
  episode.probabilities[0].forEach((_, action) => {
    const effect = episode.effects ? episode.effects[action] : action;
    const entry = effects.get(effect) || effects.set(effect, { names: [], actions: [] }).get(effect);
    entry.names.push(episode.action_names ? episode.action_names[action] : `action ${action}`);
    entry.actions.push(action);
  });
  return [...effects.values()];
}

function byEffect(episode) {
  // Probability of each effect, the likeliest first.
  const lines = effectsOf(episode).map(({ names, actions }) => ({
    name: names.slice(0, 2).join(" / ") + (names.length > 2 ? ` and ${names.length - 2} more` : ""),
    values: episode.probabilities.map((row) => actions.reduce((sum, action) => sum + row[action], 0)),
  }));
  const total = (line) => line.values.reduce((sum, value) => sum + value, 0);
  return lines.sort((a, b) => total(b) - total(a)).slice(0, LINES_SHOWN);
}

function actionName(episode, frame) {
  // Its own name after that of the first action which does the same.
  const action = episode.actions[frame];
  if (Array.isArray(action)) return action.join(", ");
  const own = episode.action_names ? episode.action_names[action] : `action ${action}`;
  const group = episode.probabilities && effectsOf(episode).find(({ actions }) => actions.includes(action));
  return group && group.names[0] !== own ? `${group.names[0]} (${own})` : own;
}

function stripsOf(episode) {
  const strips = [{ title: "value", lines: [{ values: episode.values }] }];
  if (episode.probabilities && episode.probabilities.length)
    strips.push({ title: "probability of actions", lines: byEffect(episode), range: [0, 1] });
  if (episode.means && episode.means.length)
    strips.push({ title: "mean of actions", lines: episode.means[0].map((_, index) => (
      { name: `action ${index}`, values: episode.means.map((row) => row[index]) })) });
  if (episode.bonus) strips.push({ title: "bonus", lines: [{ values: episode.bonus }] });
  return strips.filter((strip) => strip.lines.every((line) => line.values.length));
}

const across = (index, total) => total > 1 ? WIDTH * index / (total - 1) : 0;

function drawStrip(strip, total, seek) {
  const numbers = strip.lines.flatMap((line) => line.values);
  const [low, high] = strip.range || [Math.min(...numbers), Math.max(...numbers)];
  const up = (value) => HEIGHT - 4 - (HEIGHT - 8) * (value - low) / (high - low || 1);
  const line = (values, index) => `<polyline style="stroke:${COLOURS[index % COLOURS.length]}" points="${
    values.map((value, place) => `${across(place, total).toFixed(1)},${up(value).toFixed(1)}`).join(" ")}"/>`;
  const zero = low < 0 && high > 0 ? `<line class="zero" x1="0" x2="${WIDTH}" y1="${up(0)}" y2="${up(0)}"/>` : "";
  const chart = make("div", { className: "chart" });
  // numbers alone: nothing in this markup comes from a text of the data
  chart.innerHTML = `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">${zero}${
    strip.lines.map((each, index) => line(each.values, index)).join("")
  }<line class="cursor" y1="0" y2="${HEIGHT}"/></svg>`;
  chart.addEventListener("pointerdown", (event) => {
    const box = chart.getBoundingClientRect();
    seek(Math.round((event.clientX - box.left) / box.width * (total - 1)));
  });
  const single = strip.lines.length === 1 && !strip.lines[0].name;
  strip.outputs = strip.lines.map(() => make("b"));
  const head = make("div", { className: "head" },
    make("span", {}, strip.title, ...(single ? [" ", strip.outputs[0]] : [])), `${fixed(low)} to ${fixed(high)}`);
  const legend = single ? [] : [make("ul", {}, ...strip.lines.map((each, index) => make(
    "li", { "--colour": COLOURS[index % COLOURS.length] }, make("span", {}, each.name), strip.outputs[index])))];
  strip.cursor = chart.querySelector(".cursor");
  return make("div", { className: "strip" }, head, chart, ...legend);
}

function moveCursor(strip, frame, total) {
  strip.cursor.setAttribute("x1", across(frame, total));
  strip.cursor.setAttribute("x2", across(frame, total));
  strip.lines.forEach((line, index) => { strip.outputs[index].textContent = fixed(line.values[frame]); });
}
