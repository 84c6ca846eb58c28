// Chat: the page follows an answer while the reader is at its end, Enter and examples send, a draft survives, code can be copied.
const composer = () => document.getElementById("composer");
const draft = `draft ${location.pathname}`;
const streaming = () => document.querySelector('.turn[data-status="streaming"]');
let following = !/[?&]until=/.test(location.search);
let writing = null; // the id of the answer that was being written

function atEnd() {
  const page = document.documentElement;
  return page.scrollHeight - page.clientHeight - scrollY < 48;
}

function toEnd() {
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

function codes() {
  const button = document.getElementById("copy-code").content.firstElementChild;
  for (const block of document.querySelectorAll('.turn:not([data-status="streaming"]) .written pre:not(:has(button))')) {
    const copy = button.cloneNode(true);
    copy.dataset.copy = block.textContent;
    block.append(copy);
  }
}

function announce() {
  const now = streaming()?.id ?? null;
  if (writing && !now) {
    const status = document.getElementById(writing)?.dataset.status;
    document.getElementById("said").textContent =
      { complete: "The answer is complete", stopped: "The answer was stopped", failed: "The answer failed" }[status] ?? "";
  }
  writing = now;
}

function refresh() {
  codes();
  announce();
  if (following) toEnd();
}

addEventListener("scroll", () => (following = atEnd()), { passive: true });
addEventListener("resize", () => following && toEnd());

document.addEventListener("keydown", (event) => {
  if (event.target.id !== "prompt" || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  if (event.ctrlKey || event.metaKey || event.altKey || !matchMedia("(pointer: fine)").matches) return;
  event.preventDefault();
  if (!streaming()) composer().requestSubmit();
});

// An example is said at a click; without JavaScript its link puts it into the field.
document.addEventListener("click", (event) => {
  const example = event.target.closest("[data-say]");
  if (!example || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  composer().elements.text.value = example.dataset.say;
  composer().requestSubmit();
});

// While an answer is being written the next message waits in its field.
document.addEventListener(
  "submit",
  (event) => {
    if (event.target.id !== "composer" || !streaming()) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  true,
);

document.addEventListener("input", ({ target }) => {
  if (target.id === "prompt") sessionStorage.setItem(draft, target.value);
});

document.addEventListener("submit", ({ target }) => {
  if (target.id === "composer" && !target.hasAttribute("hx-post")) sessionStorage.removeItem(draft);
});

document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (!composer()?.contains(ctx.sourceElement) || ctx.response.status >= 400) return;
  for (const error of composer().querySelectorAll(".error, .message")) error.remove();
  for (const field of composer().querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  if (ctx.sourceElement !== composer()) return;
  sessionStorage.removeItem(draft);
  composer().elements.text.value = "";
  following = true;
});

document.addEventListener("htmx:after:swap", refresh);

// A text that goes on is added to and not replaced, so that what a reader has marked in it stays marked.
htmx.registerExtension("growing-text", {
  htmx_before_morph_node(element, { newNode }) {
    element.childNodes.forEach((text, place) => {
      const now = newNode.childNodes[place]?.nodeValue;
      if (text.nodeType === Node.TEXT_NODE && now?.startsWith(text.data)) text.appendData(now.slice(text.length));
    });
  },
});

const prompt = document.getElementById("prompt");
if (prompt && !prompt.value) prompt.value = sessionStorage.getItem(draft) ?? "";
if (!location.hash) refresh();
else codes();
