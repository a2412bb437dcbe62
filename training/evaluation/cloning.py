"""What clones of the scripted teachers are worth.

Legend: N environments, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doom_dream_env.agents.action_policy import ActionPolicy
from doom_dream_env.envs.base import EnvBatch
from doom_dream_env.envs.games import GameBatch
from doom_dream_env.envs.real import RealBatch
from doom_dream_env.evaluation import REAL_ENVS, EpisodeStatistics, evaluate_policy
from doom_dream_env.policies import Policy, RandomPolicy
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import BUTTONS, Scenario
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically, write_json
from training.data.latents import digest
from training.evaluation.tables import markdown_table, mean_and_margin
from training.metrics import event_f1
from training.players.base import PlayerPolicy
from training.players.roster import ADVISERS


class Watching:
    """Lets a teacher play and notes what a clone would have pressed; a `Policy`.

    Args:
        teacher: who plays.
        clone: who looks on, such as a greedy `ActionPolicy`. It is told what the teacher pressed before, not what it
            presses now.
    """

    def __init__(self, teacher: Policy, clone: ActionPolicy) -> None:
        self._teacher = teacher
        self._clone = clone
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []  # chosen, pressed, running and not at its beginning

    def __call__(self, batch: EnvBatch) -> Tensor:
        """What the teacher presses, (N, 9)."""
        pressed = self._teacher(batch)
        chosen = self._clone(batch)
        self._clone.press(batch, pressed)
        self._seen.append((chosen.cpu(), pressed.cpu(), ((batch.steps > 0) & ~batch.done).cpu()))
        return pressed

    def changes(self) -> tuple[dict[int, int], dict[int, int]]:
        """Where the clone foretold a change of buttons, and where the teacher changed them: step → buttons as a number.

        A change is foretold where the clone would press other buttons than were pressed last, so whoever repeats the
        last action foretells none; while it goes on to foretell the same, that is one change. Environments follow one
        another, far apart.
        """
        chosen, pressed, counts = (torch.stack(part) for part in zip(*self._seen, strict=True))  # T, N, …
        code = 2 ** torch.arange(len(BUTTONS))
        own = (chosen.long() * code).sum(-1).T.numpy()
        true = (pressed.long() * code).sum(-1).T.numpy()
        running = counts.T.numpy()[:, 1:]
        gap = true.shape[1] + 8
        found: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for events, what in zip(found, (own, true), strict=True):
            changes = (what[:, 1:] != true[:, :-1]) & running
            goes_on = changes[:, :-1] & (what[:, 2:] == what[:, 1:-1])
            changes[:, 1:] &= ~goes_on
            for env, step in np.argwhere(changes):
                events[int(env * gap + step)] = int(what[env, step + 1])
        return found


def change_scores(foretold: dict[int, int], happened: dict[int, int], shifts: int = 20) -> dict[str, float]:
    """F1 of foretold changes (within one step), and that of the same changes at other times, as many steps later."""
    steps = max([*foretold, *happened, 1]) + 1
    rng = np.random.default_rng(0)
    moved = [
        event_f1({(step + int(by)) % steps: what for step, what in foretold.items()}, happened)
        for by in rng.integers(5, max(steps - 5, 6), size=shifts)
    ]
    return {"f1": event_f1(foretold, happened), "f1_at_other_times": float(np.mean(moved)), "changes": len(happened)}


def score_clone(
    policy: ActionPolicy,
    model: WorldModel,
    scenarios: Sequence[Scenario],
    episodes: int,
    out: Path,
    first_seed: int = EVALUATION,
) -> dict[str, Any]:
    """Score a clone in the real game beside its teacher and random play; writes cloning.json and cloning.md.

    The scores of each scenario are kept on their own as soon as they are there: a killed run goes on.

    Args:
        policy: the clone.
        model: the weights that it sees through.
        scenarios: those with an adviser are scored beside it.
        episodes: of each player in each scenario; fewer where they last longer than a minute.
        out: folder of the report.
        first_seed: of the games.

    Returns:
        what cloning.json holds.
    """
    worlds = {
        scenario.name: kept_scores(
            policy, model, scenario, episodes, out / "scores" / f"{scenario.name}.json", first_seed
        )
        for scenario in progress(scenarios, desc="scores", unit="scenario", leave=False)
        if scenario.name in ADVISERS
    }
    about = {
        "fingerprint": model.fingerprint,
        "parameters": policy.network.parameter_count,
        "mean_share": float(np.mean([world["share"] for world in worlds.values()])),
        "mean_f1": float(np.nanmean([world["f1"] for world in worlds.values()])),
        "scenarios": worlds,
    }
    write_json(out / "cloning.json", about)
    write_atomically(out / "cloning.md", clone_table(about).encode())
    print(clone_table(about), flush=True)
    return about


def kept_scores(
    policy: ActionPolicy, model: WorldModel, scenario: Scenario, episodes: int, path: Path, first_seed: int
) -> dict[str, Any]:
    """The scores of one scenario from a file, or made now and written there; others are made anew."""
    same = {"policy": digest(policy.network), "asked": episodes, "first_seed": first_seed}
    found = {"first_seed": EVALUATION} | read_json(path) if path.exists() else {}
    if not same.items() <= found.items():
        found = score_in(policy, model, scenario, episodes, first_seed) | same
        write_json(path, found)
    return found


def score_in(
    policy: ActionPolicy, model: WorldModel, scenario: Scenario, episodes: int, first_seed: int
) -> dict[str, Any]:
    """The scores of one scenario, on seeds from `first_seed` up."""
    wanted = max(1, episodes * min(scenario.time_limit, 525) // scenario.time_limit)
    make = ADVISERS[scenario.name]
    watching = Watching(PlayerPolicy(lambda rng: make(scenario, rng)), ActionPolicy(policy.network, greedy=True))
    envs = min(wanted, REAL_ENVS)
    real = RealBatch(envs, scenario.name, privileged=True, weights=model, map=scenario.map)
    try:
        teacher = evaluate_policy(real, watching, wanted, first_seed, f"{scenario.name}, teacher")
        clone = evaluate_policy(real, policy, wanted, first_seed, f"{scenario.name}, clone")
    finally:
        real.close()
    games = GameBatch(envs, scenario.name, map=scenario.map)
    try:
        chance = evaluate_policy(games, RandomPolicy(), wanted, first_seed, f"{scenario.name}, random")
    finally:
        games.close()
    span = teacher.mean - chance.mean
    played: dict[str, EpisodeStatistics] = {"clone": clone, "teacher": teacher, "random": chance}
    scores: dict[str, Any] = {name: {"mean": s.mean, "margin_95": s.margin} for name, s in played.items()}
    share = (clone.mean - chance.mean) / span if span else float("nan")
    return scores | {"episodes": wanted, "share": share} | change_scores(*watching.changes())


def clone_table(about: dict[str, Any]) -> str:
    """The scores in Markdown."""
    rows = []
    for name, world in about["scenarios"].items():
        means = [mean_and_margin(world[who]["mean"], world[who]["margin_95"]) for who in ("random", "clone", "teacher")]
        changes = [f"{world[key]:.2f}" for key in ("f1", "f1_at_other_times")]
        rows.append((name, *means, f"{world['share']:.2f}", *changes, str(world["changes"])))
    rows.append(("mean", "", "", "", f"{about['mean_share']:.2f}", f"{about['mean_f1']:.2f}", "", ""))
    header = ("scenario", "random", "clone", "teacher", "share", "F1 of changes", "at other times", "changes")
    return markdown_table(header, rows)
