// A play button on each video that has not been played; the browser's own controls appear with the first play.
function showButtons(root) {
  for (const button of root.querySelectorAll("[data-play][hidden]")) {
    const video = button.previousElementSibling;
    if (video?.matches("video:not([data-played])")) button.hidden = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-play]");
  const video = button?.previousElementSibling ?? event.target.closest("video:not([data-played])");
  if (button || video?.nextElementSibling?.matches("[data-play]:not([hidden])")) {
    event.preventDefault();
    video.play();
    video.focus({ preventScroll: true });
  }
});

document.addEventListener(
  "play",
  ({ target }) => {
    target.dataset.played = "";
    const button = target.nextElementSibling;
    if (button?.matches("[data-play]")) button.hidden = true;
    for (const other of document.querySelectorAll("video")) if (other !== target) other.pause();
  },
  true,
);

showButtons(document);
document.addEventListener("htmx:after:swap", () => showButtons(document));
