// Lists: the address follows what is fetched, and a change inside a list closes its menu and reads the list anew.
function address(text) {
  const url = new URL(text);
  for (const [name, value] of [...url.searchParams]) if (!value) url.searchParams.delete(name);
  return url;
}

document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
  const { sourceElement: source, request, response } = ctx;
  if (request.method === "GET") return;
  for (const menu of document.querySelectorAll("[popover]:popover-open")) menu.hidePopover();
  const list = response.status < 400 && !source.matches("[data-address]") && source.closest("[data-list]");
  if (list) htmx.ajax("GET", location.href, { target: list, select: `#${list.id}`, swap: "outerMorph" });
});

// At the start of the swap, because a form that is swapped away with its page can no longer be asked.
document.addEventListener("htmx:before:swap", ({ detail: { ctx } }) => {
  if (ctx.response?.status < 400 && ctx.sourceElement.matches?.("[data-address]"))
    history.replaceState(history.state, "", address(ctx.response.raw.url));
});

// What was done is said for a while, as it is after a whole page; what was refused stays.
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
  const line = ctx.request.method !== "GET" && document.querySelector("#notice > p:not(.bad-news)");
  if (line) setTimeout(() => line.remove(), 8000);
});
