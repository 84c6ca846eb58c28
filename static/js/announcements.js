// Announces changes to screen readers, shows errors, and keeps the focus when a swap replaces the focused element.
const announcements = document.getElementById("announcements");
const notice = document.getElementById("notice");
const states = new Map();
let focused = null; // the id of the element that had the focus before a swap

function scan(announceNew) {
  for (const element of document.querySelectorAll("[data-state][id]")) {
    const { state } = element.dataset;
    const before = states.get(element.id);
    if (before === state) continue;
    states.set(element.id, state);
    const prompt = element.querySelector(".prompt")?.textContent.trim().slice(0, 80) ?? "";
    if (announceNew || before) announce(`${state}: ${prompt}`);
  }
}

function announce(text) {
  announcements.textContent = ""; // the same text twice is announced twice
  setTimeout(() => (announcements.textContent = text), 50);
}

function showNotice(text) {
  const item = document.getElementById("notice-template").content.cloneNode(true);
  item.querySelector("span").textContent = text;
  notice.replaceChildren(item);
}

function isPoll(ctx) {
  return ctx?.sourceElement?.getAttribute?.("hx-trigger")?.includes("every");
}

function errorMessage(html) {
  const found = new DOMParser().parseFromString(html ?? "", "text/html").querySelector("[data-message]");
  return found?.textContent.trim() || "The server could not do that. Try again in a moment.";
}

function openDetails(field) {
  for (let details = field.closest("details"); details; details = details.parentElement.closest("details")) details.open = true;
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
    const invalid = form?.querySelectorAll('[aria-invalid="true"]') ?? [];
    for (const field of invalid) openDetails(field);
    if (ctx.sourceElement.matches("form")) invalid[0]?.focus(); // a field that saves itself must not move the focus
    announce(form?.querySelector(".error")?.textContent.trim() ?? "");
  } else if (document.activeElement === document.body) {
    const target = changed ? ctx.sourceElement.closest?.('[id][tabindex="-1"]') : null;
    (document.getElementById(focused) ?? target)?.focus({ preventScroll: true });
  }
});

document.addEventListener("htmx:response:error", ({ detail: { ctx } }) => {
  const handled = ctx.sourceElement.hasAttribute?.(`hx-status:${ctx.response.status}`);
  if (!handled && !isPoll(ctx)) showNotice(errorMessage(ctx.text));
});

document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (ctx && !ctx.response && !isPoll(ctx)) showNotice("The server did not answer. Try again in a moment.");
});

document.addEventListener("notice", ({ detail }) => showNotice(detail.value)); // of a response, see web/forms.py

document.addEventListener("click", (event) => {
  event.target.closest("[data-dismiss]")?.parentElement.remove();
});

const confirmation = notice.querySelector("p"); // shown once after a change
if (confirmation) setTimeout(() => confirmation.remove(), 8000);
scan(false);
