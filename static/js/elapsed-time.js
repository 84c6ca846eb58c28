// Counts elapsed seconds: each [data-seconds] starts from the server's value, so the two clocks need not agree.
const starts = new WeakMap();

function format(seconds) {
  const [hours, rest] = [Math.floor(seconds / 3600), seconds % 3600];
  const [minutes, left] = [Math.floor(rest / 60), String(rest % 60).padStart(2, "0")];
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${left}` : `${minutes}:${left}`;
}

setInterval(() => {
  for (const element of document.querySelectorAll("[data-seconds]")) {
    let start = starts.get(element);
    if (start?.value !== element.dataset.seconds) {
      start = { value: element.dataset.seconds, at: performance.now() - Number(element.dataset.seconds) * 1000 };
      starts.set(element, start);
    }
    element.textContent = format(Math.floor((performance.now() - start.at) / 1000));
  }
}, 1000);
