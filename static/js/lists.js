// Lists: the address bar follows filters and pages, and a change inside a list closes its menu and reloads the list.
function cleanUrl(text) {
  const url = new URL(text);
  for (const [name, value] of [...url.searchParams]) if (!value) url.searchParams.delete(name);
  return url;
}

document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  const { sourceElement: source, request, response } = ctx;
  if (request.method === "GET") return;
  for (const menu of document.querySelectorAll("[popover]:popover-open")) menu.hidePopover();
  const list = response.status < 400 && !source.matches("[data-update-url]") && source.closest("[data-reload]");
  if (list) htmx.ajax("GET", location.href, { target: list, select: `#${list.id}`, swap: "outerMorph" });
});

// Before the swap, because afterwards the form may no longer be in the page.
document.addEventListener("htmx:before:swap", ({ detail: { ctx } }) => {
  if (ctx.response?.status < 400 && ctx.sourceElement.matches?.("[data-update-url]"))
    history.replaceState(history.state, "", cleanUrl(ctx.response.raw.url));
});

// A confirmation disappears after a while, as it does on a full page; an error stays.
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  const confirmation = ctx.request.method !== "GET" && document.querySelector("#notice > p:not(.notice-error)");
  if (confirmation) setTimeout(() => confirmation.remove(), 8000);
});
