"""Step a dream in plain ONNX Runtime, without torch and without this package: only the exported folder is needed.

dream-doom export --out dream && python examples/onnx_dream.py --folder dream --steps 50
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from safetensors.numpy import load_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("dream"), help="what `dream-doom export` wrote")
    parser.add_argument("--world", help="which world to dream of (default: the first)")
    parser.add_argument("--steps", type=int, default=50, help="steps to dream")
    parser.add_argument("--temperature", type=float, default=1.0, help="above 0; 1: the learned distribution")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    parser.add_argument("--picture", type=Path, default=Path("dream.png"), help="where to save the last picture")
    args = parser.parse_args()

    manifest = json.loads((args.folder / "manifest.json").read_text("utf-8"))
    world = next(world for world in manifest["worlds"] if args.world in (None, world["name"]))

    def session(graph: dict) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(args.folder / graph["variants"]["float32"]["file"])

    def run(session: onnxruntime.InferenceSession, values: dict) -> dict:
        names = [output.name for output in session.get_outputs()]
        taken = {value.name: values[value.name] for value in session.get_inputs()}
        return dict(zip(names, session.run(names, taken), strict=True))

    step, decoder = session(manifest["graphs"]["step"]), session(manifest["graphs"]["decoder"])
    agent = session(manifest["agents"][world["agent"]]) if world["agent"] else None
    table = np.array(world["actions"], np.float32)  # buttons of each action
    rng = np.random.default_rng(args.seed)

    # A first moment of a real episode. Of the cache only the newest step is stored; older ones are zeros.
    starts = load_file(args.folder / world["starts"]["file"])
    chosen = int(rng.integers(len(starts["z"])))
    state = {name: values[chosen : chosen + 1] for name, values in starts.items()}
    window = manifest["state"]["cache"]["shape"][2]
    state["cache"] = np.pad(state["cache"], [(0, 0), (0, 0), (0, 0), (window - 1, 0), (0, 0)])
    features = np.concatenate([state["z"], state["h"], state["variables"] / np.float32(manifest["scales"])], -1)

    total = 0.0
    for number in range(1, args.steps + 1):  # noqa: B007  said below
        action = rng.integers(len(table))
        if agent is not None:
            probabilities = run(agent, {"features": features})["probabilities"][0].astype(np.float64)
            action = rng.choice(len(table), p=probabilities / probabilities.sum())
        chance = {
            "action": table[action][None],
            "noise": rng.random((1, manifest["noise_width"]), np.float32),
            "temperature": np.array(args.temperature, np.float32),
        }
        after = run(step, state | chance)
        state |= {name.removeprefix("next_"): value for name, value in after.items() if name.startswith("next_")}
        features = after["features"]
        total += float(after["reward"][0])
        if rng.random() >= after["continues"][0]:
            break
    variables = dict(zip(manifest["variables"], state["variables"][0].tolist(), strict=True))
    print(f"{number} steps, return {total:.1f}, {', '.join(f'{k} {v:g}' for k, v in variables.items())}")
    drawing = manifest["drawing"]
    chance["codes"] = np.full((1, *drawing["codes"]), -1)  # of the picture before, of which nothing is known here
    chance["luck"] = rng.random((1, *drawing["luck"]), np.float32)
    Image.fromarray(run(decoder, state | chance)["pixels"][0]).resize((640, 480)).save(args.picture)


if __name__ == "__main__":
    main()
