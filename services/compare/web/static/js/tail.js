// The tail of a log group: htmx asks for what came since, this keeps each line once and the page at a bounded length, and pauses.

const lines = document.querySelector("#lines");
const pause = document.querySelector("#pause");

if (lines && pause) {
  const kept = Number(lines.dataset.kept);
  let since = lines.dataset.since;
  let atEnd = true;

  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Paused: go on" : "Pause";
  });

  lines.addEventListener("htmx:configRequest", (event) => {
    event.detail.parameters.since = since;
  });
  lines.addEventListener("htmx:beforeRequest", (event) => {
    if (pause.getAttribute("aria-pressed") === "true" || document.hidden) event.preventDefault();
  });
  lines.addEventListener("htmx:beforeSwap", () => {
    atEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
  });
  document.addEventListener("htmx:oobAfterSwap", (event) => {
    if (event.detail.target.id === "tail-state") since = document.querySelector("#tail-state").dataset.since ?? since;
  });
  lines.addEventListener("htmx:afterSwap", () => {
    const known = new Set();
    for (const line of [...lines.children]) {
      if (known.has(line.dataset.id)) line.remove();
      known.add(line.dataset.id);
    }
    while (lines.children.length > kept) lines.firstElementChild.remove();
    if (lines.children.length > 0) document.querySelector("#none-yet")?.remove();
    if (atEnd) lines.scrollTop = lines.scrollHeight;
  });
  lines.scrollTop = lines.scrollHeight;
}
