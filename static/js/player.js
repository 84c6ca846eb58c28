// One round button on a resting clip; the browser's own controls come with the first play.
function rest(root) {
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

rest(document);
document.addEventListener("htmx:after:swap", () => rest(document));
