// Level browser: a thumbnail of each level, coloured by success on cividis, which
// colour-blind readers can tell apart, too.
"use strict";
const CIVIDIS = [[0, 32, 77], [49, 68, 107], [102, 104, 112], [149, 143, 120], [203, 186, 105], [255, 234, 70]];

function colour(fraction) {
  const place = Math.max(0, Math.min(1, fraction)) * (CIVIDIS.length - 1);
  const index = Math.min(Math.floor(place), CIVIDIS.length - 2), [from, to] = CIVIDIS.slice(index, index + 2);
  return `rgb(${from.map((low, axis) => Math.round(low + (to[axis] - low) * (place - index)))})`;
}

function scaleOf(levels) {
  // Success where every level has one, else the mean return between the lowest and the highest.
  const rows = levels.splits.flatMap((split) => split.levels), returns = rows.map((row) => row.return);
  if (rows.every((row) => row.success !== null))
    return { title: "success", low: 0, high: 1, of: (row) => row.success,
      words: (value) => `${Math.round(100 * value)}%` };
  const [low, high] = [Math.min(...returns), Math.max(...returns)];
  return { title: "mean return", low, high, of: (row) => row.return, words: (value) => fixed(value, 1) };
}

function legendOf(scale) {
  const bar = make("i");
  bar.style.background = `linear-gradient(90deg,${CIVIDIS.map((_, index) => colour(index / (CIVIDIS.length - 1)))})`;
  const ends = make("span", {}, scale.words(scale.low), bar, scale.words(scale.high));
  return make("p", { className: "scale" }, make("span", {}, `${scale.title} of each level:`), ends,
    make("span", {}, "A click plays it; a dashed one was not recorded."));
}

function levelButton(levels, split, scale, pick) {
  const columns = Math.min(levels.columns, split.levels.length), rows = Math.ceil(split.levels.length / columns);
  const percent = (place, count) => count > 1 ? 100 * place / (count - 1) : 0;
  return (row, index) => {
    const value = scale.of(row), words = scale.words(value);
    const bar = make("span", { className: "bar" }), thumbnail = make("span", { className: "thumbnail" });
    bar.style.background = colour((value - scale.low) / (scale.high - scale.low || 1));
    thumbnail.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    thumbnail.style.backgroundPosition =
      `${percent(index % columns, columns)}% ${percent(Math.floor(index / columns), rows)}%`;
    const text = `level ${row.level}, ${scale.title} ${words} in ${row.episodes} episode${row.episodes > 1 ? "s" : ""}`;
    const button = make("button", {
      type: "button", title: text, disabled: !row.recording, "aria-pressed": "false",
      "aria-label": row.recording ? `play ${text}` : `${text}, not recorded`,
      "data-level": row.level, "data-split": split.split,
    }, thumbnail, bar, make("b", {}, words), make("small", {}, String(row.level)));
    button.addEventListener("click", () => pick(row.recording));
    return button;
  };
}

function levelBrowser(levels, pick) {
  const scale = scaleOf(levels);
  return [make("h2", {}, "Levels"), legendOf(scale), ...levels.splits.flatMap((split) => [
    make("h3", {}, splitName(split.split, "s")),
    make("div", {
      className: "levels", "--sheet": `url(${split.sheet})`, "--shape": `${levels.width} / ${levels.height}` },
    ...split.levels.map(levelButton(levels, split, scale, pick))),
  ])];
}
