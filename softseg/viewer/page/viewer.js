// The page of `softseg view`. Names of scans and targets may be any text: they are only ever set
// with textContent, and no address contains one.
import { Niivue } from "./niivue.js";

const COLORS = [[255, 32, 0], [255, 176, 0], [240, 112, 240], [126, 224, 129], [200, 160, 120]];
const TRUTH = [64, 208, 255];
const NO_RENDER = 0, COLUMN = 1, ROW = 3; // NiiVue: no 3D rendering; planes below or next to each other

const byId = (id) => document.getElementById(id);
const percent = (dice) => (dice === null ? "no Dice" : `Dice ${dice.toFixed(1)} %`);
const FORMATS = { // slider -> how its value is shown
  opacity: (value) => `${Math.round(100 * value)} %`,
  threshold: (value) => value.toFixed(2),
  truth: (value) => `${Math.round(100 * value)} %`,
  zoom: (value) => `${value} ×`,
};
const nv = new Niivue({
  backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.5],
  isRadiologicalConvention: true, isNearestInterpolation: true, isColorbar: false,
  multiplanarShowRender: NO_RENDER, multiplanarPadPixels: 6, dragAndDropEnabled: false,
  fontColor: [0.8, 0.85, 0.9, 1], loadingText: "", logLevel: "error", fontMinPx: 16,
});
const state = { scans: [], shown: null, off: new Set(), contrast: null, overlays: [], request: 0 };
let queue = Promise.resolve();

function element(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function report(text, isError = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

function listScans() {
  const order = byId("order").value, sign = order === "best" ? -1 : 1;
  const sorted = [...state.scans];
  if (order !== "name") { // scans without a score stay last
    const key = (scan) => (scan.dice === null ? Infinity : sign * scan.dice);
    sorted.sort((a, b) => (key(a) === key(b) ? 0 : key(a) - key(b)));
  }
  byId("scans").replaceChildren(...sorted.map((scan) => {
    const button = element("button", "");
    button.append(element("span", scan.name, "name"));
    if (scan.dice !== null) button.append(element("span", percent(scan.dice), "dice"));
    if (scan === state.shown) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => show(scan));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  return sorted;
}

function listTargets(scan) {
  byId("targets").replaceChildren(...scan.targets.map((target, k) => {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !state.off.has(target.name);
    box.addEventListener("change", () => {
      box.checked ? state.off.delete(target.name) : state.off.add(target.name);
      draw();
    });
    const swatch = element("span", "", "swatch");
    swatch.style.backgroundColor = `rgb(${COLORS[k % COLORS.length]})`;
    const notes = [];
    if (target.dice !== null) notes.push(percent(target.dice));
    if (target.threshold !== null) notes.push(`threshold ${target.threshold.toFixed(2)}`);
    label.append(box, swatch, element("span", target.name, "name"), element("span", notes.join(" · "), "note"));
    return label;
  }));
  if (scan.targets.some((target) => target.truth)) {
    const legend = document.createElement("label"), swatch = element("span", "", "swatch");
    swatch.style.backgroundColor = `rgb(${TRUTH})`;
    legend.append(swatch, element("span", "truth", "note"));
    byId("targets").append(legend);
  }
}

function listContrasts(scan) {
  const names = scan.images.map((image) => image.name);
  if (!names.includes(state.contrast)) state.contrast = names[0];
  byId("contrast").replaceChildren(...names.map((name) => new Option(name, name, false, name === state.contrast)));
  byId("contrast").parentElement.hidden = names.length < 2;
}

function show(scan) { // one after the other: NiiVue cannot load two scans at once
  const request = ++state.request;
  state.shown = scan;
  listScans();
  listTargets(scan);
  listContrasts(scan);
  byId("truth-label").hidden = !scan.targets.some((target) => target.truth);
  report(`reading ${scan.name} ...`);
  queue = queue.then(() => (request === state.request ? load(scan) : null));
  return queue;
}

async function load(scan) {
  const isNew = state.loaded !== scan;
  const image = scan.images.find((one) => one.name === state.contrast);
  const overlays = scan.targets.flatMap((target, k) => [
    { target, url: target.soft, colormap: `soft-${k % COLORS.length}`, isTruth: false },
    ...(target.truth ? [{ target, url: target.truth, colormap: "truth", isTruth: true }] : []),
  ]);
  state.overlays = [];
  try {
    await nv.loadVolumes([
      { url: image.url, name: image.url, colormap: "gray" },
      ...overlays.map((one) => ({ url: one.url, name: one.url, colormap: one.colormap, cal_min: 0, cal_max: 1 })),
    ]);
  } catch (error) {
    return report(await reason([image.url, ...overlays.map((one) => one.url)], error), true);
  }
  const loaded = overlays.map((one, k) => ({ ...one, volume: nv.volumes[k + 1] }));
  state.overlays = loaded.map((one, k) => ({ ...one, alpha: addAlpha(one.volume, k + 1) }));
  state.loaded = scan;
  if (isNew) aim();
  draw();
  nv.createOnLocationChange();
  document.body.dataset.shown = String(state.scans.indexOf(scan)); // for tests
}

// NiiVue draws each voxel of an overlay with the same opacity, unless another volume modulates it.
function addAlpha(volume, index) {
  const alpha = nv.cloneVolume(index);
  alpha.img = new Float32Array(volume.img.length);
  alpha.opacity = 0; // it is not drawn itself
  nv.addVolume(alpha);
  volume.modulationImage = nv.volumes.indexOf(alpha);
  volume.modulateAlpha = 1;
  return alpha;
}

function fillAlpha({ target, volume, alpha, isTruth }) {
  const opacity = state.off.has(target.name) ? 0 : Number(byId(isTruth ? "truth" : "opacity").value);
  const least = isTruth ? 0 : Number(byId("threshold").value);
  const values = volume.img, shown = alpha.img;
  for (let n = 0; n < shown.length; n++) shown[n] = values[n] >= least ? values[n] * opacity : 0;
}

async function reason(urls, error) { // the server says in one line why a scan cannot be read
  for (const url of urls) {
    const answer = await fetch(url).catch(() => null);
    if (answer && !answer.ok) return answer.text();
    if (!answer) return "The server does not answer: it may have ended.";
  }
  return `The scan cannot be shown: ${error}`;
}

// Move the cross to the middle of what is predicted (without a prediction: of the truth), and zoom.
function aim() {
  const extents = state.overlays.map((one) => foreground(one.volume)).filter((one) => one);
  const middle = extents.length ? extents[0].middle : null;
  if (middle) nv.scene.crosshairPos = nv.mm2frac(middle);
  // of three axes the one in the middle: a stack of few slices is as thick as its target
  const ratios = [0, 1, 2].map((k) => Math.min(...extents.map((one) => one.ratios[k]))).sort((a, b) => a - b);
  byId("zoom").value = extents.length ? Math.min(8, Math.max(1, 0.5 * ratios[1])) : 1;
}

// The middle in mm of the voxels of at least half of the largest value, and how many times wider
// the volume is along each axis.
function foreground(volume) {
  const [, nx, ny, nz] = volume.hdr.dims, values = volume.img, affine = volume.hdr.affine;
  let top = 0;
  for (const value of values) if (value > top) top = value;
  if (top < 0.05) return null;
  const low = [nx, ny, nz], high = [-1, -1, -1];
  for (let z = 0, n = 0; z < nz; z++) for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++, n++) {
    if (values[n] < top / 2) continue;
    [x, y, z].forEach((at, k) => { low[k] = Math.min(low[k], at); high[k] = Math.max(high[k], at); });
  }
  const voxel = low.map((at, k) => (at + high[k]) / 2);
  const middle = [0, 1, 2].map((row) => affine[row].slice(0, 3).reduce((sum, a, k) => sum + a * voxel[k], affine[row][3]));
  return { middle, ratios: [nx, ny, nz].map((count, k) => count / (high[k] - low[k] + 1)) };
}

function draw() { // what the controls ask for
  for (const id in FORMATS) {
    const output = byId(id).parentElement.querySelector("output");
    output.textContent = FORMATS[id](Number(byId(id).value));
  }
  state.overlays.forEach(fillAlpha);
  if (nv.volumes.length) nv.updateGLVolume();
  zoom();
}

function zoom() { // around the cross
  const factor = Number(byId("zoom").value);
  if (!nv.volumes.length) return;
  const middle = nv.frac2mm(nv.scene.crosshairPos);
  const voxels = Math.max(...nv.volumes[0].hdr.dims.slice(1, 4)) / factor; // that are in view
  nv.opts.crosshairGap = 0.16 * voxels;
  nv.setCrosshairWidth(0.006 * voxels);
  nv.setPan2Dxyzmm([...[0, 1, 2].map((k) => (1 - factor) * middle[k]), factor]);
}

function arrange() { // three planes in a row, or on a narrow screen in a column
  const { clientWidth, clientHeight } = byId("view");
  nv.opts.multiplanarLayout = clientHeight > 1.2 * clientWidth ? COLUMN : ROW;
  if (nv.volumes.length) nv.drawScene();
}

function describe(location) {
  const voxel = [...location.vox].map((at) => Math.round(at)).join(", ");
  const soft = state.overlays.map((one, k) => ({ ...one, value: location.values[k + 1]?.value }))
    .filter((one) => !state.off.has(one.target.name) && typeof one.value === "number")
    .map((one) => `${one.target.name} ${one.isTruth ? "truth" : "predicted"} ${one.value.toFixed(2)}`);
  const mm = [...location.mm].slice(0, 3).map((at) => at.toFixed(1)).join(", ");
  report([`${state.shown?.name ?? ""}: voxel ${voxel} (${mm} mm)`, ...soft].join(" · "));
}

async function start() {
  COLORS.forEach((color, k) => nv.addColormap(`soft-${k}`, plain(color)));
  nv.addColormap("truth", plain(TRUTH));
  await nv.attachToCanvas(byId("canvas"));
  nv.setSliceType(nv.sliceTypeMultiplanar);
  nv.onLocationChange = describe;
  new ResizeObserver(arrange).observe(byId("view"));
  for (const id in FORMATS) byId(id).addEventListener("input", draw);
  byId("order").addEventListener("change", listScans);
  byId("contrast").addEventListener("change", () => {
    state.contrast = byId("contrast").value;
    show(state.shown);
  });
  const answer = await fetch("scans.json");
  if (!answer.ok) throw new Error(await answer.text());
  const page = await answer.json();
  state.scans = page.scans;
  byId("title").textContent = page.title;
  document.title = `${page.title} · softseg view`;
  const scored = page.scans.some((scan) => scan.dice !== null);
  byId("order").value = scored ? "worst" : "name";
  byId("order").parentElement.hidden = !scored;
  await show(listScans()[0]);
}

function plain([red, green, blue]) { // the same color for every value
  return { R: [red, red], G: [green, green], B: [blue, blue], A: [255, 255], I: [0, 255] };
}

start().catch((error) => report(`The viewer cannot start: ${error.message}`, true));
