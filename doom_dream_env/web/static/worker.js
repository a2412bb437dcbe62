// The dream runs here, away from the page: whatever a step takes, the page never waits for it.
//
// Messages in: open, world, wanted, set, restart, single, save, restore, measure, score, visible, keep, replay.
// Messages out: progress, opened, begun, frame, saved, measured, scored, kept, replayed, problem.

import { Dream } from "./dream.js";
import { FileProblem, canKeep, forgetOthers, load, loadManifest, readTensors } from "./files.js";
import { Player } from "./player.js";
import { Random } from "./random.js";

const RUNTIME = "runtime/ort-wasm-simd-threaded.gz.bin";
// By preference: int8 is the smallest, and its dreams last as long; float16 are the very numbers of Python.
const VARIANTS = ["int8", "float16", "float32"];
const MOST_THREADS = 4; // a step is too little work for more
// Threads that wait turn over and over as they come, which beside other programs costs more than they gain.
const QUIET = { session: { intra_op: { allow_spinning: "0" } } };

const base = new URL(".", self.location.href).href;
let ort;
let manifest;
let variants = VARIANTS;
const sessions = {}; // by name of the graph or agent
let player = null;

const post = (type, rest = {}, transfer = []) => self.postMessage({ type, ...rest }, transfer);

/** Say what is wrong, and what works all the same. */
function problem(text, works, fatal = false) {
  post("problem", { text, works, fatal });
}

// ---- loading ---------------------------------------------------------------------------------------------------------

let loaded = 0;
let total = 0;

function onBytes(count) {
  loaded += count;
  post("progress", { loaded, total });
}

async function startRuntime(threads) {
  const entry = manifest.page.find(({ file }) => file === RUNTIME);
  const packed = await load(entry, base, onBytes);
  const binary = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  ort = await import("./runtime/ort.wasm.min.mjs");
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = binary;
  ort.env.wasm.wasmPaths = { mjs: new URL("runtime/ort-wasm-simd-threaded.mjs", base).href };
  ort.env.wasm.numThreads = threads;
}

function usedThreads() {
  return self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
}

/** A session of the first variant of a graph that can be had and that the runtime takes. */
async function openGraph(graph) {
  let last = new FileProblem("The export has no variant of a graph that this page can read.");
  for (const variant of variants.filter((name) => name in graph.variants)) {
    const entry = graph.variants[variant];
    try {
      const bytes = await load(entry, base, onBytes);
      return await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], extra: QUIET });
    } catch (error) {
      last = error instanceof FileProblem ? error : new FileProblem(`${entry.file} cannot be run: ${error.message ?? error}`);
      problem(last.message, "Another variant of it is tried.");
    }
  }
  throw last;
}

async function sessionOf(name, graph) {
  sessions[name] ??= await openGraph(graph);
  return sessions[name];
}

const sizeOf = (graph) => {
  const name = variants.find((variant) => variant in graph.variants);
  return name ? graph.variants[name].bytes : 0;
};

async function open({ variant, threads }) {
  manifest = await loadManifest(base);
  if (variant) variants = [variant, ...VARIANTS.filter((name) => name !== variant)];
  total = sizeOf(manifest.graphs.step) + sizeOf(manifest.graphs.decoder);
  total += manifest.page.find(({ file }) => file === RUNTIME)?.bytes ?? 0;
  const count = self.crossOriginIsolated && threads ? threads : usedThreads();
  await startRuntime(count);
  await sessionOf("step", manifest.graphs.step);
  await sessionOf("decoder", manifest.graphs.decoder);
  await forgetOthers(manifest, base);
  post("opened", { threads: count, bytes: loaded, kept: await canKeep() });
}

async function openWorld({ name, seed }) {
  const world = manifest.worlds.find((one) => one.name === name);
  if (!world) throw new FileProblem(`There is no world ${name} in this export.`);
  const starts = readTensors(await load(world.starts, base, onBytes));
  const own = { step: sessions.step, decoder: sessions.decoder };
  if (world.agent) {
    try {
      own.agent = await sessionOf(`agent ${world.agent}`, manifest.agents[world.agent]);
    } catch (error) {
      problem(error.message, "You can play; the agent of this world cannot.");
    }
  }
  const random = seed === undefined ? new Random() : new Random(seed);
  const dream = new Dream(ort, manifest, own, world, starts, random);
  player ??= new Player(manifest, post, exclusively, (error) => problem(`The dream stopped: ${error.message ?? error}`, "Choose a world to begin anew."));
  player.play(dream);
  post("begun", { world: name, agent: Boolean(own.agent), bytes: loaded });
}

/** The graph of temperature 0 is loaded when it is asked for. */
async function setTemperature(temperature) {
  if (temperature === 0 && !player.dream.sessions.central) {
    try {
      player.dream.sessions.central = await sessionOf("central", manifest.graphs.central);
    } catch (error) {
      problem(error.message, "Temperatures above 0 work.");
      post("set", { temperature: player.dream.temperature });
      return;
    }
  }
  player.dream.temperature = temperature;
}

/** Load everything that there is, so that all worlds can be played without a connection. */
async function keep() {
  const graphs = [manifest.graphs.central, ...Object.values(manifest.agents)];
  const entries = graphs.map((graph) => graph.variants[variants.find((name) => name in graph.variants)]).filter(Boolean);
  entries.push(...manifest.worlds.flatMap(({ starts, poster }) => [starts, poster]));
  loaded = 0;
  total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const entry of entries) await load(entry, base, onBytes);
  post("kept");
}

// ---- measuring -------------------------------------------------------------------------------------------------------

/** How many steps and pictures a second this machine makes, while nothing is shown. */
async function measure({ repeats = 40 }) {
  const { dream } = player;
  const results = {};
  const work = { step: () => dream.imagine(new Set()), picture: () => dream.picture(dream.now.state.z) };
  for (const [name, run] of Object.entries(work)) {
    await run();
    const begin = performance.now();
    for (let repeat = 0; repeat < repeats; repeat++) await run();
    results[name] = (performance.now() - begin) / repeats;
  }
  post("measured", { step: results.step, picture: results.picture, both: 1000 / (results.step + results.picture) });
}

/** Whole dreams that the agent plays while nothing is shown: the return and the steps of each. */
async function score({ episodes }) {
  const { dream } = player;
  if (!dream.sessions.agent) throw new FileProblem("This world has no agent.");
  const returns = [];
  const steps = [];
  while (returns.length < episodes) {
    dream.begin();
    while (!dream.now.ended) dream.commit(await dream.imagine(await dream.agentButtons()));
    returns.push(dream.now.reward);
    steps.push(dream.now.steps);
  }
  player.restart();
  post("scored", { returns, steps });
}

/** Dream given actions from a given moment with given noise, to be compared with another implementation. */
async function replay({ start, actions, noise, temperature }) {
  const { dream } = player;
  await setTemperature(temperature);
  dream.begin(start);
  dream.drawing = { uniform: () => 0.5 };
  const pictures = [];
  const rewards = [];
  const continues = [];
  for (let step = 0; step < actions.length; step++) {
    dream.noise = Float32Array.from(noise[step]);
    const after = await dream.imagine(new Set(actions[step]));
    rewards.push(after.reward);
    continues.push(after.ended);
    dream.commit(after);
    pictures.push(await dream.picture(after.state.z, new Set(actions[step])));
  }
  player.beginStep();
  post("replayed", { pictures, rewards, ended: continues, z: dream.now.state.z });
}

// ---- messages --------------------------------------------------------------------------------------------------------

const always = { open, world: openWorld, keep };
const whilePlaying = {
  wanted: ({ names, at }) => player.want(names, at),
  visible: ({ visible }) => player.show(visible),
  set: async ({ temperature, agent, paused }) => {
    if (agent !== undefined) player.agentPlays = agent;
    if (paused !== undefined) player.pause(paused);
    if (temperature !== undefined) await setTemperature(temperature);
  },
  restart: () => player.restart(),
  single: () => player.single(),
  save: () => post("saved", player.save()),
  restore: ({ saved }) => player.restore(saved),
  measure,
  score,
  replay,
};
const AT_ONCE = ["wanted", "visible", "keep"]; // everything else waits for its turn, between two frames

let queue = Promise.resolve();

/** Run something when all that was asked for before is done. */
function exclusively(task) {
  const result = queue.then(task);
  queue = result.catch(() => {});
  return result;
}

let fatal = true; // until the dream can begin at all
self.onmessage = async ({ data }) => {
  const handler = () => (always[data.type] ?? (player ? whilePlaying[data.type] : () => {}))(data);
  try {
    await (AT_ONCE.includes(data.type) ? handler() : exclusively(handler));
    if (data.type === "open") fatal = false;
  } catch (error) {
    const text = error instanceof FileProblem ? error.message : `Something went wrong: ${error.message ?? error}`;
    const works = fatal ? "The pictures of the worlds can be looked at; nothing can be played." : "Other worlds can still be chosen.";
    problem(text, works, fatal);
  }
};
