// The picture to start from: shown at once, dropped or pasted as well as chosen; only the chosen source is sent.
const frame = () => document.getElementById("frame");

function preview() {
  const image = document.getElementById("frame-preview");
  if (!image) return;
  const source = frame().querySelector("[name=source]:checked")?.value;
  const file = document.getElementById("frame-upload").files[0];
  const picked = frame().querySelector("[name=image_asset_id]:checked");
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  const address =
    source === "upload" && file ? URL.createObjectURL(file) : source === "library" && picked ? picked.nextElementSibling.src : "";
  image.hidden = !address;
  if (address) image.src = address;
  else image.removeAttribute("src");
  document.querySelector("[data-drop-name]").textContent = file ? file.name : "Choose a picture, drop it here, or paste it";
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
for (const over of ["dragleave", "drop"]) {
  document.addEventListener(over, (event) => {
    document.getElementById("create")?.classList.remove("dropping");
    if (over === "drop" && event.dataTransfer.files.length && take(event.dataTransfer.files)) event.preventDefault();
  });
}
document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => ctx.sourceElement?.id === "create" && preview());
if (frame()) preview();
