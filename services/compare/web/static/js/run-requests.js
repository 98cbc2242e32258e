// The list of requests: short addresses, and what a filter that was just changed leads to is said aloud. Without this it works, too.

const form = () => document.querySelector("#filters");

// A form sends its empty fields as well; an address that is shared needs them no more than the server does. (HTML, "formdata" event.)
document.addEventListener("formdata", (event) => {
  if (event.target !== form()) return;
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});

// A filter that cannot be meant is answered 400 with the reason in the place of the list.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id === "found" && event.detail.xhr.status === 400) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});

// The element that is said aloud must be there before its text is.
document.addEventListener("htmx:afterSwap", () => {
  const found = document.querySelector("#found [data-told], #found .problem");
  const told = document.querySelector("#told");
  if (found && told) told.textContent = found.textContent.trim();
});
