// Announces changes to screen readers, shows errors, and keeps the focus when a swap replaces the focused element.
const announcements = document.getElementById("announcements");
const notice = document.getElementById("notice");
const states = new Map();
let focused = null; // the id of the element that had the focus before a swap

function scan(announceNew) {
  for (const it of document.querySelectorAll("[data-state][id]")) {
    const state = it.dataset.state;
    const before = states.get(it.id);
    if (before === state) continue;
    states.set(it.id, state);
    if (announceNew || before) announce(`${state}: ${it.querySelector(".prompt")?.textContent.trim().slice(0, 80) ?? ""}`);
  }
}

function announce(text) {
  announcements.textContent = ""; // the same text twice is announced twice
  setTimeout(() => (announcements.textContent = text), 50);
}

function show(text) {
  const line = document.getElementById("notice-line").content.cloneNode(true);
  line.querySelector("span").textContent = text;
  notice.replaceChildren(line);
}

function polling(ctx) {
  return ctx?.sourceElement?.getAttribute?.("hx-trigger")?.includes("every");
}

function message(html) {
  const found = new DOMParser().parseFromString(html ?? "", "text/html").querySelector("[data-message]");
  return found?.textContent.trim() || "The server could not do that. Try again in a moment.";
}

document.addEventListener("htmx:before:swap", () => {
  focused = document.activeElement?.closest('[id][tabindex="-1"]')?.id ?? null;
});

document.addEventListener("htmx:after:swap", (event) => {
  const { ctx } = event.detail;
  const changed = ctx.request.method !== "GET";
  scan(changed);
  if (ctx.response?.status === 400) {
    const form = document.getElementById(ctx.sourceElement.closest("form")?.id);
    const wrong = form?.querySelectorAll('[aria-invalid="true"]') ?? [];
    for (const it of wrong) for (let box = it.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    if (ctx.sourceElement.matches("form")) wrong[0]?.focus(); // a field that saves itself must not move the focus
    announce(form?.querySelector(".error")?.textContent.trim() ?? "");
  } else if (document.activeElement === document.body) {
    const place = changed ? ctx.sourceElement.closest?.('[id][tabindex="-1"]') : null;
    (document.getElementById(focused) ?? place)?.focus({ preventScroll: true });
  }
});

document.addEventListener("htmx:response:error", ({ detail: { ctx } }) => {
  const own = ctx.sourceElement.hasAttribute?.(`hx-status:${ctx.response.status}`);
  if (!own && !polling(ctx)) show(message(ctx.text));
});

document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (ctx && !ctx.response && !polling(ctx)) show("The server did not answer. Try again in a moment.");
});

document.addEventListener("click", (event) => {
  event.target.closest("[data-dismiss]")?.parentElement.remove();
});

const confirmation = notice.querySelector("p"); // shown once after a change
if (confirmation) setTimeout(() => confirmation.remove(), 8000);
scan(false);
