// Chat: scrolls along while the reader is at the end, Enter and examples send, drafts are kept, images are pasted and dropped, code can
// be copied.
const composer = () => document.getElementById("composer");
const draftKey = `draft ${location.pathname}`;
const streaming = () => document.querySelector('.chat-message[data-status="streaming"]');
let following = !/[?&]until=/.test(location.search);
let streamingId = null; // of the answer that was streaming before the last swap

function isAtEnd() {
  const page = document.documentElement;
  return page.scrollHeight - page.clientHeight - scrollY < 48;
}

function scrollToEnd() {
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

function addCopyButtons() {
  const button = document.getElementById("copy-code").content.firstElementChild;
  for (const block of document.querySelectorAll('.chat-message:not([data-status="streaming"]) .markdown pre:not(:has(button))')) {
    const copy = button.cloneNode(true);
    copy.dataset.copy = block.textContent;
    block.append(copy);
  }
}

function announce() {
  const id = streaming()?.id ?? null;
  if (streamingId && !id) {
    const status = document.getElementById(streamingId)?.dataset.status;
    document.getElementById("announcements").textContent =
      { complete: "The answer is complete", stopped: "The answer was stopped", failed: "The answer failed" }[status] ?? "";
  }
  streamingId = id;
}

function refresh() {
  addCopyButtons();
  announce();
  if (following) scrollToEnd();
}

addEventListener("scroll", () => (following = isAtEnd()), { passive: true });
addEventListener("resize", () => following && scrollToEnd());

document.addEventListener("keydown", (event) => {
  if (event.target.id !== "prompt" || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  if (event.ctrlKey || event.metaKey || event.altKey || !matchMedia("(pointer: fine)").matches) return;
  event.preventDefault();
  if (!streaming()) composer().requestSubmit();
});

// A click on an example sends it; without JavaScript its link fills the field.
document.addEventListener("click", (event) => {
  const example = event.target.closest("[data-send]");
  if (!example || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  composer().elements.text.value = example.dataset.send;
  composer().requestSubmit();
});

// While an answer is streaming, the next message stays in its field.
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
  if (target.id === "prompt") sessionStorage.setItem(draftKey, target.value);
});

document.addEventListener("submit", ({ target }) => {
  if (target.id === "composer" && !target.hasAttribute("hx-post")) sessionStorage.removeItem(draftKey);
});

// Images: the file input holds those that are sent; the list above it shows them.
function previewImages() {
  const list = document.getElementById("composer-images");
  for (const item of list.querySelectorAll("[data-upload]")) {
    URL.revokeObjectURL(item.querySelector("img").src);
    item.remove();
  }
  for (const file of composer().elements.images.files) {
    const item = document.createElement("li");
    const image = document.createElement("img");
    item.dataset.upload = "";
    Object.assign(image, { src: URL.createObjectURL(file), width: 64, height: 64, alt: file.name });
    item.append(image);
    list.append(item);
  }
}

function addImages(files) {
  const images = [...files].filter(({ type }) => type.startsWith("image/"));
  if (!images.length || !composer()) return false;
  const input = composer().elements.images;
  const transfer = new DataTransfer();
  for (const file of [...input.files, ...images]) transfer.items.add(file);
  input.files = transfer.files;
  previewImages();
  return true;
}

function clearImages() {
  composer().elements.images.value = "";
  for (const choice of composer().querySelectorAll("[name=image_id]")) choice.checked = false;
  document.getElementById("composer-images").replaceChildren();
}

document.addEventListener("change", ({ target }) => target.id === "images" && previewImages());
document.addEventListener("paste", (event) => addImages(event.clipboardData.files) && event.preventDefault());
document.addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  addImages(event.dataTransfer.files);
});

document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (!composer()?.contains(ctx.sourceElement) || ctx.response.status >= 400) return;
  for (const error of composer().querySelectorAll(".error, .alert")) error.remove();
  for (const field of composer().querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  if (ctx.sourceElement !== composer()) return;
  sessionStorage.removeItem(draftKey);
  composer().elements.text.value = "";
  clearImages();
  following = true;
});

document.addEventListener("htmx:after:swap", refresh);

// Text that continues is appended, not replaced, so that the reader's selection stays.
htmx.registerExtension("append-text", {
  htmx_before_morph_node(element, { newNode }) {
    element.childNodes.forEach((text, index) => {
      const updated = newNode.childNodes[index]?.nodeValue;
      if (text.nodeType === Node.TEXT_NODE && updated?.startsWith(text.data)) text.appendData(updated.slice(text.length));
    });
  },
});

const prompt = document.getElementById("prompt");
if (prompt && !prompt.value) prompt.value = sessionStorage.getItem(draftKey) ?? "";
if (!location.hash) refresh();
else addCopyButtons();
