// Whatever a person presses: keys, the picture, the pads of a touch screen, a game pad.

import { KEYS, padButtons } from "./buttons.js";

// The pads of a touch screen: name of the button, sign, label, row and column.
const LEFT = [
  ["TURN_LEFT", "↶", "turn left", 1, 1],
  ["MOVE_FORWARD", "↑", "forward", 1, 2],
  ["TURN_RIGHT", "↷", "turn right", 1, 3],
  ["MOVE_LEFT", "←", "step left", 2, 1],
  ["MOVE_BACKWARD", "↓", "back", 2, 2],
  ["MOVE_RIGHT", "→", "step right", 2, 3],
];
const RIGHT = [
  ["USE", "◉", "use", 1, 1],
  ["SPEED", "»", "run", 1, 2],
  ["ATTACK", "✸", "attack", 2, 1],
];

/** Does the focused element want this key for itself? */
function taken(event) {
  const { target } = event;
  if (event.ctrlKey || event.altKey || event.metaKey) return true;
  if (target.closest?.("dialog, input, select, textarea")) return true;
  return Boolean(target.closest?.("button, summary, a")) && ["Space", "Enter", "NumpadEnter", "ArrowUp", "ArrowDown"].includes(event.code);
}

export class Input {
  /**
   * @param elements `{stage, left, right}`: the picture and where the pads go.
   * @param onChange is told the names of all buttons that are wanted, and when that was decided.
   * @param commands functions by `KeyboardEvent.key` in lower case.
   */
  constructor({ stage, left, right }, onChange, commands) {
    this.onChange = onChange;
    this.sources = new Map(); // what each key, finger or pad presses
    this.gamepad = new Set();
    this.active = false; // is a world on the page?
    this.areas = [left, right];
    addEventListener("keydown", (event) => this.key(event, true, commands));
    addEventListener("keyup", (event) => this.key(event, false, commands));
    addEventListener("blur", () => this.releaseAll());
    stage.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button !== 0) return;
      stage.setPointerCapture(event.pointerId);
      this.press(`mouse ${event.pointerId}`, "ATTACK", event);
    });
    for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
      stage.addEventListener(type, (event) => this.release(`mouse ${event.pointerId}`, event));
    }
    for (const area of this.areas) this.watchFingers(area);
    this.poll = this.poll.bind(this);
    addEventListener("gamepadconnected", () => requestAnimationFrame(this.poll));
  }

  now(event) {
    return performance.timeOrigin + (event?.timeStamp || performance.now());
  }

  changed(event) {
    this.onChange([...new Set([...this.sources.values(), ...this.gamepad])], this.now(event));
  }

  press(source, name, event) {
    if (this.sources.get(source) === name) return;
    this.sources.set(source, name);
    this.changed(event);
  }

  release(source, event) {
    if (this.sources.delete(source)) this.changed(event);
  }

  releaseAll() {
    if (!this.sources.size) return;
    this.sources.clear();
    this.changed();
  }

  key(event, down, commands) {
    const name = KEYS[event.code];
    if (!down) {
      if (name) this.release(event.code, event);
      return;
    }
    if (!this.active || taken(event)) return;
    const command = commands[event.key.toLowerCase()];
    if (name) {
      event.preventDefault();
      if (!event.repeat) this.press(event.code, name, event);
    } else if (command && !event.repeat) {
      event.preventDefault();
      command();
    }
  }

  // ---- fingers ---------------------------------------------------------------------------------------------------------

  /** Put the pads of a world's buttons on the page. */
  showPads(worldButtons) {
    for (const [area, pads] of [
      [this.areas[0], LEFT],
      [this.areas[1], RIGHT],
    ]) {
      const used = pads.filter(([name]) => worldButtons.includes(name));
      const firstRow = Math.min(...used.map(([, , , row]) => row));
      area.replaceChildren(
        ...used.map(([name, sign, label, row, column]) => {
          const pad = document.createElement("button");
          pad.dataset.button = name;
          pad.innerHTML = `<b aria-hidden="true">${sign}</b>${label}`;
          pad.style.gridArea = `${row - firstRow + 1} / ${column}`;
          if (name === "ATTACK") pad.style.gridColumn = "1 / 3";
          return pad;
        }),
      );
    }
  }

  /** A finger presses whatever pad it is on, and may slide to the next. */
  watchFingers(area) {
    const under = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-button]");
    const follow = (event) => {
      const source = `finger ${event.pointerId}`;
      const pad = under(event);
      if (pad) this.press(source, pad.dataset.button, event);
      else this.release(source, event);
      this.mark();
    };
    area.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      area.setPointerCapture(event.pointerId);
      follow(event);
    });
    area.addEventListener("pointermove", (event) => {
      if (area.hasPointerCapture(event.pointerId)) follow(event);
    });
    for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
      area.addEventListener(type, (event) => {
        this.release(`finger ${event.pointerId}`, event);
        this.mark();
      });
    }
    area.addEventListener("contextmenu", (event) => event.preventDefault());
    // With a keyboard or a screen reader, a pad is a button like others: held while Space or Enter is.
    area.addEventListener("keydown", (event) => {
      const pad = event.target.closest("[data-button]");
      if (pad && ["Space", "Enter"].includes(event.code)) this.press(`pad ${pad.dataset.button}`, pad.dataset.button, event);
    });
    area.addEventListener("keyup", (event) => {
      const pad = event.target.closest("[data-button]");
      if (pad) this.release(`pad ${pad.dataset.button}`, event);
    });
  }

  mark() {
    const pressed = new Set(this.sources.values());
    for (const area of this.areas) {
      for (const pad of area.children) pad.classList.toggle("down", pressed.has(pad.dataset.button));
    }
  }

  // ---- game pads -------------------------------------------------------------------------------------------------------

  poll() {
    const pad = navigator.getGamepads().find((one) => one?.mapping === "standard");
    const names = pad ? padButtons(pad) : new Set();
    if (names.size !== this.gamepad.size || [...names].some((name) => !this.gamepad.has(name))) {
      this.gamepad = names;
      this.changed();
    }
    if (navigator.getGamepads().some(Boolean)) requestAnimationFrame(this.poll);
  }
}
