// The clock of a dream: steps of 4/35 s, shown at up to 35 frames a second.
//
// The states between two steps are moved evenly from one to the next and decoded too. When the buttons change during a
// step it is dreamed again from where it began, with the same chances: so a key is seen at once, and the dream stays
// what it is. Where the machine is too slow, frames between steps are left out first; then the game goes more slowly.

import { toButtons } from "./buttons.js";

const LINGER = 35; // frames for which the end of an episode is shown
const SHADE = 0.4; // brightness of its picture

export class Player {
  /**
   * @param manifest of the export.
   * @param post sends a message to the page.
   * @param exclusively runs something when all that was asked for before is done.
   * @param onError is told what stopped the clock.
   */
  constructor(manifest, post, exclusively, onError) {
    Object.assign(this, { manifest, post, exclusively, onError });
    this.frameTime = 1000 / manifest.tics_per_second;
    this.agentPlays = false;
    this.paused = false;
    this.visible = true;
    this.held = []; // what the person wants pressed now
    this.tapped = new Set(); // what was wanted for a moment in this step: no tap is lost
    this.owed = 0; // tics of a single step still to come
    this.frames = 0;
    this.times = { step: 0, picture: 0 };
    this.next = 0;
    this.running = false;
    this.changed = null; // when the keys changed to which no picture has answered yet
    this.answers = null; // the same, of the picture that is being made
  }

  /** Begin a dream, and the clock. */
  play(dream) {
    if (this.dream) {
      dream.temperature = this.dream.temperature;
      dream.sessions.central = this.dream.sessions.central;
    }
    this.dream = dream;
    this.tics = dream.world.tics_per_step;
    this.paused = false;
    this.owed = 0;
    if (!dream.sessions.agent) this.agentPlays = false;
    this.restart();
    if (!this.running) this.run();
  }

  restart(index) {
    this.dream.begin(index);
    this.beginStep();
    this.stale = true;
  }

  beginStep() {
    this.phase = 0;
    this.after = null;
    this.pressed = new Set();
    this.shown = this.dream.now.state.z;
    this.linger = LINGER;
    this.tapped.clear();
  }

  // ---- what the page asks for ----------------------------------------------------------------------------------------

  /** Take in which buttons are wanted from now on, and when (milliseconds of the epoch) that was decided. */
  want(names, at) {
    for (const name of names) if (!this.held.includes(name)) this.tapped.add(name);
    this.held = names;
    this.changed ??= at;
  }

  pause(paused) {
    this.paused = paused;
    this.owed = 0;
    this.stale = true;
  }

  /** Pause, but go on to the end of the step, or by one whole step. */
  single() {
    this.paused = true;
    this.owed = this.tics - this.phase;
  }

  show(visible) {
    this.visible = visible;
    this.stale = visible;
  }

  save() {
    return { saved: this.dream.save(), picture: this.last };
  }

  restore(saved) {
    if (saved.world !== this.dream.world.name) return;
    this.dream.restore(saved);
    this.beginStep();
    this.stale = true;
  }

  // ---- time ----------------------------------------------------------------------------------------------------------

  async run() {
    this.running = true;
    this.next = performance.now();
    while (this.running) {
      const wait = this.next - performance.now();
      await new Promise((resolve) => setTimeout(resolve, Math.max(wait, 0)));
      const late = Math.floor((performance.now() - this.next) / this.frameTime);
      this.next += this.frameTime * (1 + Math.max(late, 0));
      try {
        await this.exclusively(() => this.tick(1 + Math.max(late, 0)));
      } catch (error) {
        this.running = false;
        this.onError(error);
      }
    }
  }

  /** Go on by some tics, at most to the end of the step, and show where that leads. */
  async tick(tics) {
    if (!this.visible) return;
    if (this.paused && !this.owed) {
      if (this.stale) await this.draw();
      return;
    }
    if (this.dream.now.ended) {
      this.linger -= tics;
      if (this.linger <= 0) this.restart();
      else if (this.stale) await this.draw();
      return;
    }
    await this.choose();
    const left = this.tics - this.phase;
    const count = Math.min(tics, left);
    const target = this.after.state.z;
    this.shown = this.shown.map((value, index) => value + ((target[index] - value) * count) / left);
    if (this.paused) this.owed = Math.max(this.owed - count, 0);
    this.phase += count;
    if (this.phase === this.tics) {
      this.dream.commit(this.after);
      this.beginStep();
    }
    await this.draw();
  }

  /** Dream the step if it begins here, or again if other buttons are pressed now. */
  async choose() {
    let pressed = this.pressed;
    if (this.agentPlays) {
      if (this.phase === 0) pressed = await this.dream.agentButtons();
    } else {
      pressed = toButtons(new Set([...this.held, ...this.tapped]), this.dream.world.buttons);
    }
    const same = pressed.size === this.pressed.size && [...pressed].every((name) => this.pressed.has(name));
    if (this.after && same) return;
    const begin = performance.now();
    this.after = await this.dream.imagine(pressed);
    this.times.step = performance.now() - begin;
    this.pressed = pressed;
    if (this.changed) this.answers = this.changed; // this picture is the first that shows the change of the keys
    this.changed = null;
  }

  async draw() {
    this.stale = false;
    const begin = performance.now();
    const pixels = await this.dream.picture(this.shown, this.pressed);
    this.times.picture = performance.now() - begin;
    const moment = this.after ?? this.dream.now;
    const { ended } = this.dream.now;
    if (ended) for (let index = 0; index < pixels.length; index++) if (index % 4 < 3) pixels[index] *= SHADE;
    this.last = pixels.slice();
    this.frames += 1;
    const status = {
      world: this.dream.world.name,
      step: this.dream.now.steps,
      seconds: (this.dream.now.steps + this.phase / this.tics) * (this.tics / this.manifest.tics_per_second),
      reward: moment.reward,
      drift: moment.drift,
      variables: this.dream.variables(moment),
      pressed: [...this.pressed],
      temperature: this.dream.temperature,
      agent: this.agentPlays,
      paused: this.paused,
      whole: this.phase === 0,
      ended,
      frames: this.frames,
      times: { ...this.times },
      answered: this.answers ?? null,
    };
    this.answers = null;
    this.post("frame", { pixels, status }, [pixels.buffer]);
  }
}
