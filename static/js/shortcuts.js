// Shortcuts: Ctrl/⌘+Enter submits the focused form; single keys navigate, except while typing or when switched off.
const mac = /mac|iphone|ipad/i.test(navigator.userAgentData?.platform ?? navigator.platform);
const dialog = document.getElementById("shortcuts");
const singleKeyToggle = document.getElementById("single-key-shortcuts");
const destinations = { s: "/", t: "/generate/text", i: "/generate/image", v: "/generate/video", c: "/chat", l: "/library", j: "/jobs" };
let sequenceEnd = 0; // a letter after `g` counts until this time

function showModifierKey() {
  if (mac) for (const element of document.querySelectorAll("[data-modifier-key]")) element.textContent = "⌘";
}

function singleKeysEnabled() {
  try {
    return localStorage.getItem("single-keys") !== "off";
  } catch {
    return true;
  }
}

function submit(event) {
  const form = event.target.closest?.("form");
  if (!form) return;
  event.preventDefault();
  form.requestSubmit(form.querySelector("button.go") ?? form.querySelector("button:not([type=button])"));
}

function navigate(event) {
  const key = event.key.toLowerCase();
  if (event.timeStamp < sequenceEnd && key in destinations) location.assign(destinations[key]);
  else if (key === "?") dialog?.showModal();
  else if (key === "/") document.querySelector("[data-search], #prompt")?.focus();
  else {
    sequenceEnd = key === "g" ? event.timeStamp + 1200 : 0;
    return;
  }
  sequenceEnd = 0;
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return submit(event);
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest?.("input, select, textarea, dialog, [contenteditable], video")) return;
  if (singleKeysEnabled()) navigate(event);
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-show-shortcuts]")) {
    event.target.closest("[popover]")?.hidePopover();
    dialog.showModal();
  }
});

if (singleKeyToggle) {
  singleKeyToggle.checked = singleKeysEnabled();
  singleKeyToggle.addEventListener("change", () => {
    localStorage.setItem("single-keys", singleKeyToggle.checked ? "on" : "off");
  });
}
showModifierKey();
document.addEventListener("htmx:after:swap", showModifierKey);
