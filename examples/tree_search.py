"""Search a tree of dreams: save one, try every action from it, save what comes, keep the best few, and go on (a beam).

python examples/tree_search.py --scenario defend_the_center --depth 12 --beam 8

Every node is a saved dream (`get_state`), every edge an action held for a few steps. In the end the best branch is
played again from the root: under the same luck it brings the same return.
"""

import argparse
from dataclasses import dataclass, field
from typing import Any

import torch

from doom_dream_env.envs import DreamBatch
from doom_dream_env.scenarios import get_scenario


@dataclass
class Node:
    """A dream that can be gone back to."""

    saved: dict[str, Any]
    total: float = 0.0  # rewards from the root to here
    ended: bool = False
    actions: list[int] = field(default_factory=list)


def expand(dream: DreamBatch, node: Node, action: int, hold: int) -> Node:
    """Go on from a node by an action held for some steps."""
    dream.set_state(node.saved)
    total = node.total
    for _ in range(hold):
        _, reward, _, _ = dream.step(torch.tensor([action]), allow_ended=True)
        total += float(reward)
    return Node(dream.get_state(), total, bool(dream.done), [*node.actions, action])


def search(dream: DreamBatch, root: Node, depth: int, beam: int, hold: int) -> Node:
    """The node of the greatest return that the beam comes to; those that have not ended come first."""
    actions = range(len(dream.action_table))
    nodes = [root]
    for _ in range(depth):
        children = [expand(dream, node, action, hold) for node in nodes if not node.ended for action in actions]
        found = sorted([*children, *(node for node in nodes if node.ended)], key=lambda n: (n.ended, -n.total))
        nodes = found[:beam]
    return nodes[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="defend_the_center", help="which scenario to dream of")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--depth", type=int, default=12, help="actions in a row")
    parser.add_argument("--beam", type=int, default=8, help="nodes that are kept at each depth")
    parser.add_argument("--hold", type=int, default=3, help="steps that each action lasts")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dream")
    args = parser.parse_args()

    dream = DreamBatch(1, args.scenario, weights=args.weights)
    dream.reset(seed=args.seed)
    root = Node(dream.get_state())
    names = ["nothing", *reversed(get_scenario(args.scenario).buttons)]
    best = search(dream, root, args.depth, args.beam, args.hold)
    print(f"best branch: return {best.total:.2f}, {'ended' if best.ended else 'still alive'}")
    print(" ".join(names[action] for action in best.actions))
    again = root
    for action in best.actions:
        again = expand(dream, again, action, args.hold)
    print(f"played again: return {again.total:.2f}")


if __name__ == "__main__":
    main()
