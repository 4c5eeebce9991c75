// The page in three parts: write, tell real from generated, watch a training. Whatever a model or a corpus says is
// text and becomes `textContent`, never markup.

const table = JSON.parse(document.getElementById("table").textContent);
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// --- Words ---

const values = new WeakMap(); // what stands in the words of an element
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");

function say(key, filled = {}) {
  return table[language][key].replace(/\{(\w+)\}/g, (_, name) => filled[name]);
}

// Write words into an element; another language later finds them there.
function tell(element, key, filled = {}) {
  element.dataset.word = key;
  values.set(element, filled);
  element.textContent = say(key, filled);
}

function silence(element) {
  delete element.dataset.word;
  element.textContent = "";
}

function speak(chosen) {
  language = chosen;
  localStorage.setItem("language", chosen);
  document.documentElement.lang = chosen;
  for (const element of all("[data-word]")) tell(element, element.dataset.word, values.get(element));
  for (const element of all("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
  for (const element of all("[data-hint]")) element.placeholder = say(element.dataset.hint);
}

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
const number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(4));

function duration(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (value) => String(value).padStart(2, "0");
  return `${hours}:${two(minutes)}:${two(Math.floor(seconds) % 60)}`;
}

function element(tag, text = "", classes = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = classes;
  return made;
}

// --- Requests ---

class Refused extends Error {
  constructor(key, filled = {}) {
    super(key);
    Object.assign(this, { key, filled });
  }
}

async function answer(address, options) {
  let reply;
  try {
    reply = await fetch(address, options);
  } catch {
    throw new Refused("offline");
  }
  const found = await reply.json();
  if (reply.ok) return found;
  if (reply.status === 429) throw new Refused("busy", { seconds: reply.headers.get("retry-after") });
  throw new Refused("failed", { error: found.error });
}

const post = (address, wish) =>
  answer(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(wish) });

// Do something slow, say so beside its button, and say why it failed.
async function attempt(status, key, work, button) {
  if (button?.disabled) return;
  if (button) button.disabled = true;
  status.classList.remove("failed");
  tell(status, key);
  try {
    await work();
    silence(status);
  } catch (error) {
    fail(status, error);
  } finally {
    if (button) button.disabled = false;
  }
}

function fail(status, error) {
  if (!(error instanceof Refused)) throw error;
  status.classList.add("failed");
  tell(status, error.key, error.filled);
}

// --- Write ---

const drawing = one("#draw");
const drawForm = one("form", drawing);
const readout = one(".readout", drawing);
const blank = one("#text-hint").dataset.blank;
const JUDGED = ["rerank", "resample", "reject", "mcts"];
const COLD = ["greedy", "beam", "mcts"]; // they have no temperature
const CHOOSING = { rerank: ["candidates"], resample: ["candidates"] };
const SETTINGS = { ...CHOOSING, "top-k": ["k"], "top-p": ["p"], beam: ["width"], mcts: ["simulations"] };
let judge = "none";

async function describe() {
  const about = one("#about");
  const run = drawForm.elements.run.value;
  let found = null;
  judge = "none";
  await attempt(about, "loading", async () => (found = await answer(`/api/runs/${run}`)));
  if (found && run === drawForm.elements.run.value) {
    judge = found.judge;
    const line = (key, filled) => about.append(tellNew("span", key, filled), " ");
    line("about", { tokenizer: found.tokenizer, size: found.vocab_size, length: found.max_length });
    if (found.noise) line("about_noise");
    line(`about_${found.judge}`, { temperature: found.judge_temperature });
    if (found.why) line("why", { why: found.why });
    one(".opinions", drawing).hidden = found.judge === "none";
  }
  adapt();
}

function tellNew(tag, key, filled, classes) {
  const made = element(tag, "", classes);
  tell(made, key, filled);
  return made;
}

// Show the settings that the choices above leave.
function adapt() {
  const { text, decode, temperature } = drawForm.elements;
  const fills = text.value.includes(blank);
  for (const option of decode.options) option.disabled = JUDGED.includes(option.value) && judge !== "detector";
  if (fills || decode.selectedOptions[0].disabled) decode.value = "ancestral";
  decode.disabled = fills;
  for (const label of all(".setting", drawForm)) {
    const input = one("input", label);
    label.hidden = !SETTINGS[decode.value]?.includes(input.name);
    input.disabled = label.hidden;
  }
  temperature.disabled = COLD.includes(decode.value);
}

function wish() {
  const { run, text, decode, temperature, num, seed } = drawForm.elements;
  const strategy = { decode: decode.value };
  for (const name of SETTINGS[decode.value] ?? []) strategy[name] = Number(drawForm.elements[name].value);
  return {
    run: Number(run.value),
    text: text.value,
    num: Number(num.value),
    temperature: temperature.disabled ? 1 : Number(temperature.value),
    seed: seed.value === "" ? null : Number(seed.value),
    strategy,
  };
}

function colour(part, real) {
  if (real === null) return;
  part.classList.add(real < 0.5 ? "generated" : "real");
  part.style.setProperty("--sure", Math.abs(2 * real - 1));
}

function shownToken(token) {
  const text = token.text || (token.end ? "\u220e" : "\u00b7");
  const part = element("span", text, token.given ? "token given" : "token");
  colour(part, token.real);
  if (token.prob !== null && !token.given) part.style.setProperty("--prob", token.prob);
  return part;
}

function shownText(sample, gap) {
  const line = element("li");
  const row = Object.assign(element("div", "", "tokens"), { tabIndex: 0, dir: "auto", role: "group" });
  const tokens = sample.tokens.map((token, i) => ({ ...token, end: i + 1 === sample.tokens.length }));
  const parts = tokens.map(shownToken);
  parts.forEach((part, i) => row.append(i ? gap : "", part));
  row.setAttribute("aria-label", sample.tokens.map((token) => token.text).join(gap));
  line.append(row);
  if (sample.real !== null) {
    const whole = tellNew("span", "text_real", { real: percent(sample.real) }, "token whole");
    colour(whole, sample.real);
    line.append(whole);
  }
  let at = -1;
  const goTo = (next) => {
    parts[at]?.classList.remove("at");
    at = Math.max(-1, Math.min(next, parts.length - 1));
    parts[at]?.classList.add("at");
    readout.textContent = at < 0 ? "" : reading(tokens[at]);
  };
  row.addEventListener("keydown", (event) => {
    const there = { ArrowRight: at + 1, ArrowLeft: Math.max(at - 1, 0), Home: 0, End: parts.length - 1, Escape: -1 };
    if (!(event.key in there)) return;
    event.preventDefault();
    goTo(there[event.key]);
  });
  row.addEventListener("pointerover", (event) => goTo(parts.indexOf(event.target)));
  row.addEventListener("pointerleave", () => goTo(-1));
  row.addEventListener("blur", () => goTo(-1));
  return line;
}

function reading(token) {
  const name = token.text || say(token.end ? "end" : "part_of_character");
  const key = token.given ? "token_given" : token.prob === null ? "token" : "token_prob";
  const said = say(key, { token: name, prob: token.prob === null ? "" : percent(token.prob) });
  return token.real === null ? said : said + say("token_real", { real: percent(token.real) });
}

drawForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const button = one("button", drawForm);
  attempt(one(".status", drawForm), "working", async () => {
    const { samples, gap } = await post("/api/draw", wish());
    readout.textContent = "";
    one(".legend", drawing).hidden = false;
    one(".texts", drawing).replaceChildren(...samples.map((sample) => shownText(sample, gap)));
  }, button);
});
drawForm.addEventListener("input", adapt);
drawForm.elements.run.addEventListener("change", describe);

// --- Which is real? ---

const playing = one("#game");
const gameForm = one("form", playing);
const gameStatus = one(".status", gameForm);
const candidates = all(".candidate", playing);
const next = one(".next", playing);
const verdict = one(".verdict", playing);
let [game, runs] = [null, []];

gameForm.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = all(".choices input:checked", gameForm).map((input) => Number(input.value));
  const temperature = Number(gameForm.elements.temperature.value);
  attempt(gameStatus, "working", async () => {
    if (!chosen.length) throw new Refused("no_run_chosen");
    ({ game } = await post("/api/games", { runs: chosen, temperature }));
    one(".scroll", playing).hidden = true;
    await deal();
  }, one("button", gameForm));
});

async function deal() {
  const { texts } = await post(`/api/games/${game}/round`, {});
  candidates.forEach((candidate, i) => {
    one("span", candidate).textContent = texts[i];
    candidate.classList.remove("real", "generated");
    candidate.disabled = false;
  });
  silence(verdict);
  next.hidden = true;
  one(".round", playing).hidden = false;
  candidates[0].focus();
}

function guess(choice) {
  if (candidates[choice].disabled) return;
  for (const candidate of candidates) candidate.disabled = true;
  attempt(gameStatus, "working", async () => {
    const found = await post(`/api/games/${game}/guess`, { choice });
    candidates.forEach((candidate, i) => candidate.classList.add(i === found.real ? "real" : "generated"));
    tell(verdict, choice === found.real ? "right" : "wrong", { real: found.real + 1, run: runs[found.run].name });
    one(".scroll", playing).hidden = false;
    one("tbody", playing).replaceChildren(...found.score.map(scored));
    next.hidden = false;
    next.focus();
  });
}

function scored(row) {
  const line = element("tr");
  const name = Object.assign(element("th", runs[row.run].name), { scope: "row" });
  const interval = `${percent(row.low)} \u2013 ${percent(row.high)}`;
  line.append(name, ...[row.guesses, percent(row.share), interval].map((text) => element("td", text)));
  return line;
}

candidates.forEach((candidate, i) => candidate.addEventListener("click", () => guess(i)));
next.addEventListener("click", () => attempt(gameStatus, "working", deal, next));
document.addEventListener("keydown", (event) => {
  const choice = ["1", "2"].indexOf(event.key);
  if (event.target.matches("input, select, textarea") || playing.hidden || !game) return;
  if (choice >= 0) guess(choice);
});

// --- Training ---

const watching = one("#training");
const watched = one("select", watching);
const EVERY = 2000; // milliseconds
let drawn = ""; // what is shown now

async function watch() {
  if (!watching.hidden && !document.hidden && watched.value !== "") {
    const status = one(".status", watching);
    try {
      const found = await answer(`/api/runs/${watched.value}/training`);
      status.classList.remove("failed");
      const now = JSON.stringify(found);
      if (now !== drawn) show(found);
      drawn = now;
    } catch (error) {
      fail(status, error);
      drawn = "";
    }
  }
  setTimeout(watch, EVERY);
}

function show(found) {
  const status = one(".status", watching);
  if (found.step === null) tell(status, "no_record");
  else tell(status, "state", { step: found.step, time: duration(found.seconds), phase: found.phase });
  const notes = one(".notes", watching);
  notes.hidden = !found.notes.length;
  notes.replaceChildren(...found.notes.map((note) => element("li", note)));
  one(".curves", watching).replaceChildren(...found.curves.map((curve) => plot(curve, found.phases)));
  const latest = one(".latest", watching);
  if (found.samples_step === null) silence(latest);
  else tell(latest, "latest", { step: found.samples_step });
  one(".texts", watching).replaceChildren(
    ...found.samples.map((text) => {
      const line = text ? element("li", text) : tellNew("li", "empty_text", {}, "quiet");
      line.dir = "auto";
      return line;
    }),
  );
}

function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// One curve, as wide as its place; a line stands where a phase begins.
function plot({ name, points }, phases) {
  const figure = element("figure");
  const ys = points.map(([, y]) => y);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const [first, last] = [phases[0].start, phases.at(-1).stop];
  const x = (step) => (100 * (step - first)) / Math.max(last - first, 1);
  const y = (value) => (high > low ? 95 - (90 * (value - low)) / (high - low) : 50);
  const svg = shape("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const { start } of phases.slice(1)) svg.append(shape("line", { x1: x(start), x2: x(start), y1: 0, y2: 100 }));
  const line = points.map(([step, value]) => `${x(step)},${y(value)}`);
  if (points.length === 1) line.unshift(`${x(points[0][0]) - 2},${y(points[0][1])}`); // a point alone would not be seen
  svg.append(shape("polyline", { points: line.join(" ") }));
  const [step, value] = points.at(-1);
  const filled = { name, last: number(value), step, low: number(low), high: number(high) };
  figure.append(svg, tellNew("figcaption", "curve", filled));
  return figure;
}

watched.addEventListener("change", () => (drawn = ""));

// --- The frame ---

function turnTo() {
  const parts = all("main > section");
  const chosen = parts.find((part) => `#${part.id}` === location.hash) ?? parts[0];
  for (const part of parts) part.hidden = part !== chosen;
  for (const link of all("nav a")) link.ariaCurrent = link.hash === `#${chosen.id}` ? "page" : null;
}

async function begin() {
  runs = await answer("/api/runs");
  runs.forEach((run, i) => {
    const name = `${run.name} \u00b7 ${run.method} \u00b7 ${run.data}`;
    const option = () => Object.assign(element("option", name), { value: i });
    watched.append(option());
    if (!run.writes) return;
    drawForm.elements.run.append(option());
    const label = element("label");
    const box = Object.assign(element("input"), { type: "checkbox", value: i, checked: true });
    label.append(box, element("span", name));
    one(".choices", gameForm).append(label);
  });
  if (drawForm.elements.run.value !== "") await describe();
}

values.set(one("#text-hint"), { blank });
one("#language").addEventListener("click", () => speak(language === "en" ? "zh" : "en"));
window.addEventListener("hashchange", turnTo);
speak(language in table ? language : "en");
turnTo();
attempt(one("#draw .act .status"), "loading", begin).then(() => (document.documentElement.dataset.ready = ""));
watch();
