// The prompt bar: an idempotency key for each submission, a saved draft, clickable examples, a summary of the settings.
const form = () => document.getElementById("create");

function renewIdempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  form().elements.idempotency_key.value = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function restoreDraft() {
  const prompt = document.getElementById("prompt");
  const prefilled = /[?&](from|prompt|template)=/.test(location.search);
  if (prompt && !prefilled && !prompt.value) prompt.value = sessionStorage.getItem("draft") ?? "";
}

function updateSummary() {
  const summary = document.getElementById("settings-summary");
  if (!summary) return;
  const values = [...document.querySelectorAll("#settings select")].map((select) => select.value);
  summary.textContent = values.filter((value) => !["", "true", "false"].includes(value)).slice(0, 3).join(" · ");
}

document.addEventListener("input", ({ target }) => {
  if (target.id === "prompt") sessionStorage.setItem("draft", target.value);
  if (target.closest?.("#settings")) updateSummary();
});

document.addEventListener("click", (event) => {
  const example = event.target.closest("[data-fill]");
  if (!example || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const prompt = document.getElementById("prompt");
  prompt.value = example.dataset.fill;
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
  prompt.focus();
});

// A repeated key means the same request, so a new key is made only after the server accepted one.
document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (ctx.sourceElement.id !== "create" || ctx.response.status >= 400) return;
  renewIdempotencyKey();
  for (const error of form().querySelectorAll(".error, .alert")) error.remove();
  for (const field of form().querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
});

// The prompt was replaced by a template or a rewritten one: go on there.
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  const prompt = document.getElementById("prompt");
  if (ctx.target?.id !== "prompt-part" || !prompt) return;
  sessionStorage.setItem("draft", prompt.value);
  prompt.focus();
});

window.addEventListener("pageshow", ({ persisted }) => persisted && form() && renewIdempotencyKey());
restoreDraft();
