// Copy buttons: [data-copy] holds the text, [data-copy-from] names the element that does.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea"); // pages without https have no clipboard object
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const from = button.dataset.copyFrom && document.querySelector(button.dataset.copyFrom);
  await copyText(from ? from.textContent.trim() : button.dataset.copy);
  const label = [...button.childNodes].findLast((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const before = label?.data;
  if (label) label.data = "Copied";
  document.getElementById("announcements").textContent = "Copied";
  setTimeout(() => {
    if (label) label.data = before;
    button.closest("[popover]")?.hidePopover();
  }, 900);
});
