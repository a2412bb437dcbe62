// One dream: what it remembers, its steps, its pictures. The arithmetic is that of the exported graphs.

import { Random } from "./random.js";

const ARRAYS = { float32: Float32Array, int64: BigInt64Array };
const volume = (shape) => shape.reduce((product, size) => product * size, 1);

/** Sample the ending of an episode with what was drawn for it; at temperature 0 the likelier of the two. */
function ends(continues, temperature, chance) {
  return temperature > 0 ? chance >= continues : continues < 0.5;
}

export class Dream {
  /**
   * @param ort ONNX Runtime.
   * @param manifest of the export.
   * @param sessions `{step, decoder, central, agent}`; the last two may be missing.
   * @param world an entry of `manifest.worlds`.
   * @param starts its first moments, from `readTensors`.
   */
  constructor(ort, manifest, sessions, world, starts, random = new Random()) {
    Object.assign(this, { ort, manifest, sessions, world, starts, random });
    this.temperature = 1;
    this.drawing = new Random(); // chance of pictures, which is none of the dream's
  }

  /** Begin an episode at one of the real first moments, drawn at random or given. */
  begin(index = this.random.below(this.starts.z.shape[0])) {
    const state = {};
    for (const [name, { type, shape }] of Object.entries(this.manifest.state)) {
      const { data, shape: stored } = this.starts[name];
      const size = volume(stored.slice(1));
      const own = data.slice(index * size, (index + 1) * size);
      state[name] = size === volume(shape) ? own : padded(own, stored.slice(1), shape, ARRAYS[type]);
    }
    this.forgetPicture();
    const features = new Float32Array([...state.z, ...state.h, ...state.variables.map((v, i) => v / this.manifest.scales[i])]);
    let square = 0;
    for (const value of state.z) square += value * value;
    this.now = { state, features, drift: square / state.z.length - 1, steps: 0, reward: 0, ended: "" };
    this.drawChance();
  }

  /** All the chance of the next step; it stays the same however often that is dreamed. */
  drawChance() {
    this.noise = Float32Array.from({ length: this.manifest.noise_width }, () => this.random.uniform());
    this.endChance = this.random.uniform();
  }

  /** What pressing these buttons (names) leads to; nothing is decided until `commit`. */
  async imagine(pressed) {
    const { Tensor } = this.ort;
    const feeds = {};
    for (const [name, { type, shape }] of Object.entries(this.manifest.state)) {
      feeds[name] = new Tensor(type, this.now.state[name], [1, ...shape]);
    }
    const action = Float32Array.from(this.manifest.buttons, (name) => (pressed.has(name) ? 1 : 0));
    feeds.action = new Tensor("float32", action, [1, action.length]);
    feeds.noise = new Tensor("float32", this.noise, [1, this.noise.length]);
    feeds.temperature = new Tensor("float32", Float32Array.of(this.temperature), []);
    const central = this.temperature === 0;
    const session = central ? this.sessions.central : this.sessions.step;
    const found = await session.run(Object.fromEntries(session.inputNames.map((name) => [name, feeds[name]])));
    const state = {};
    for (const name of Object.keys(this.manifest.state)) state[name] = found[`next_${name}`]?.data ?? this.now.state[name];
    const steps = this.now.steps + 1;
    let ended = "";
    if (ends(found.continues.data[0], this.temperature, this.endChance)) ended = this.whyEnded(state);
    else if (steps >= this.world.time_limit) ended = "time is up";
    const reward = this.now.reward + found.reward.data[0];
    return { state, features: found.features.data, drift: found.drift.data[0], steps, reward, ended };
  }

  whyEnded(state) {
    const health = this.manifest.variables.indexOf("HEALTH");
    const mortal = this.world.variables.includes("HEALTH");
    return mortal && state.variables[health] <= 0 ? "dead" : "the episode ends";
  }

  /** Let what was imagined be so. */
  commit(after) {
    this.now = after;
    this.drawChance();
  }

  /** The buttons (names) that the agent presses now. */
  async agentButtons() {
    const { features } = this.now;
    const feeds = { features: new this.ort.Tensor("float32", features, [1, features.length]) };
    const { probabilities } = await this.sessions.agent.run(feeds);
    const { buttons } = this.manifest;
    if (this.manifest.agents[this.world.agent].buttons) {
      return new Set(buttons.filter((_, index) => this.random.uniform() < probabilities.data[index]));
    }
    const row = this.world.actions[this.random.choose(probabilities.data)];
    return new Set(buttons.filter((_, index) => row[index]));
  }

  /** The next picture follows none. */
  forgetPicture() {
    this.codes = new BigInt64Array(volume(this.manifest.drawing.codes)).fill(-1n);
  }

  /** The picture of a state z, drawn given the one before and the buttons (names) since then, as RGBA for a canvas. */
  async picture(z, pressed = new Set()) {
    const { Tensor } = this.ort;
    const { codes, luck } = this.manifest.drawing;
    const action = Float32Array.from(this.manifest.buttons, (name) => (pressed.has(name) ? 1 : 0));
    const chance = Float32Array.from({ length: volume(luck) }, () => this.drawing.uniform());
    const found = await this.sessions.decoder.run({
      z: new Tensor("float32", z, [1, z.length]),
      codes: new Tensor("int64", this.codes, [1, ...codes]),
      action: new Tensor("float32", action, [1, action.length]),
      luck: new Tensor("float32", chance, [1, ...luck]),
    });
    this.codes = found.next_codes.data;
    const rgb = found.pixels.data;
    const rgba = new Uint8ClampedArray((rgb.length / 3) * 4);
    for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
      rgba[to] = rgb[from];
      rgba[to + 1] = rgb[from + 1];
      rgba[to + 2] = rgb[from + 2];
      rgba[to + 3] = 255;
    }
    return rgba;
  }

  /** The predicted game variables that this world has, by name. */
  variables(moment = this.now) {
    const pairs = this.manifest.variables.map((name, index) => [name, moment.state.variables[index]]);
    return Object.fromEntries(pairs.filter(([name]) => this.world.variables.includes(name)));
  }

  /** Everything that decides how the dream goes on. Moments are never changed in place, so nothing is copied. */
  save() {
    return { world: this.world.name, now: this.now, noise: this.noise, endChance: this.endChance, random: this.random.state };
  }

  /** Go back to what `save` returned. */
  restore(saved) {
    this.forgetPicture();
    this.now = saved.now;
    this.noise = saved.noise;
    this.endChance = saved.endChance;
    this.random.state = saved.random;
  }
}

/** Values of which only the newest of a window are there, with zeros for the older ones: (…, 1, E) → (…, W, E). */
function padded(values, from, to, Kind) {
  const axis = from.findIndex((size, index) => size !== to[index]);
  const whole = new Kind(volume(to));
  const block = volume(from.slice(axis));
  const room = volume(to.slice(axis));
  for (let part = 0; part * block < values.length; part++) {
    whole.set(values.subarray(part * block, (part + 1) * block), (part + 1) * room - block);
  }
  return whole;
}
