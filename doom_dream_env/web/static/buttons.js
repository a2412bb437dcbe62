// From keys, touches and pads to the nine buttons of the game.

// Movement keys belong where they are on a keyboard from the US, whatever is printed there: these are places
// (`KeyboardEvent.code`), not letters. Control and Alt are left to the browser: Control and W would close the page.
export const KEYS = {
  ArrowUp: "MOVE_FORWARD",
  KeyW: "MOVE_FORWARD",
  ArrowDown: "MOVE_BACKWARD",
  KeyS: "MOVE_BACKWARD",
  KeyA: "MOVE_LEFT",
  Comma: "MOVE_LEFT",
  KeyD: "MOVE_RIGHT",
  Period: "MOVE_RIGHT",
  ArrowLeft: "TURN_LEFT",
  KeyQ: "TURN_LEFT",
  ArrowRight: "TURN_RIGHT",
  KeyE: "TURN_RIGHT",
  KeyJ: "ATTACK",
  KeyX: "ATTACK",
  Space: "USE",
  ShiftLeft: "SPEED",
  ShiftRight: "SPEED",
};

// In a world that lacks a button, the one that comes nearest to it.
const INSTEAD = {
  USE: "ATTACK",
  TURN_LEFT: "MOVE_LEFT",
  TURN_RIGHT: "MOVE_RIGHT",
  MOVE_LEFT: "TURN_LEFT",
  MOVE_RIGHT: "TURN_RIGHT",
};
const OPPOSITES = [
  ["MOVE_FORWARD", "MOVE_BACKWARD"],
  ["MOVE_LEFT", "MOVE_RIGHT"],
  ["TURN_LEFT", "TURN_RIGHT"],
];

/** Which of a world's buttons are pressed when these are wanted; opposites cancel. */
export function toButtons(wanted, worldButtons) {
  const names = [...wanted].map((name) => (worldButtons.includes(name) ? name : INSTEAD[name]));
  const pressed = new Set(names.filter((name) => worldButtons.includes(name)));
  for (const [one, other] of OPPOSITES) {
    if (pressed.has(one) && pressed.has(other)) {
      pressed.delete(one);
      pressed.delete(other);
    }
  }
  return pressed;
}

const AXES = [
  [1, -1, "MOVE_FORWARD"],
  [1, 1, "MOVE_BACKWARD"],
  [0, -1, "MOVE_LEFT"],
  [0, 1, "MOVE_RIGHT"],
  [2, -1, "TURN_LEFT"],
  [2, 1, "TURN_RIGHT"],
];
const PAD_BUTTONS = {
  0: "ATTACK", // A
  1: "USE", // B
  4: "SPEED", // left shoulder
  7: "ATTACK", // right trigger
  12: "MOVE_FORWARD", // the cross
  13: "MOVE_BACKWARD",
  14: "MOVE_LEFT",
  15: "MOVE_RIGHT",
};
const THRESHOLD = 0.4;

/** What a game pad of the standard layout presses. */
export function padButtons(pad) {
  const names = new Set();
  for (const [axis, sign, name] of AXES) if (sign * (pad.axes[axis] ?? 0) > THRESHOLD) names.add(name);
  for (const [index, name] of Object.entries(PAD_BUTTONS)) if (pad.buttons[index]?.pressed) names.add(name);
  return names;
}
