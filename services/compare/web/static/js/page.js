// Every page's module: plots are drawn where there are any, also in what htmx puts in later.

async function drawPlots(root) {
  const figures = root.querySelectorAll("[data-plot]:not(.drawn)");
  if (figures.length === 0) return;
  // Before the module is there, so that whoever asks meanwhile does not draw them again.
  for (const figure of figures) figure.classList.add("drawn");
  const { draw } = await import("./plot.js");
  for (const figure of figures) draw(figure);
}

drawPlots(document);
document.addEventListener("htmx:load", (event) => drawPlots(event.detail.elt.parentNode ?? document));
