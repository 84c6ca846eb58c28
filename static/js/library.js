// The grid: a day whose heading already stands is not announced again when more of it arrives.
function once() {
  const days = new Set();
  for (const heading of document.querySelectorAll("[data-day]")) {
    heading.hidden = days.has(heading.dataset.day);
    days.add(heading.dataset.day);
  }
}

document.addEventListener("htmx:after:swap", once);
once();
