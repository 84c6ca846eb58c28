// The inpainting editor: a mask is painted over an image with mouse, pen, touch or keys, and sent as a PNG (white is generated).
//
// The mask is one byte for each pixel of the image. A stroke fills rows of bytes; once per animation frame, only the rectangle
// of the screen that has changed is drawn again. Undo keeps copies of the tiles that a change touched, not of the whole mask.

const TILE = 256; // pixels of the image, the side of a tile
const UNDO_BYTES = 64 * 1024 * 1024; // of all copies that undo keeps
const COUNTED_TILES = 6; // of those that have changed, how many are counted again in one frame
const MARKED = 128; // a value from here on is shown as masked
const MAX_ZOOM = 16; // screen pixels for one pixel of the image
const HATCH = 0x8c808080, HATCH_LIGHT = 0x8ccccccc, EDGE_WHITE = 0xffffffff, EDGE_BLACK = 0xff000000; // ABGR

// --- The mask ----------------------------------------------------------------------------------------------------------

function createMask(width, height) {
  const columns = Math.ceil(width / TILE);
  const rows = Math.ceil(height / TILE);
  return {
    width,
    height,
    columns,
    bytes: new Uint8Array(width * height),
    counts: new Int32Array(columns * rows), // masked pixels of each tile
    total: 0,
    uncounted: new Set(), // tiles that have changed since they were counted
    change: null, // tiles as they were before the current change, by number
  };
}

function tileArea(mask, tile) {
  const left = (tile % mask.columns) * TILE;
  const top = Math.floor(tile / mask.columns) * TILE;
  return { left, top, width: Math.min(TILE, mask.width - left), height: Math.min(TILE, mask.height - top) };
}

function readTile(mask, tile) {
  const { left, top, width, height } = tileArea(mask, tile);
  const copy = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const start = (top + y) * mask.width + left;
    copy.set(mask.bytes.subarray(start, start + width), y * width);
  }
  return copy;
}

function writeTile(mask, tile, copy) {
  const { left, top, width, height } = tileArea(mask, tile);
  for (let y = 0; y < height; y++) {
    mask.bytes.set(copy.subarray(y * width, (y + 1) * width), (top + y) * mask.width + left);
  }
  mask.uncounted.add(tile);
}

function countTile(mask, tile) {
  const { left, top, width, height } = tileArea(mask, tile);
  let count = 0;
  for (let y = 0; y < height; y++) {
    const start = (top + y) * mask.width + left;
    for (let at = start; at < start + width; at++) if (mask.bytes[at] >= MARKED) count++;
  }
  mask.total += count - mask.counts[tile];
  mask.counts[tile] = count;
}

// Keeps the tiles of this area as they are, before they are changed.
function touch(mask, left, top, right, bottom) {
  const lastColumn = Math.floor(right / TILE);
  const lastRow = Math.floor(bottom / TILE);
  for (let row = Math.floor(top / TILE); row <= lastRow; row++) {
    for (let column = Math.floor(left / TILE); column <= lastColumn; column++) {
      const tile = row * mask.columns + column;
      if (mask.change && !mask.change.has(tile)) mask.change.set(tile, readTile(mask, tile));
      mask.uncounted.add(tile);
    }
  }
}

// Fills the area that a round brush covers on its way between two points. Returns the rectangle that may have changed.
function paintSegment(mask, from, to, radius, value) {
  const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - radius));
  const right = Math.min(mask.width - 1, Math.ceil(Math.max(from.x, to.x) + radius));
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
  const bottom = Math.min(mask.height - 1, Math.ceil(Math.max(from.y, to.y) + radius));
  if (left > right || top > bottom) return null;
  touch(mask, left, top, right, bottom);
  for (let y = top; y <= bottom; y++) {
    const row = capsuleRow(from, to, radius, y + 0.5);
    if (!row) continue;
    const start = Math.max(left, Math.ceil(row[0] - 0.5));
    const end = Math.min(right, Math.floor(row[1] - 0.5));
    if (start <= end) mask.bytes.fill(value, y * mask.width + start, y * mask.width + end + 1);
  }
  return { left, top, right, bottom };
}

// Where the row at `y` enters and leaves the area around a segment.
function capsuleRow(from, to, radius, y) {
  let least = Infinity;
  let most = -Infinity;
  for (const end of [from, to]) {
    const half = radius * radius - (y - end.y) ** 2;
    if (half < 0) continue;
    least = Math.min(least, end.x - Math.sqrt(half));
    most = Math.max(most, end.x + Math.sqrt(half));
  }
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  if (length > 0) {
    // The straight sides: points at the distance `radius` from the segment, on both sides of it.
    const normal = { x: (-(to.y - from.y) / length) * radius, y: ((to.x - from.x) / length) * radius };
    for (const side of [1, -1]) {
      const start = { x: from.x + side * normal.x, y: from.y + side * normal.y };
      const end = { x: to.x + side * normal.x, y: to.y + side * normal.y };
      if (start.y === end.y || y < Math.min(start.y, end.y) || y > Math.max(start.y, end.y)) continue;
      const x = start.x + ((y - start.y) / (end.y - start.y)) * (end.x - start.x);
      least = Math.min(least, x);
      most = Math.max(most, x);
    }
  }
  return least <= most ? [least, most] : null;
}

// --- Undo --------------------------------------------------------------------------------------------------------------

// Each step is a map of tiles, or the word "invert", which undoes itself.
function createHistory() {
  return { past: [], future: [] };
}

function bytesOf(step) {
  let bytes = 0;
  if (step instanceof Map) for (const copy of step.values()) bytes += copy.byteLength;
  return bytes;
}

function record(history, step) {
  history.past.push(step);
  history.future = [];
  let bytes = history.past.reduce((sum, each) => sum + bytesOf(each), 0);
  while (bytes > UNDO_BYTES && history.past.length > 1) bytes -= bytesOf(history.past.shift());
}

// Takes back the last step of one list and puts what undoes that on the other. Returns whether there was one.
function step(mask, from, to) {
  const last = from.pop();
  if (!last) return false;
  if (last === "invert") {
    invertBytes(mask);
    to.push(last);
    return true;
  }
  const reverse = new Map();
  for (const [tile, copy] of last) {
    reverse.set(tile, readTile(mask, tile));
    writeTile(mask, tile, copy);
  }
  to.push(reverse);
  return true;
}

function invertBytes(mask) {
  for (let at = 0; at < mask.bytes.length; at++) mask.bytes[at] = 255 - mask.bytes[at];
  for (let tile = 0; tile < mask.counts.length; tile++) mask.uncounted.add(tile);
}

// --- What is seen ------------------------------------------------------------------------------------------------------

// `scale`: screen pixels for one pixel of the image; `x` and `y`: the point of the image at the left upper corner.
function fitView(view, area) {
  view.scale = Math.min(view.width / area.width, view.height / area.height) || 1;
  view.fitted = true;
  view.x = area.left + (area.width - view.width / view.scale) / 2;
  view.y = area.top + (area.height - view.height / view.scale) / 2;
}

function zoomAt(view, point, factor, area) {
  const least = Math.min(1, view.width / area.width, view.height / area.height) / 2;
  const scale = Math.min(MAX_ZOOM, Math.max(least, view.scale * factor));
  view.x += point.x / view.scale - point.x / scale;
  view.y += point.y / view.scale - point.y / scale;
  view.scale = scale;
  view.fitted = false;
}

// Draws a rectangle of the screen, in its real pixels: hatched where the image is masked or added, with a dashed edge.
function drawOverlay(context, mask, view, margins, area) {
  const { ratio } = view;
  const left = Math.max(0, Math.floor(area.left));
  const top = Math.max(0, Math.floor(area.top));
  const width = Math.min(context.canvas.width, Math.ceil(area.right)) - left;
  const height = Math.min(context.canvas.height, Math.ceil(area.bottom)) - top;
  if (width <= 0 || height <= 0) return;
  // The samples have one more pixel on each side, so that each pixel knows its neighbours.
  const stride = width + 2;
  const samples = new Uint8Array(stride * (height + 2));
  const step = 1 / (view.scale * ratio);
  const columns = new Int32Array(stride);
  for (let x = 0; x < stride; x++) columns[x] = Math.floor(view.x + (left + x - 0.5) * step);
  for (let y = 0; y < height + 2; y++) {
    const row = Math.floor(view.y + (top + y - 0.5) * step);
    const inImage = row >= 0 && row < mask.height;
    const added = row >= -margins.top && row < mask.height + margins.bottom;
    const start = row * mask.width;
    for (let x = 0; x < stride; x++) {
      const column = columns[x];
      if (inImage && column >= 0 && column < mask.width) samples[y * stride + x] = mask.bytes[start + column] >= MARKED ? 1 : 0;
      else if (added && column >= -margins.left && column < mask.width + margins.right) samples[y * stride + x] = 1;
    }
  }
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const period = Math.round(8 * ratio);
  const dash = Math.round(4 * ratio);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y + 1) * stride + x + 1;
      const own = samples[at];
      const sum = x + left + y + top;
      if (own !== samples[at - 1] || own !== samples[at + 1] || own !== samples[at - stride] || own !== samples[at + stride]) {
        pixels[y * width + x] = (Math.floor((x + left) / dash) + Math.floor((y + top) / dash)) % 2 ? EDGE_WHITE : EDGE_BLACK;
      } else if (own) {
        pixels[y * width + x] = sum % period < period / 2 ? HATCH : HATCH_LIGHT;
      }
    }
  }
  context.putImageData(image, left, top);
}

// --- Files -------------------------------------------------------------------------------------------------------------

// Brings pixels to the mask: white is masked; in a mask with transparency what is transparent is, unless the visible part is a
// drawing in black and white. The server reads masks by the same rule (app/storage/masks.py).
function fillFromPixels(mask, pixels) {
  let visible = 0, white = 0, black = 0, holes = false;
  for (let at = 0; at < pixels.length; at += 4) {
    if (pixels[at + 3] < MARKED) {
      holes = true;
      continue;
    }
    const light = 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
    visible++;
    if (light >= 224) white++;
    else if (light <= 32) black++;
  }
  const byLight = !holes || (white > 0 && white + black >= 0.95 * visible);
  for (let at = 0; at < pixels.length; at += 4) {
    const light = 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
    mask.bytes[at / 4] = Math.round(byLight ? (light * pixels[at + 3]) / 255 : 255 - pixels[at + 3]);
  }
}

async function encodePng(mask) {
  const canvas = document.createElement("canvas");
  canvas.width = mask.width;
  canvas.height = mask.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < mask.height; top += TILE) {
    const height = Math.min(TILE, mask.height - top);
    const image = new ImageData(mask.width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const start = top * mask.width;
    for (let at = 0; at < pixels.length; at++) pixels[at] = (mask.bytes[start + at] * 0x010101) | 0xff000000;
    context.putImageData(image, 0, top);
    await new Promise((done) => setTimeout(done)); // the page stays responsive
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// --- The page ----------------------------------------------------------------------------------------------------------

const stage = document.getElementById("stage");
if (stage) startEditor();

function startEditor() {
  const form = document.getElementById("create");
  const file = document.getElementById("mask-file");
  const imageLayer = document.getElementById("stage-image");
  const cursor = document.getElementById("stage-cursor");
  const canvas = document.getElementById("stage-mask");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const size = document.getElementById("brush-size");
  const mask = createMask(Number(stage.dataset.width), Number(stage.dataset.height));
  const history = createHistory();
  const view = { x: 0, y: 0, scale: 1, width: 1, height: 1, ratio: 1, fitted: true };
  const brush = { tool: "brush", x: mask.width / 2, y: mask.height / 2, shown: false };
  const pointers = new Map(); // those that are down, by id
  let stroke = null; // the pointer that paints, its last point and those that are not painted yet
  let gesture = null; // two fingers: their centre and distance
  let panning = null; // the pointer that moves the image, and its last place
  let spaceDown = false;
  let dirty = null; // the rectangle of the screen to draw, or "all"
  let frame = 0;
  let attached = false; // whether the field has the mask as it is now

  // Drawing

  const margins = () =>
    Object.fromEntries(
      ["top", "right", "bottom", "left"].map((side) => [side, Math.max(0, Math.min(4096, Number(form.elements[`margin-${side}`]?.value) || 0))]),
    );

  function area() {
    const { top, right, bottom, left } = margins();
    return { left: -left, top: -top, width: mask.width + left + right, height: mask.height + top + bottom };
  }

  function schedule(rectangle) {
    if (rectangle === "all" || dirty === "all") dirty = "all";
    else if (rectangle && dirty) {
      dirty = {
        left: Math.min(dirty.left, rectangle.left),
        top: Math.min(dirty.top, rectangle.top),
        right: Math.max(dirty.right, rectangle.right),
        bottom: Math.max(dirty.bottom, rectangle.bottom),
      };
    } else if (rectangle) dirty = rectangle;
    frame ||= requestAnimationFrame(draw);
  }

  function onScreen({ left, top, right, bottom }) {
    const scale = view.scale * view.ratio;
    return {
      left: (left - view.x) * scale - 2,
      top: (top - view.y) * scale - 2,
      right: (right + 1 - view.x) * scale + 2,
      bottom: (bottom + 1 - view.y) * scale + 2,
    };
  }

  function draw() {
    frame = 0;
    if (stroke) paintPending();
    if (dirty) {
      const everything = { left: 0, top: 0, right: canvas.width, bottom: canvas.height };
      drawOverlay(context, mask, view, margins(), dirty === "all" ? everything : dirty);
      dirty = null;
    }
    let left = COUNTED_TILES;
    for (const tile of mask.uncounted) {
      if (left-- === 0) break;
      countTile(mask, tile);
      mask.uncounted.delete(tile);
    }
    showCursor();
    showState();
    if (mask.uncounted.size) schedule(null);
  }

  function showView() {
    const box = [view.x, view.y, view.width / view.scale, view.height / view.scale].join(" ");
    imageLayer.setAttribute("viewBox", box);
    cursor.setAttribute("viewBox", box);
    document.getElementById("zoom-text").textContent = `${Math.round(view.scale * 100)} %`;
    schedule("all");
  }

  function showCursor() {
    const [outer, inner] = cursor.children;
    for (const circle of [outer, inner]) {
      circle.setAttribute("cx", brush.x);
      circle.setAttribute("cy", brush.y);
    }
    outer.setAttribute("r", brush.shown ? size.valueAsNumber / 2 : 0);
    inner.setAttribute("r", brush.shown ? Math.max(0, size.valueAsNumber / 2 - 1 / view.scale) : 0);
  }

  function showState() {
    const { width, height } = area();
    const added = width * height - mask.width * mask.height;
    const share = Math.min(1, (mask.total + added) / (width * height));
    const empty = !mask.total && !added && !mask.uncounted.size;
    const coverage = document.getElementById("mask-coverage");
    coverage.hidden = empty;
    setText(coverage, `Mask covers ${share > 0 && share < 0.01 ? "less than 1" : Math.round(share * 100)} %`);
    const rest = added ? "the masked and the added area are generated, the rest stays" : "the masked area is generated, the rest stays";
    setText(document.getElementById("mask-sentence"), empty ? "Paint what should change." : ` · ${rest}`);
    document.getElementById("generate").disabled = empty;
    button("undo").disabled = !history.past.length;
    button("redo").disabled = !history.future.length;
  }

  const setText = (element, text) => element.textContent !== text && (element.textContent = text);
  const button = (action) => form.querySelector(`[data-action=${action}]`);

  function resize() {
    const { width, height } = stage.getBoundingClientRect();
    if (!width || !height) return;
    Object.assign(view, { width, height, ratio: window.devicePixelRatio || 1 });
    canvas.width = Math.round(width * view.ratio);
    canvas.height = Math.round(height * view.ratio);
    if (view.fitted) fitView(view, area());
    showView();
  }

  // Changes of the mask

  function begin() {
    mask.change = new Map();
  }

  function commit() {
    if (mask.change?.size) record(history, mask.change);
    mask.change = null;
    attached = false;
    schedule(null);
  }

  function paint(from, to) {
    const changed = paintSegment(mask, from, to, size.valueAsNumber / 2, brush.tool === "brush" ? 255 : 0);
    if (changed) schedule(onScreen(changed));
  }

  function paintPending() {
    for (const point of stroke.pending) {
      paint(stroke.last, point);
      stroke.last = point;
    }
    stroke.pending = [];
  }

  function changeAll(change) {
    begin();
    touch(mask, 0, 0, mask.width - 1, mask.height - 1);
    change();
    commit();
    schedule("all");
  }

  const actions = {
    undo: () => travel(history.past, history.future),
    redo: () => travel(history.future, history.past),
    invert() {
      invertBytes(mask);
      record(history, "invert");
      attached = false;
      schedule("all");
    },
    clear() {
      begin(); // only tiles that have something need a copy
      for (let tile = 0; tile < mask.counts.length; tile++) {
        if (mask.counts[tile] || mask.uncounted.has(tile)) {
          mask.change.set(tile, readTile(mask, tile));
          writeTile(mask, tile, new Uint8Array(tileArea(mask, tile).width * tileArea(mask, tile).height));
        }
      }
      commit();
      schedule("all");
    },
    "zoom-in": () => zoom(1.25),
    "zoom-out": () => zoom(0.8),
    fit() {
      fitView(view, area());
      showView();
    },
  };

  function travel(from, to) {
    if (stroke) return;
    if (step(mask, from, to)) {
      attached = false;
      schedule("all");
    }
  }

  function zoom(factor, point = { x: view.width / 2, y: view.height / 2 }) {
    zoomAt(view, point, factor, area());
    showView();
  }

  function pan(dx, dy) {
    view.x -= dx / view.scale;
    view.y -= dy / view.scale;
    view.fitted = false;
    showView();
  }

  function selectTool(tool) {
    brush.tool = tool;
    for (const each of form.querySelectorAll("[data-tool]")) each.setAttribute("aria-pressed", each.dataset.tool === tool);
  }

  function resizeBrush(value) {
    size.value = value;
    document.getElementById("brush-size-text").textContent = `${size.value} px`;
    schedule(null);
  }

  // Pointers

  function place(event) {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  const inImage = ({ x, y }) => ({ x: view.x + x / view.scale, y: view.y + y / view.scale });

  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, place(event));
    brush.shown = event.pointerType !== "touch";
    if (pointers.size === 2) {
      cancelStroke();
      gesture = measure();
    } else if (pointers.size === 1 && (spaceDown || event.button === 1)) {
      panning = { id: event.pointerId, last: place(event) };
    } else if (pointers.size === 1 && view.mode !== "before" && view.mode !== "after") {
      begin();
      const point = inImage(place(event));
      stroke = { id: event.pointerId, last: point, pending: [point] };
      Object.assign(brush, point);
      schedule(null);
    }
  });

  stage.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (pointers.has(event.pointerId)) pointers.set(event.pointerId, at);
    if (gesture && pointers.size === 2) return pinch();
    if (panning?.id === event.pointerId) {
      pan(at.x - panning.last.x, at.y - panning.last.y);
      panning.last = at;
      return;
    }
    brush.shown = event.pointerType !== "touch" || Boolean(stroke);
    Object.assign(brush, inImage(at));
    if (stroke?.id === event.pointerId) {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) stroke.pending.push(inImage(place(each)));
    }
    schedule(null);
  });

  function release(event) {
    pointers.delete(event.pointerId);
    if (pointers.size < 2) gesture = null;
    if (panning?.id === event.pointerId) panning = null;
    if (stroke?.id !== event.pointerId) return;
    if (event.type === "pointercancel") return cancelStroke();
    paintPending();
    stroke = null;
    commit();
  }

  // A second finger turns the stroke that has just begun into a gesture.
  function cancelStroke() {
    if (!stroke) return;
    stroke = null;
    for (const [tile, copy] of mask.change) writeTile(mask, tile, copy);
    mask.change = null;
    schedule("all");
  }

  function measure() {
    const [first, second] = [...pointers.values()];
    return {
      x: (first.x + second.x) / 2,
      y: (first.y + second.y) / 2,
      distance: Math.hypot(first.x - second.x, first.y - second.y) || 1,
    };
  }

  function pinch() {
    const now = measure();
    pan(now.x - gesture.x, now.y - gesture.y);
    zoom(now.distance / gesture.distance, now);
    gesture = now;
  }

  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("pointerleave", () => {
    brush.shown = document.activeElement === stage && stage.matches(":focus-visible");
    schedule(null);
  });
  stage.addEventListener("auxclick", (event) => event.preventDefault());
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // else the page scrolls
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 300), place(event));
    },
    { passive: false },
  );

  // Keys

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in arrows) {
      const distance = event.shiftKey ? 10 : 1;
      brush.x = Math.max(0, Math.min(mask.width - 1, brush.x + arrows[event.key][0] * distance));
      brush.y = Math.max(0, Math.min(mask.height - 1, brush.y + arrows[event.key][1] * distance));
    } else if (event.key === "Enter") {
      begin();
      paint(brush, brush);
      commit();
    } else if (event.key === " ") spaceDown = true;
    else return;
    brush.shown = true;
    stage.toggleAttribute("data-moving", spaceDown);
    schedule(null);
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== " ") return;
    spaceDown = false;
    stage.removeAttribute("data-moving");
  });
  stage.addEventListener("focus", () => {
    brush.shown = stage.matches(":focus-visible");
    schedule(null);
  });

  const single = {
    b: () => selectTool("brush"),
    e: () => selectTool("eraser"),
    "[": () => resizeBrush(size.valueAsNumber - Math.max(1, Math.round(size.valueAsNumber / 8))),
    "]": () => resizeBrush(size.valueAsNumber + Math.max(1, Math.round(size.valueAsNumber / 8))),
    i: actions.invert,
    "+": actions["zoom-in"],
    "=": actions["zoom-in"],
    "-": actions["zoom-out"],
    0: actions.fit,
  };

  function singleKeysEnabled() {
    try {
      return localStorage.getItem("single-keys") !== "off";
    } catch {
      return true;
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input:not([type=range]), select, textarea, dialog, [contenteditable]")) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key !== "z" && key !== "y") return;
      actions[key === "y" || event.shiftKey ? "redo" : "undo"]();
    } else if (key in single && singleKeysEnabled()) single[key]();
    else return;
    event.preventDefault();
  });

  form.addEventListener("click", ({ target }) => {
    const pressed = target.closest("[data-tool], [data-action]");
    if (pressed?.dataset.tool) selectTool(pressed.dataset.tool);
    else if (pressed) actions[pressed.dataset.action]();
  });
  size.addEventListener("input", () => resizeBrush(size.value));
  form.addEventListener("input", ({ target }) => {
    if (!target.name?.startsWith("margin-")) return;
    if (view.fitted) fitView(view, area());
    showView();
  });

  // Before and after

  document.querySelector(".view-tabs").addEventListener("click", ({ target }) => {
    const tab = target.closest("[data-view]");
    if (tab) showMode(tab.dataset.view);
  });

  function showMode(mode) {
    const after = document.getElementById("results").dataset.after;
    view.mode = mode === "after" && !after ? "before" : mode;
    for (const tab of document.querySelectorAll("[data-view]")) tab.setAttribute("aria-pressed", tab.dataset.view === view.mode);
    canvas.hidden = view.mode !== "mask";
    const image = imageLayer.firstElementChild;
    image.setAttribute("href", view.mode === "after" ? after : `/media/${location.pathname.split("/").at(-1)}`);
  }

  function compare() {
    const position = document.getElementById("compare-position");
    if (!position) return;
    const drawing = position.closest("figure").querySelector("svg");
    const width = drawing.viewBox.baseVal.width;
    const x = (width * position.valueAsNumber) / 100;
    const rectangle = drawing.querySelector("rect");
    rectangle.setAttribute("x", x);
    rectangle.setAttribute("width", width - x);
    const line = drawing.querySelector("line");
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }

  document.addEventListener("input", ({ target }) => target.id === "compare-position" && compare());

  // Uploads and the form

  function complain(message) {
    const place = document.getElementById("stage-message");
    place.replaceChildren();
    if (!message) return;
    const line = document.getElementById("stage-error").content.cloneNode(true);
    line.querySelector("span").textContent = message;
    place.append(line);
  }

  async function loadMask(blob) {
    let image;
    try {
      image = await createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
    } catch {
      return complain("This mask cannot be read. Choose a PNG, JPEG or WebP image.");
    }
    if (image.width !== mask.width || image.height !== mask.height) {
      return complain(`The mask is ${image.width} × ${image.height} pixels, but the image is ${mask.width} × ${mask.height}. They must be equal.`);
    }
    complain("");
    const reader = document.createElement("canvas");
    reader.width = mask.width;
    reader.height = mask.height;
    const pixels = reader.getContext("2d", { willReadFrequently: true });
    pixels.drawImage(image, 0, 0);
    const read = pixels.getImageData(0, 0, mask.width, mask.height).data;
    changeAll(() => fillFromPixels(mask, read));
  }

  // What is uploaded is painted; the field gets the mask only when the form is sent.
  file.addEventListener("change", () => {
    const [chosen] = file.files;
    file.value = "";
    if (chosen) loadMask(chosen);
  });

  async function attachMask() {
    const transfer = new DataTransfer();
    while (mask.uncounted.size) {
      const [tile] = mask.uncounted;
      countTile(mask, tile);
      mask.uncounted.delete(tile);
    }
    if (mask.total) {
      const blob = await encodePng(mask);
      transfer.items.add(new File([blob], "mask.png", { type: "image/png" }));
    }
    file.files = transfer.files;
    attached = true;
  }

  form.addEventListener(
    "submit",
    (event) => {
      if (attached) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (document.getElementById("generate").disabled) return;
      attachMask().then(() => form.requestSubmit(document.getElementById("generate")));
    },
    { capture: true },
  );

  function renewIdempotencyKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    form.elements.idempotency_key.value = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // A repeated key means the same request, so a new key is made only after the server accepted one.
  document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
    if (ctx.sourceElement.id !== "create" || ctx.response.status >= 400) return;
    renewIdempotencyKey();
    for (const error of form.querySelectorAll(".error, .alert")) error.remove();
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  });
  document.addEventListener("htmx:after:swap", () => {
    form.elements.mask_asset_id.value = ""; // the mask is here
    compare();
    if (view.mode === "after") showMode("after");
    schedule(null);
  });

  form.elements.mask_asset_id.value = "";
  resizeBrush(size.value);
  new ResizeObserver(resize).observe(stage);
  resize();
  if (stage.dataset.mask) {
    fetch(stage.dataset.mask)
      .then((answer) => answer.blob())
      .then(loadMask);
  }
}
