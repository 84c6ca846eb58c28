// Elapsed seconds tick on: each [data-seconds] counts from what the server said, so no clock need agree with another.
const starts = new WeakMap();

function written(seconds) {
  const [hours, rest] = [Math.floor(seconds / 3600), seconds % 3600];
  const [minutes, left] = [Math.floor(rest / 60), String(rest % 60).padStart(2, "0")];
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${left}` : `${minutes}:${left}`;
}

setInterval(() => {
  for (const it of document.querySelectorAll("[data-seconds]")) {
    let start = starts.get(it);
    if (start?.said !== it.dataset.seconds) {
      start = { said: it.dataset.seconds, at: performance.now() - Number(it.dataset.seconds) * 1000 };
      starts.set(it, start);
    }
    it.textContent = written(Math.floor((performance.now() - start.at) / 1000));
  }
}, 1000);
