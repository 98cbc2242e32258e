// The page of one request: what is pointed at is marked wherever the same operation is shown, and raw data opens within the page.
// Without this module a click does both by its address.

const page = document.querySelector(".request");
const of = (element) => element?.closest?.("[data-operation]")?.dataset.operation;
const all = (operation) => page.querySelectorAll(`[data-operation="${CSS.escape(operation)}"]`);

let pointed = "";

function point(operation) {
  if (operation === pointed) return;
  if (pointed) for (const element of all(pointed)) element.classList.remove("same");
  pointed = operation ?? "";
  if (pointed) for (const element of all(pointed)) element.classList.add("same");
}

page.addEventListener("pointerover", (event) => point(of(event.target)));
page.addEventListener("pointerleave", () => point(of(document.activeElement)));
page.addEventListener("focusin", (event) => point(of(event.target)));
page.addEventListener("focusout", (event) => point(of(event.relatedTarget)));

// A click keeps the mark, and the address says it.
function keep(operation) {
  const address = new URL(location.href);
  const kept = address.searchParams.get("operation") === operation ? "" : operation;
  if (kept) address.searchParams.set("operation", kept);
  else address.searchParams.delete("operation");
  address.hash = "";
  history.replaceState(null, "", address);
  for (const element of page.querySelectorAll(".marked")) element.classList.remove("marked");
  for (const link of page.querySelectorAll("a.name[aria-current]")) link.removeAttribute("aria-current");
  if (!kept) return;
  for (const element of all(kept)) {
    element.classList.add("marked");
    element.querySelector("a.name")?.setAttribute("aria-current", "true");
  }
}

const plainClick = (event) => event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;

page.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || !plainClick(event)) return;
  if (link.matches("a.name")) {
    event.preventDefault();
    keep(of(link));
  } else if (link.matches("a[data-raw]")) {
    event.preventDefault();
    open(link);
  }
});

const dialog = document.querySelector("#raw");
const body = document.querySelector("#raw-body");

function open(link) {
  const say = document.createElement("p");
  say.textContent = "Reading…";
  body.replaceChildren(say);
  dialog.showModal();
  htmx.ajax("GET", link.href, { target: "#raw-body", select: "#raw-content", swap: "innerHTML", source: dialog });
}

// A vendor that cannot be read answers with a page that says so.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target === body) event.detail.shouldSwap = true;
});
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target !== body) return;
  // Within this page its heading is one level down.
  const heading = body.querySelector("h1");
  if (!heading) return;
  const inner = document.createElement("h2");
  inner.append(...heading.childNodes);
  heading.replaceWith(inner);
});
document.addEventListener("htmx:sendError", (event) => {
  if (event.detail.target !== body) return;
  body.textContent = "Parallax does not answer. `make status` shows what runs.";
});
