"""What an agent that learned in dreams of things alone is worth in the game.

    python -m training things-agents --weights runs/things/things.safetensors --data data --scenario take_cover
    python -m training things-agents ... --eye runs/things/eye.safetensors      # the same agent, from frames alone

PPO learns in drawn dreams that begin at real moments. In the game it is told where things are, either by the game or by
the eye and the tracker. It needs a scenario with an action table.

Legend: B dreams, K slots, n actions.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize
from torch import Tensor

from doom_dream_env.errors import UserError
from doom_dream_env.game.game import Game
from doom_dream_env.game.things import Watch
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import Buttons, Scenario, get_scenario
from doom_dream_env.world_model.files import read_checked
from doom_dream_env.world_model.things.dynamics import ThingsDynamics
from doom_dream_env.world_model.things.eye import Eye
from doom_dream_env.world_model.things.features import LIMIT, WIDTH, features
from doom_dream_env.world_model.things.state import FORGOTTEN_AFTER, Things
from doom_dream_env.world_model.things.tracker import Tracker
from training.config import ThingsAgentsConfig
from training.data.things import UNLOCATED, Kinds, ThingsData
from training.evaluation.things import held_out
from training.models.things import AVERAGE, load_dynamics

DREAMS = 64
ROLLOUT = 128  # steps of each dream between two updates
ANYWHERE = 0.3  # share of the dreams that begin anywhere in an episode, the others at its beginning
SETTINGS: dict[str, Any] = {
    "batch_size": 1024,
    "n_epochs": 4,
    "learning_rate": 6e-4,
    "gamma": 0.997,
    "ent_coef": 0.01,
    "policy_kwargs": {"net_arch": [128, 128], "activation_fn": torch.nn.Tanh},
}


class ThingsDreams(VecEnv):
    """Dreams of things for Stable-Baselines3: features in, indices of actions out.

    Args:
        model: who dreams.
        data: where dreams begin.
        scenario: one with an action table.
        seed: of beginnings and draws.
        count: B.
    """

    def __init__(
        self, model: ThingsDynamics, data: ThingsData, scenario: Scenario, seed: int, count: int = DREAMS
    ) -> None:
        self.model = model
        self.data = data
        self.table = torch.from_numpy(scenario.action_table()).float()
        self.limit = scenario.time_limit
        self._generator = torch.Generator().manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._beginnings = np.flatnonzero(data.since == 0)
        self.render_mode = None
        space = gym.spaces.Box(-LIMIT, LIMIT, (WIDTH,), np.float32)
        super().__init__(count, space, gym.spaces.Discrete(len(self.table)))

    def _begin(self, count: int) -> Things:
        rows = self._rng.choice(self._beginnings, count)
        anywhere = self._rng.random(count) < ANYWHERE
        return self.data.state(np.where(anywhere, self._rng.integers(self.data.n, size=count), rows))

    def _seen(self, things: Things) -> npt.NDArray[np.float32]:
        return features(things, self.model.groups, self.model.scales).numpy()

    def reset(self) -> npt.NDArray[np.float32]:
        """Begin all dreams."""
        self._things = self._begin(self.num_envs)
        self._steps = np.zeros(self.num_envs, np.int64)
        return self._seen(self._things)

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = torch.from_numpy(np.asarray(actions))

    def step_wait(self) -> Any:
        """One dreamed step; what has ended begins anew."""
        things, reward, ended = self.model.step(self._things, self.table[self._actions], self._generator)
        self._steps += 1
        terminated = ended.numpy()
        done = terminated | (self._steps >= self.limit)
        seen = self._seen(things)
        infos: list[dict[str, Any]] = [{} for _ in done]
        if done.any():
            for index in np.flatnonzero(done):
                last = {"terminal_observation": seen[index].copy(), "TimeLimit.truncated": not terminated[index]}
                infos[index] = last
            new = self._begin(int(done.sum()))
            lanes = torch.from_numpy(np.flatnonzero(done))
            things = Things(
                **{
                    field.name: getattr(things, field.name).index_copy(0, lanes, getattr(new, field.name))
                    for field in dataclasses.fields(Things)
                }
            )
            self._steps[done] = 0
            seen[done] = self._seen(new)
        self._things = things
        return seen, reward.numpy(), done, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same attribute for every dream."""
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all dreams."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Dreams have no methods of their own."""
        raise NotImplementedError(method_name)

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No dream is."""
        return [False] * self.num_envs


class ToldThings:
    """Things of a running game, as the game itself knows them: the last minutes as a shard without a file.

    Args:
        game: a privileged one.
        model: whose kinds and scenarios count; others are left out.
    """

    def __init__(self, game: Game, model: ThingsDynamics) -> None:
        self.game = game
        self.kinds = Kinds(list(model.config.kinds), list(model.config.groups))
        self.scenarios = model.config.scenarios

    def begin(self) -> Things:
        """The first moment of an episode."""
        self._watch = Watch(self.game)
        self._rows: list[dict[str, Any]] = []
        return self._now()

    def step(self, buttons: Buttons) -> tuple[Things | None, float]:
        """What is there after one step, None after the end, and the reward."""
        reward, terminated, truncated = self.game.step(buttons)
        if terminated or truncated:
            return None, reward
        self._rows[-1]["action"] = buttons
        return self._now(), reward

    def _now(self) -> Things:
        self._rows.append(
            {
                "things": [thing for thing in self._watch.look() if thing.name in self.kinds.names],
                "pose": self.game.pose(),
                "var": self.game.variables,
                "depth": self._watch.walls(),
                "action": np.zeros(9, np.uint8),
                "elapsed": len(self._rows),
            }
        )
        rows = self._rows[-FORGOTTEN_AFTER - 1 :]
        things = [thing for row in rows for thing in row["things"]]
        count = len(rows)
        shard = {
            "scenario": self.game.scenario.name,
            "kinds": list(zip(self.kinds.names, self.kinds.groups, strict=True)),
            "count": np.array([len(row["things"]) for row in rows], np.int16),
            "id": np.array([thing.id for thing in things], np.int32),
            "kind": np.array([self.kinds.names.index(thing.name) for thing in things], np.int16),
            "pos": np.array([thing.position for thing in things], np.float32).reshape(-1, 3),
            "vel": np.array([thing.velocity for thing in things], np.float16).reshape(-1, 3),
            "box": np.array([thing.box for thing in things], np.int16).reshape(-1, 4),
            **{name: np.stack([row[name] for row in rows]) for name in ("pose", "var", "depth", "action")},
            "elapsed": np.array([row["elapsed"] for row in rows], np.int16),
            "episode": np.zeros(count, np.int32),
        }
        data = ThingsData([shard], self.kinds, self.scenarios, ())
        return data.state(np.array([count - 1]))


class SeenThings:
    """Things of a running game by its frames alone.

    Args:
        game: any.
        dynamics: who predicts.
        eye: who looks.
    """

    def __init__(self, game: Game, dynamics: ThingsDynamics, eye: Eye) -> None:
        self.game = game
        self.eye = eye
        self.tracker = Tracker(dynamics)
        self.scenario = torch.tensor([dynamics.config.scenarios.index(game.scenario.name)])

    @torch.inference_mode()
    def begin(self) -> Things:
        """The first moment of an episode."""
        located = torch.tensor([float(self.game.scenario.name not in UNLOCATED)])
        self._things = self.tracker.begin(self._look(), self._variables(), self.scenario, located)
        return self._things

    @torch.inference_mode()
    def step(self, buttons: Buttons) -> tuple[Things | None, float]:
        """What is there after one step, None after the end, and the reward."""
        reward, terminated, truncated = self.game.step(buttons)
        if terminated or truncated:
            return None, reward
        action = torch.from_numpy(buttons).float()[None]
        self._things = self.tracker.advance(self._things, action, self._look(), self._variables())
        return self._things, reward

    def _look(self) -> Any:
        return self.eye(torch.from_numpy(self.game.frame[None].copy()), self.scenario)

    def _variables(self) -> Tensor:
        return torch.from_numpy(self.game.variables)[None]


def load_eye(path: Path, model: ThingsDynamics) -> Eye:
    """The averaged eye of a checkpoint of the stage eye.

    Raises:
        ValueError: if it is damaged, or was trained for other dynamics.
    """
    try:
        metadata, tensors = read_checked(path)
        about = json.loads(metadata["about"])
        if tuple(about["kinds"]) != model.config.kinds or tuple(about["scenarios"]) != model.config.scenarios:
            raise ValueError("it was trained for other dynamics")
        eye = Eye(len(about["kinds"]), len(about["scenarios"]))
        eye.load_state_dict({k.removeprefix(AVERAGE): v.float() for k, v in tensors.items() if k.startswith(AVERAGE)})
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no eye for these dynamics ({error}); make it with the stage eye") from error
    return eye.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def learn(model: ThingsDynamics, data: ThingsData, scenario: Scenario, steps: int, seed: int) -> PPO:
    """PPO in dreams of things."""
    dreams = VecNormalize(
        VecMonitor(ThingsDreams(model, data, scenario, seed)), norm_obs=False, gamma=SETTINGS["gamma"]
    )
    agent = PPO("MlpPolicy", dreams, n_steps=ROLLOUT, seed=seed, device="cpu", **SETTINGS)
    return agent.learn(steps, progress_bar=False)


def play(
    agent: PPO, model: ThingsDynamics, things: ToldThings | SeenThings, episodes: int, first_seed: int
) -> Iterator[tuple[float, int]]:
    """Return and length in steps of each game that the agent plays."""
    table = things.game.scenario.action_table()
    for episode in progress(range(episodes), desc=f"games of {things.game.scenario.name}", unit="game"):
        things.game.reset(first_seed + episode)
        now: Things | None = things.begin()
        total, steps = 0.0, 0
        while now is not None:
            seen = features(now, model.groups, model.scales).numpy()
            action = int(agent.predict(seen, deterministic=True)[0][0])
            now, reward = things.step(table[action])
            total += reward
            steps += 1
        yield total, steps


def run(config: ThingsAgentsConfig) -> None:
    """Train an agent in dreams, let it play the game, print what it reached.

    Raises:
        ValueError: if weights or shards are missing or damaged, or the scenario has no action table.
    """
    scenario = get_scenario(config.scenario)
    if not scenario.discrete:
        raise UserError(f"{scenario.name} has no action table; choose another scenario")
    model = load_dynamics(config.weights)
    data = held_out(model, config.data, scenario.name, "train")
    agent = learn(model, data, scenario, config.steps, config.seed)
    game = Game(scenario, privileged=config.eye is None)
    told = ToldThings(game, model) if config.eye is None else SeenThings(game, model, load_eye(config.eye, model))
    try:
        played = np.array(list(play(agent, model, told, config.episodes, config.first_seed)))
    finally:
        game.close()
    returns, lengths = played.T
    error = returns.std() / len(returns) ** 0.5
    print(f"{scenario.name}, seed {config.seed}: return {returns.mean():.2f} ± {error:.2f}, {lengths.mean():.0f} steps")
