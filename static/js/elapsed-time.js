// Counts elapsed seconds: each [data-seconds] starts from the server's value, so the two clocks need not agree.
const starts = new WeakMap();

function format(seconds) {
  const [hours, rest] = [Math.floor(seconds / 3600), seconds % 3600];
  const [minutes, left] = [Math.floor(rest / 60), String(rest % 60).padStart(2, "0")];
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${left}` : `${minutes}:${left}`;
}

setInterval(() => {
  for (const it of document.querySelectorAll("[data-seconds]")) {
    let start = starts.get(it);
    if (start?.value !== it.dataset.seconds) {
      start = { value: it.dataset.seconds, at: performance.now() - Number(it.dataset.seconds) * 1000 };
      starts.set(it, start);
    }
    it.textContent = format(Math.floor((performance.now() - start.at) / 1000));
  }
}, 1000);
