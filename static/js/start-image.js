// The start image of a video: previews it, accepts drop and paste, and submits only the chosen source.
const frame = () => document.getElementById("frame");

function preview() {
  const image = document.getElementById("frame-preview");
  if (!image) return;
  const source = frame().querySelector("[name=source]:checked")?.value;
  const file = document.getElementById("frame-upload").files[0];
  const selected = frame().querySelector("[name=image_asset_id]:checked");
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  const url =
    source === "upload" && file ? URL.createObjectURL(file) : source === "library" && selected ? selected.nextElementSibling.src : "";
  image.hidden = !url;
  if (url) image.src = url;
  else image.removeAttribute("src");
  document.querySelector("[data-drop-name]").textContent = file ? file.name : "Choose an image, drop it here, or paste it";
  for (const part of frame().querySelectorAll(".source")) {
    for (const input of part.querySelectorAll("input")) input.disabled = part.dataset.source !== source;
  }
}

function take(files) {
  const file = [...files].find(({ type }) => type.startsWith("image/"));
  if (!file || !frame()) return false;
  const list = new DataTransfer();
  list.items.add(file);
  const field = document.getElementById("frame-upload");
  field.disabled = false;
  field.files = list.files;
  frame().querySelector("[name=source][value=upload]").checked = true;
  preview();
  return true;
}

document.addEventListener("change", ({ target }) => {
  if (target.closest?.("#frame")) preview();
});
document.addEventListener("paste", (event) => {
  if (take(event.clipboardData.files)) event.preventDefault();
});
document.addEventListener("dragover", (event) => {
  if (!frame() || !event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.getElementById("create").classList.add("dropping");
});
for (const type of ["dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    document.getElementById("create")?.classList.remove("dropping");
    if (type === "drop" && event.dataTransfer.files.length && take(event.dataTransfer.files)) event.preventDefault();
  });
}
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => ctx.sourceElement?.id === "create" && preview());
if (frame()) preview();
