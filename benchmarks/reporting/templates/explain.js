// Explanations of a recorded episode: the patches that its policy heeds, and what each latent of a frame's code draws.
"use strict";
const HEAT = "240,110,0";

function saliencyView(episode, saliency, seek) {
  // Frames, each patch the more orange the more hiding it lowers what is chosen; a click goes to the frame's step.
  const quantities = { action: "the action taken", value: "the value" };
  const choice = make("select", { "aria-label": "what hiding a patch lowers" },
    ...Object.entries(quantities).map(([value, text]) => make("option", { value }, text)));
  const screens = saliency.steps.map((step) => screenOf(episode, episode, `patches that matter at step ${step + 1}`));
  const paint = () => {
    const most = Math.max(...saliency[choice.value].flat());
    saliency.steps.forEach((step, index) => {
      draw(screens[index], step);
      const { width, height } = screens[index].canvas, pen = screens[index].canvas.getContext("2d");
      const across = (column) => Math.round(column * width / saliency.columns);
      const down = (row) => Math.round(row * height / saliency.rows);
      saliency[choice.value][index].forEach((fall, place) => {
        const row = Math.floor(place / saliency.columns), column = place % saliency.columns;
        pen.fillStyle = `rgba(${HEAT},${fall > 0 ? 0.8 * fall / most : 0})`;
        pen.fillRect(across(column), down(row), across(column + 1) - across(column), down(row + 1) - down(row));
      });
    });
  };
  choice.addEventListener("change", paint);
  Promise.all(saliency.steps.map((step, index) => sheetAt(screens[index], step).loading)).then(paint);
  const buttons = saliency.steps.map((step, index) => {
    const button = make("button", { type: "button", title: `step ${step + 1}` }, screens[index].canvas);
    button.addEventListener("click", () => seek(step));
    return button;
  });
  return make("div", { className: "strip saliency" },
    make("div", { className: "head" }, make("label", {}, "patches that lower ", choice, " when hidden")),
    make("div", { className: "tiles" }, ...buttons));
}

function traversalView(traversal) {
  // One picture a latent, all decoded with that latent at the slider's value and the others as they are.
  const { width, height, values } = traversal, picture = sheet(traversal.sheets[0]), middle = (values.length - 1) / 2;
  const slider = make("input", {
    type: "range", min: 0, max: values.length - 1, value: Math.floor(middle), "aria-label": "value of each latent" });
  const shown = make("b");
  const canvases = traversal.latents.map((latent) => make("canvas", {
    width, height, role: "img", "aria-label": `decoded with latent ${latent} moved` }));
  const paint = () => {
    const column = Number(slider.value);
    shown.textContent = fixed(values[column], 0);
    canvases.forEach((canvas, row) => canvas.getContext("2d").drawImage(
      picture.image, column * width, row * height, width, height, 0, 0, width, height));
  };
  slider.addEventListener("input", paint);
  picture.loading.then(paint);
  const figures = canvases.map((canvas, row) => make("figure", {}, canvas,
    make("figcaption", {}, `z${traversal.latents[row]}: ${fixed(traversal.kl[row], 1)}`)));
  return make("details", { className: "strip traversal" },
    make("summary", {}, `${canvases.length} latents of step ${traversal.step + 1}, each moved alone`),
    make("div", { className: "head" },
      make("span", {}, "moved to ", shown, " standard deviations; below: number and nats"), slider),
    make("div", { className: "tiles" }, ...figures));
}

function explanationViews(episode, seek) {
  const { saliency, traversal } = episode.explanations;
  const views = [saliency && saliencyView(episode, saliency, seek), traversal && traversalView(traversal)];
  return views.filter(Boolean);
}
