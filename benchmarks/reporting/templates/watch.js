// A small player: one episode at a time, a line for each series, a bar for each action's probability.
"use strict";
const episodes = JSON.parse(document.getElementById("data").textContent);
const root = document.getElementById("watch");
const at = (name) => root.querySelector(`[data-${name}]`);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const svg = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const fixed = (number) => Number(number.toFixed(3));
let episode = null, screens = [], cursors = [], step = 0, timer = null;

const nameOf = (action) => episode.action_names ? episode.action_names[action] : String(action);

function line(title, values) {
  const low = Math.min(...values), high = Math.max(...values, low + 1e-6), last = Math.max(values.length - 1, 1);
  const points = values.map((value, i) => `${i / last * 100},${38 - (value - low) / (high - low) * 36}`).join(" ");
  const chart = svg("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": title });
  const cursor = svg("line", { y1: 0, y2: 40 });
  chart.append(svg("polyline", { points }), cursor);
  cursors.push((frame) => { cursor.setAttribute("x1", frame / last * 100); cursor.setAttribute("x2", frame / last * 100); });
  return make("div", {}, make("p", { className: "soft", textContent: `${title}, ${fixed(low)} to ${fixed(high)}` }), chart);
}

// A canvas for the episode, and one for each visual variant of the same states.
function screenOf(source, caption) {
  const images = source.sheets.map((address) => Object.assign(new Image(), { src: address }));
  const canvas = make("canvas", { width: source.width, height: source.height, role: "img", ariaLabel: caption });
  const words = make("figcaption", { textContent: caption });
  return { images, canvas, words, caption, differs: source.differs, figure: make("figure", {}, canvas, words) };
}

async function choose(index) {
  pause();
  const chosen = episodes[index];
  const made = [screenOf(chosen, ""), ...chosen.variants.map((variant) => screenOf(variant, variant.name))];
  await Promise.all(made.flatMap((screen) => screen.images.map((image) => image.decode())));
  if (index !== at("episode").selectedIndex) return;
  episode = chosen;
  screens = made;
  cursors = [];
  at("screens").replaceChildren(...screens.map((screen) => screen.figure));
  at("slider").max = episode.frames - 1;
  const lines = [line("value", episode.values)];
  if (episode.bonus) lines.push(line("bonus", episode.bonus));
  at("lines").replaceChildren(...lines);
  show(0);
}

function show(next) {
  step = Math.max(0, Math.min(next, episode.frames - 1));
  const place = step % episode.frames_per_sheet, number = Math.floor(step / episode.frames_per_sheet);
  for (const { images, canvas, words, caption, differs, figure } of screens) {
    const { width, height } = canvas, other = Boolean(differs && differs[step]);
    const x = (place % episode.columns) * width, y = Math.floor(place / episode.columns) * height;
    canvas.getContext("2d").drawImage(images[number], x, y, width, height, 0, 0, width, height);
    canvas.dataset.frame = step;
    figure.classList.toggle("differs", other);
    words.textContent = other ? `${caption}: differs` : caption;
  }
  at("slider").value = step;
  const action = episode.actions[step], taken = Array.isArray(action) ? action.join(", ") : nameOf(action);
  at("now").textContent = `step ${step + 1} of ${episode.frames}: ${taken}, value ${fixed(episode.values[step])}, ` +
    `reward ${fixed(episode.rewards[step])}` + (episode.bonus ? `, bonus ${fixed(episode.bonus[step])}` : "");
  cursors.forEach((move) => move(step));
  const chances = episode.probabilities ? episode.probabilities[step] : [];
  at("choices").replaceChildren(...chances.map((chance, i) => {
    const bar = make("i");
    bar.style.width = `${chance * 100}%`;
    return make("div", { className: i === action ? "choice taken" : "choice" },
      make("span", { textContent: nameOf(i) }), bar, make("span", { textContent: chance.toFixed(3) }));
  }));
  root.dataset.step = step;
}

function pause() {
  clearInterval(timer);
  timer = null;
  at("play").textContent = "play";
}

function toggle() {
  if (timer) return pause();
  if (step === episode.frames - 1) show(0);
  at("play").textContent = "pause";
  timer = setInterval(() => step < episode.frames - 1 ? show(step + 1) : pause(), 1000 / 15);
}

const KEYS = { ArrowLeft: () => show(step - 1), ArrowRight: () => show(step + 1), Home: () => show(0),
  End: () => show(episode.frames - 1), " ": toggle };
document.addEventListener("keydown", (event) => {
  if (!episode || !(event.key in KEYS) || event.target.tagName === "SELECT") return;
  event.preventDefault();
  if (event.key !== " ") pause();
  KEYS[event.key]();
});
at("slider").addEventListener("input", () => { pause(); show(Number(at("slider").value)); });
at("play").addEventListener("click", toggle);
at("episode").addEventListener("change", () => choose(at("episode").selectedIndex));
at("episode").append(...episodes.map((each) => make("option", { textContent: each.name })));
choose(0);
