// The page: what is shown and what can be chosen. The dream itself runs in worker.js.

import { Film, saveAs } from "./film.js";
import { address, loadManifest } from "./files.js";
import { Input } from "./input.js";
import { checkBrowser, problem, keepPage } from "./problems.js";

const $ = (id) => document.getElementById(id);
const MOST_SAVED = 12;
const NOTICE = 3000; // milliseconds
const base = new URL(".", location.href).href;
const options = new URLSearchParams(location.search);
const context = $("picture").getContext("2d");

let manifest;
let worker;
let status = null; // of the newest frame
let film = null;
let hasAgent = false;
const saved = [];
const latencies = []; // milliseconds from a key to the picture that answers it
const statistics = { displayed: 0, since: 0, latencies, facts: {} };

const send = (type, rest = {}) => worker?.postMessage({ type, ...rest });

function notify(text) {
  $("notice").textContent = text;
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => ($("notice").textContent = ""), NOTICE);
}

// ---- pictures --------------------------------------------------------------------------------------------------------

let waiting = null; // the frame to be shown next

function onFrame(message) {
  // Of two frames for one refresh of the screen only the newer one is displayed, with the older one's answer to a key.
  if (waiting?.status.answered) message.status.answered = Math.min(waiting.status.answered, message.status.answered ?? Infinity);
  if (!waiting) requestAnimationFrame(display);
  waiting = message;
}

function display() {
  const { pixels, status: newest } = waiting;
  waiting = null;
  const [height, width] = manifest.frame;
  context.putImageData(new ImageData(pixels, width, height), 0, 0);
  film?.add($("picture"));
  statistics.displayed += 1;
  statistics.since ||= performance.now();
  if (newest.answered) {
    latencies.push(performance.timeOrigin + performance.now() - newest.answered);
    if (latencies.length > 500) latencies.shift();
  }
  status = newest;
  showStatus();
}

const NAMES = { HEALTH: "Health", AMMO2: "Ammunition", ARMOR: "Armour", SELECTED_WEAPON_AMMO: "Ammunition" };
const shownValues = new Map();

/** Write a value where it is shown, if it has changed. */
function showValue(list, name, text) {
  const key = `${list.id} ${name}`;
  let cell = shownValues.get(key);
  if (!cell?.isConnected) {
    const row = document.createElement("div");
    row.append(Object.assign(document.createElement("dt"), { textContent: name }), (cell = document.createElement("dd")));
    list.append(row);
    shownValues.set(key, cell);
  }
  if (cell.textContent !== text) cell.textContent = text;
}

function showStatus() {
  for (const [name, value] of Object.entries(status.variables)) showValue($("values"), NAMES[name] ?? name, value.toFixed(0));
  const { points } = manifest.worlds.find(({ name }) => name === status.world);
  // What a world counts, in whole points; its end pays for other things.
  if (points && !status.ended) showValue($("values"), points[0].toUpperCase() + points.slice(1), Math.max(Math.round(status.reward), 0).toFixed(0));
  showValue($("values"), "Seconds", status.seconds.toFixed(1));
  showValue($("values"), "Drift", status.drift.toFixed(2));
  showValue($("values"), "Pressed", status.pressed.map((name) => name.toLowerCase().replace("_", " ")).join(", ") || "nothing");
  setPressed("pause", status.paused);
  setPressed("agent", status.agent);
  if (status.ended && $("notice").textContent !== status.ended) notify(status.ended);
}

function setPressed(id, pressed) {
  if ($(id).getAttribute("aria-pressed") !== String(pressed)) $(id).setAttribute("aria-pressed", pressed);
}

// ---- worlds ----------------------------------------------------------------------------------------------------------

const title = (world) => world.scenario.replaceAll("_", " ") + (world.map ? ` ${world.map}` : "");

function listWorlds() {
  $("world-list").replaceChildren(
    ...manifest.worlds.map((world) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.disabled = true;
      button.dataset.world = world.name;
      const picture = Object.assign(new Image(160, 120), { loading: "lazy", alt: "", src: address(world.poster, base) });
      const name = Object.assign(document.createElement("strong"), { textContent: title(world) });
      const about = Object.assign(document.createElement("small"), { textContent: world.description });
      const quality = Object.assign(document.createElement("small"), { textContent: world.quality });
      button.append(picture, name, about, quality);
      button.onclick = () => send("world", { name: world.name, seed: options.has("seed") ? Number(options.get("seed")) : undefined });
      item.append(button);
      return item;
    }),
  );
}

function onBegun({ world: name, agent }) {
  const world = manifest.worlds.find((one) => one.name === name);
  hasAgent = agent;
  $("worlds").hidden = true;
  $("play").hidden = false;
  document.body.classList.add("playing");
  $("world-title").textContent = title(world);
  $("keys-hint").textContent = `${world.description}. Keys: H for help.`;
  $("agent").disabled = !agent;
  $("agent").title = agent ? "" : "No agent was trained for this world.";
  $("values").replaceChildren();
  input.showPads(world.buttons);
  input.active = true;
  showPads(matchMedia("(any-pointer: coarse)").matches);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    send("set", { paused: true });
    notify("Paused, because you asked for less motion: press Pause to go on");
  }
  $("stage").focus();
  scrollTo(0, 0);
}

function showPads(shown) {
  $("pad-left").hidden = $("pad-right").hidden = !shown;
  $("play").classList.toggle("keys-only", !shown);
}

function leave() {
  input.active = false;
  input.releaseAll();
  if (film) endFilm();
  send("set", { paused: true, agent: false });
  document.body.classList.remove("playing");
  $("play").hidden = true;
  $("worlds").hidden = false;
  document.querySelector(`[data-world="${status?.world}"]`)?.focus();
}

// ---- commands --------------------------------------------------------------------------------------------------------

function setTemperature(value) {
  const temperature = Math.min(Math.max(Math.round(value * 10) / 10, 0), 2);
  $("temperature").value = temperature;
  $("temperature-value").textContent = temperature.toFixed(1);
  send("set", { temperature });
}

function toggleAgent() {
  if (!hasAgent) return notify("No agent was trained for this world");
  send("set", { agent: !status?.agent });
  notify(status?.agent ? "You play" : "The agent plays");
}

function onSaved({ saved: dream, picture }) {
  const canvas = document.createElement("canvas");
  const [height, width] = manifest.frame;
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(picture, width, height), 0, 0);
  const world = manifest.worlds.find(({ name }) => name === dream.world);
  const seconds = (dream.now.steps * world.tics_per_step) / manifest.tics_per_second;
  saved.push({ dream, image: canvas.toDataURL(), label: `${seconds.toFixed(1)} s` });
  if (saved.length > MOST_SAVED) saved.shift();
  notify(saved.length === MOST_SAVED ? "Saved; the oldest one goes when there is another" : "Saved");
  showSaved();
}

function showSaved() {
  const here = saved.filter(({ dream }) => dream.world === status?.world);
  $("saved").hidden = !here.length;
  $("saved-list").replaceChildren(
    ...here.map(({ dream, image, label }) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const when = Object.assign(document.createElement("small"), { textContent: `at ${label}` });
      button.append(Object.assign(new Image(), { src: image, alt: "Go on from the dream saved" }), when);
      button.onclick = () => restore(dream);
      item.append(button);
      return item;
    }),
  );
}

function restore(dream) {
  const one = dream ?? saved.findLast(({ dream: { world } }) => world === status?.world)?.dream;
  if (!one) return notify("No dream of this world was saved: press B to save one");
  send("restore", { saved: one });
  notify("Back in the saved dream");
}

async function endFilm() {
  const ending = film;
  film = null;
  setPressed("film", false);
  const blob = await ending.end();
  statistics.film = { bytes: blob.size, type: blob.type };
  saveAs(blob, `dream-${status.world}.${blob.type.endsWith("mp4") ? "mp4" : "webm"}`);
  notify(`Film saved, ${(blob.size / 1e6).toFixed(1)} MB`);
}

function toggleFilm() {
  if (film) return endFilm();
  if (!Film.possible) return notify("This browser makes no films");
  film = new Film($("picture"), manifest.tics_per_second);
  setPressed("film", true);
  notify("Filming");
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("stage").requestFullscreen?.().catch(() => notify("This browser has no full screen for a part of a page"));
}

const COMMANDS = {
  p: ["Pause, go on", () => send("set", { paused: !status?.paused })],
  n: ["One step", () => send("single")],
  r: ["Restart", () => send("restart")],
  t: ["You play, or the agent", toggleAgent],
  "+": ["Wilder", () => setTemperature(Number($("temperature").value) + 0.1)],
  "-": ["Calmer", () => setTemperature(Number($("temperature").value) - 0.1)],
  b: ["Save the dream", () => send("save")],
  l: ["Back to the dream saved last", () => restore()],
  v: ["Begin and end a film", toggleFilm],
  f: ["Full screen", fullScreen],
  h: ["Help", () => $("help").showModal()],
  escape: ["Other worlds", leave],
};
const MOVES = { "W S ↑ ↓": "Move", "A D , .": "Step left and right", "Q E ← →": "Turn", "J X or the mouse": "Attack", Space: "Use", Shift: "Run" };

function fillHelp() {
  const names = Object.fromEntries(Object.entries(COMMANDS).map(([key, [what]]) => [key.length > 1 ? "Esc" : key.toUpperCase(), what]));
  for (const [keys, what] of Object.entries({ ...MOVES, ...names })) {
    const row = $("help-keys").insertRow();
    row.innerHTML = `<th scope="row"><kbd></kbd></th>`;
    row.querySelector("kbd").textContent = keys;
    row.insertCell().textContent = what;
  }
}

const input = new Input(
  { stage: $("stage"), left: $("pad-left"), right: $("pad-right") },
  (names, at) => send("wanted", { names, at }),
  Object.fromEntries(Object.entries(COMMANDS).map(([key, [, run]]) => [key, run])),
);

function wireControls() {
  const clicks = { pause: "p", single: "n", restart: "r", agent: "t", save: "b", film: "v", full: "f", "help-open": "h", leave: "escape" };
  for (const [id, key] of Object.entries(clicks)) {
    $(id).onclick = (event) => {
      COMMANDS[key][1]();
      // After a click with a mouse or a finger the keys belong to the dream again; whoever came by keyboard stays.
      if (event.detail && !["help-open", "leave"].includes(id)) $("stage").focus({ preventScroll: true });
    };
  }
  $("temperature").oninput = ({ target }) => setTemperature(Number(target.value));
  $("measure").onclick = () => {
    $("about-status").textContent = status ? "Measuring…" : "Choose a world first.";
    send("measure");
  };
  $("keep").onclick = () => {
    $("progress").hidden = false;
    send("keep");
  };
  document.addEventListener("visibilitychange", () => send("visible", { visible: !document.hidden }));
}

// ---- the worker ------------------------------------------------------------------------------------------------------

const MB = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

const handlers = {
  progress: ({ loaded, total }) => {
    $("progress").value = total ? Math.min(loaded / total, 1) : 0;
    $("loading").textContent = total ? `Loading ${MB(Math.min(loaded, total))} of ${MB(total)}` : "Loading";
  },
  opened: ({ threads, bytes, kept }) => {
    statistics.facts = { threads, bytes, kept };
    $("loading").textContent = "";
    $("progress").hidden = true;
    for (const button of document.querySelectorAll("[data-world]")) button.disabled = false;
    showValue($("facts"), "Threads", String(threads));
    showValue($("facts"), "Loaded", MB(bytes));
    showValue($("facts"), "Without a connection", kept ? "what was loaded can be played" : "nothing: there is no storage");
    showValue($("facts"), "Weights", `${manifest.weights.name}, ${manifest.weights.fingerprint}`);
    document.body.dataset.ready = "yes";
  },
  begun: onBegun,
  frame: onFrame,
  saved: onSaved,
  set: ({ temperature }) => setTemperature(temperature),
  kept: () => {
    $("progress").hidden = true;
    $("loading").textContent = "";
    $("about-status").textContent = "All worlds are kept.";
  },
  measured: (result) => {
    statistics.measured = result;
    $("about-status").textContent =
      `A step takes ${result.step.toFixed(1)} ms, a picture ${result.picture.toFixed(1)} ms: ` +
      `${result.both.toFixed(0)} steps with their pictures a second. The game makes 8.75.`;
  },
  scored: (result) => (statistics.scored = result),
  replayed: (result) => (statistics.replayed = result),
  problem: ({ text, works, fatal }) => {
    problem(text, works);
    if (fatal) $("loading").textContent = "";
    if (fatal) $("progress").hidden = true;
  },
};

async function begin() {
  wireControls();
  fillHelp();
  try {
    manifest = await loadManifest(base);
  } catch (error) {
    $("loading").textContent = "";
    return problem(error.message, "Nothing else: without the manifest the page does not know what there is.");
  }
  listWorlds();
  if (!checkBrowser()) {
    $("loading").textContent = "The worlds of this export, to look at:";
    return;
  }
  if (!(await keepPage())) return; // the page is loaded anew
  $("progress").hidden = false;
  worker = new Worker(new URL("worker.js", base), { type: "module" });
  worker.onmessage = ({ data }) => handlers[data.type](data);
  worker.onerror = (event) => handlers.problem({ text: `The dream could not be started: ${event.message ?? "no module workers"}.`, works: "The pictures of the worlds can be looked at.", fatal: true });
  send("open", { variant: options.get("variant"), threads: Number(options.get("threads")) || 0 });
}

globalThis.dreamdoom = { statistics, send, get status() { return status; } };
begin();
