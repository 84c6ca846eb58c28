// A card whose polls fail for a minute shows an error and keeps polling; the first answer removes the error.
const SHOW_AFTER = 60_000; // milliseconds
const failing = new Map(); // id of the element -> when its polls began to fail

function polls(ctx) {
  return ctx?.request?.method === "GET" && ctx.sourceElement?.id && ctx.sourceElement.getAttribute("hx-trigger")?.includes("every");
}

function failed(ctx) {
  const { id } = ctx.sourceElement;
  if (!failing.has(id)) failing.set(id, Date.now());
  if (Date.now() - failing.get(id) < SHOW_AFTER || document.querySelector(`[data-poll-error="${id}"]`)) return;
  const line = document.createElement("p");
  line.className = "error";
  line.dataset.pollError = id;
  line.setAttribute("role", "status");
  line.textContent = "The server does not answer. Trying again…";
  (ctx.sourceElement.querySelector(".about") ?? ctx.sourceElement).append(line);
}

document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (polls(ctx)) failed(ctx);
});

document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (!polls(ctx)) return;
  if (ctx.response.status >= 500 || ctx.response.status === 429) return failed(ctx);
  failing.delete(ctx.sourceElement.id);
  document.querySelector(`[data-poll-error="${ctx.sourceElement.id}"]`)?.remove();
});
