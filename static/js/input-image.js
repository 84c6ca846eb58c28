// The input image of a prompt: previews it, accepts drop and paste, and submits only the selected source. A file that is dropped on
// a form without input image restores its settings.
const picker = () => document.getElementById("input-image");

function preview() {
  const image = document.getElementById("input-image-preview");
  if (!image) return;
  const source = picker().querySelector("[name=source]:checked")?.value;
  const file = document.getElementById("input-image-upload").files[0];
  const selected = picker().querySelector("[name=image_asset_id]:checked");
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  const url =
    source === "upload" && file ? URL.createObjectURL(file) : source === "library" && selected ? selected.nextElementSibling.src : "";
  image.hidden = !url;
  if (url) image.src = url;
  else image.removeAttribute("src");
  document.querySelector("[data-file-name]").textContent = file ? file.name : "Choose an image, drop it here, or paste it";
  for (const section of picker().querySelectorAll(".image-source")) {
    for (const input of section.querySelectorAll("input")) input.disabled = section.dataset.source !== source;
  }
}

function selectFile(files) {
  const file = [...files].find(({ type }) => type.startsWith("image/"));
  if (!file || !picker()) return false;
  const transfer = new DataTransfer();
  transfer.items.add(file);
  const input = document.getElementById("input-image-upload");
  input.disabled = false;
  input.files = transfer.files;
  picker().querySelector("[name=source][value=upload]").checked = true;
  preview();
  return true;
}

function restoreSettings(files) {
  const form = document.getElementById("restore");
  if (!form || picker()) return;
  form.elements.file.files = files;
  form.requestSubmit();
}

document.addEventListener("change", ({ target }) => {
  if (target.closest?.("#input-image")) preview();
});
document.addEventListener("paste", (event) => {
  if (selectFile(event.clipboardData.files)) event.preventDefault();
});
document.addEventListener("dragover", (event) => {
  if (!document.getElementById("create") || !event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.getElementById("create").classList.add("drag-over");
});
for (const type of ["dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    document.getElementById("create")?.classList.remove("drag-over");
    if (type !== "drop" || !event.dataTransfer.files.length) return;
    event.preventDefault();
    if (!selectFile(event.dataTransfer.files)) restoreSettings(event.dataTransfer.files);
  });
}
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => ctx.sourceElement?.id === "create" && preview());
if (picker()) preview();
