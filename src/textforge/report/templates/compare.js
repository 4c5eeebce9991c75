const legend = [...document.querySelectorAll(".legend input")];
const names = legend.map((input) => input.parentElement.querySelector("bdi").textContent);
const marks = legend.map((input) => input.parentElement.querySelector(".mark"));
const drawn = [];

const number = (value) => {
  const text = Number.isInteger(value) ? value.toLocaleString("en-US") : value.toPrecision(4);
  return text.replace("-", "\u2212");
};
const isShown = (row) => legend[row.entry]?.checked ?? true;

// What a chart says where the reader points, as lines: its own words, or of each curve the nearest step.
function reading(chart, key) {
  const rows = chart.rows.filter(isShown);
  const own = rows.find((row) => row.key === key && "said" in row);
  if (own) {
    const there = (row) => row === own || ("x_low" in row && row.x === own.x && row.y === own.y);
    return rows.filter(there).map((row) => [row.entry, row.said]);
  }
  const nearest = new Map();
  for (const row of rows) {
    const best = nearest.get(row.entry);
    if (!best || Math.abs(row.key - key) < Math.abs(best.key - key)) nearest.set(row.entry, row);
  }
  const values = [...nearest.values()].map(({ entry, y, low, high }) => {
    const spread = low === undefined ? "" : ` (${number(low)} to ${number(high)})`;
    return [entry, `${names[entry]}: ${number(y)}${spread}`];
  });
  return [[null, `Step ${number(key)}`], ...values];
}

function line([entry, text]) {
  const part = document.createElement("p");
  if (entry !== null) part.append(marks[entry].cloneNode(true), " ");
  part.append(text);
  return part;
}

function goTo(chart, key) {
  if (key === chart.at) return;
  chart.at = key;
  chart.view.signal("at", key).runAsync();
  chart.readout.replaceChildren(...(key === null ? [] : reading(chart, key).map(line)));
}

// How far a row is from the pointer. Of curves only the step counts; in a list of entries the line counts first.
function distance(chart, row, px, py) {
  const [x, y] = [chart.view.scale("x"), chart.view.scale("y")];
  const left = x("x" in row ? row.x : row.key);
  const right = "stop" in row ? x(row.stop) : left;
  const across = Math.max(left - px, px - right, 0);
  if (!("said" in row)) return across;
  if (!y.bandwidth) return Math.hypot(across, y(row.y) - py);
  return 1000 * Math.abs(y(row.entry) + y.bandwidth() / 2 - py) + across;
}

function nearest(chart, event) {
  const box = chart.drawing.querySelector("svg").getBoundingClientRect();
  const [left, top] = chart.view.origin();
  const [px, py] = [event.clientX - box.left - left, event.clientY - box.top - top];
  let [found, best] = [null, Infinity];
  for (const row of chart.rows.filter(isShown)) {
    const away = distance(chart, row, px, py);
    if (away < best) [found, best] = [row.key, away];
  }
  return found;
}

function walk(chart, event) {
  const keys = [...new Set(chart.rows.filter(isShown).map((row) => row.key))].sort((a, b) => a - b);
  const here = keys.indexOf(chart.at);
  const last = keys.length - 1;
  const there = {
    ArrowRight: Math.min(here + 1, last),
    ArrowDown: Math.min(here + 1, last),
    ArrowLeft: Math.max(here - 1, 0),
    ArrowUp: Math.max(here - 1, 0),
    Home: 0,
    End: last,
  }[event.key];
  if (event.key === "Escape") goTo(chart, null);
  if (there === undefined || last < 0) return;
  event.preventDefault();
  goTo(chart, keys[there]);
}

async function draw(figure) {
  const specification = JSON.parse(figure.querySelector("script").textContent);
  const drawing = figure.querySelector(".drawing");
  const readout = figure.querySelector(".readout");
  const rows = specification.datasets.points;
  const view = await embed(figure, specification);
  if (!view) return;
  const chart = { view, figure, drawing, readout, rows, at: null };
  if (view.scale("y").bandwidth) chart.row = view.height() / countEntries(rows);
  drawn.push(chart);
  drawing.addEventListener("pointermove", (event) => goTo(chart, nearest(chart, event)));
  drawing.addEventListener("pointerdown", (event) => goTo(chart, nearest(chart, event)));
  drawing.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && goTo(chart, null));
  drawing.addEventListener("blur", () => goTo(chart, null));
  drawing.addEventListener("keydown", (event) => walk(chart, event));
  show(chart);
}

const countEntries = (rows) => new Set(rows.map((row) => row.entry)).size;

function show(chart) {
  const now = legend.map((input) => input.checked);
  chart.figure.classList.toggle("empty", !chart.rows.some(isShown));
  chart.at = null;
  chart.readout.replaceChildren();
  if (chart.row) chart.view.height(chart.row * countEntries(chart.rows.filter(isShown)));
  return chart.view.signal("at", null).signal("shown", now).runAsync();
}

async function toggle() {
  for (const part of document.querySelectorAll("[data-entry]")) part.hidden = !legend[part.dataset.entry].checked;
  await Promise.all(drawn.map(show));
  window.dispatchEvent(new Event("resize")); // a chart that comes back asks for its width
}

function copyable(block) {
  const button = document.createElement("button");
  const text = block.querySelector("code");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  block.append(button);
}

// One chart after the other, so that the page can be read and scrolled before the last is drawn.
async function drawAll() {
  for (const figure of document.querySelectorAll("figure.chart")) {
    await new Promise((resolve) => setTimeout(resolve));
    await draw(figure);
  }
  performance.mark("drawn");
  document.documentElement.dataset.drawn = drawn.length;
}

for (const input of legend) input.addEventListener("change", toggle);
document.querySelectorAll(".command").forEach(copyable);
drawAll();
