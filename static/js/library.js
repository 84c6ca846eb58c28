// The grid: each day has one heading, also when more of its assets are loaded later.
function hideRepeatedDays() {
  const days = new Set();
  for (const heading of document.querySelectorAll("[data-day]")) {
    heading.hidden = days.has(heading.dataset.day);
    days.add(heading.dataset.day);
  }
}

document.addEventListener("htmx:after:swap", hideRepeatedDays);
hideRepeatedDays();
