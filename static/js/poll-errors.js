// A card whose polls fail for a minute shows an error and keeps polling; the first answer removes the error.
const SHOW_AFTER = 60_000; // milliseconds
const failingSince = new Map(); // id of the polling element -> when its polls began to fail

function isPoll(ctx) {
  return ctx?.request?.method === "GET" && ctx.sourceElement?.id && ctx.sourceElement.getAttribute("hx-trigger")?.includes("every");
}

function recordFailure(ctx) {
  const { id } = ctx.sourceElement;
  if (!failingSince.has(id)) failingSince.set(id, Date.now());
  if (Date.now() - failingSince.get(id) < SHOW_AFTER || document.querySelector(`[data-poll-error="${id}"]`)) return;
  const error = document.createElement("p");
  error.className = "error";
  error.dataset.pollError = id;
  error.setAttribute("role", "status");
  error.textContent = "The server does not answer. Trying again…";
  (ctx.sourceElement.querySelector(".card-info") ?? ctx.sourceElement).append(error);
}

document.addEventListener("htmx:error", ({ detail: { ctx } }) => {
  if (isPoll(ctx)) recordFailure(ctx);
});

document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  if (!isPoll(ctx)) return;
  if (ctx.response.status >= 500 || ctx.response.status === 429) return recordFailure(ctx);
  failingSince.delete(ctx.sourceElement.id);
  document.querySelector(`[data-poll-error="${ctx.sourceElement.id}"]`)?.remove();
});
