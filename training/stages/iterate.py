"""Close the gap between dream and game: learn in the dream, play the real game, teach the dream what happened, again.

    python -m training iterate --out runs/nano --scenarios take_cover health_gathering --rounds 3

Begins with a finished run of `training.pipeline` (its data, checkpoints and weights). Every round trains an agent of
each scenario in the dream, plays it in both games, collects more steps for the dataset, many of them played by it, and
trains the dynamics on, mostly on what is new; the encoder, and with it the decoder, stay. `iterate/gap.md` has the gap
between dream and game of every round, and the real tics used. Every stage is skipped when its product is there: a
killed run goes on when the same command is given again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doom_dream_env.recording import STEPS_PER_SHARD
from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.files import read_json, write_atomically
from training.config import CollectConfig, DecoderConfig, DynamicsConfig, IterateConfig, record_config
from training.engine.checkpoint import finished_steps
from training.engine.launch import run_stage
from training.evaluation.agent_scores import trained_agent
from training.evaluation.tables import markdown_table, mean_and_margin
from training.stages import DECODER_CHECKPOINT, DYNAMICS_CHECKPOINT, WEIGHTS

DYNAMICS = "dynamics"  # in what a loop began with: its finished steps, beside each scenario's number of shards

Scores = dict[str, Any]  # of an agent, as `trained_agent` returns them, and the real tics behind it


def iterate(config: IterateConfig) -> None:
    """Run all rounds."""
    home = config.out / "iterate"
    data = config.data or config.out / "data"
    begun = what_was_there(config, data)
    record_config(config, home / "iterate.config.json")
    rounds: list[list[Scores]] = []
    for number in range(config.rounds):
        folder = home / f"round-{number}"
        rounds.append(train_agents(config, begun, folder, number))
        table = gap_table(rounds)
        write_atomically(home / "gap.md", table.encode())
        print(table, flush=True)
        if number + 1 < config.rounds:
            grow_data(config, data, begun, folder, number)
            train_on(config, data, begun, folder, number)


def what_was_there(config: IterateConfig, data: Path) -> dict[str, int]:
    """Finished dynamics steps, and each scenario's shards, at the beginning of the first round.

    They are written down: whoever goes on with a killed loop counts from there.

    Raises:
        FileNotFoundError: if there is no finished run to begin with.
    """
    path = config.out / "iterate" / "plan.json"
    if not path.exists():
        begun = {DYNAMICS: finished_steps(config.out / DYNAMICS_CHECKPOINT)}
        begun |= {name: len(list((data / name).glob("train-*.parquet"))) for name in config.scenarios}
        if not all(begun.values()) or not (config.out / WEIGHTS).is_dir():
            raise FileNotFoundError(
                f"{config.out} is no finished run with data of {', '.join(config.scenarios)}: "
                "make one with `python -m training pipeline`"
            )
        write_atomically(path, (json.dumps(begun) + "\n").encode())
    return {key: int(value) for key, value in read_json(path).items()}


def train_agents(config: IterateConfig, begun: dict[str, int], folder: Path, number: int) -> list[Scores]:
    """An agent of each scenario, trained in the dream of this round, and its scores in dream and game."""
    weights = folder / WEIGHTS
    if not weights.exists():  # agents name the weights they belong to, so each round keeps its own
        partial = folder / "partial"
        shutil.copytree(config.out / WEIGHTS, partial, dirs_exist_ok=True)
        partial.rename(weights)
    found = []
    for name in config.scenarios:
        seed = config.seed + number
        scores = trained_agent(weights, name, folder / name, config.agent_steps, seed, config.episodes)
        steps = begun[name] * STEPS_PER_SHARD + number * config.data_steps
        found.append(scores | {"real_tics": steps * get_scenario(name).frame_skip})
    return found


def grow_data(config: IterateConfig, data: Path, begun: dict[str, int], folder: Path, number: int) -> None:
    """Collect this round's steps of each scenario, a share of them played by its agent."""
    for name in config.scenarios:
        collect = CollectConfig(
            out=data,
            scenarios=(name,),
            steps=begun[name] * STEPS_PER_SHARD + (number + 1) * config.data_steps,
            mix={str(folder / name): config.agent_share} | config.mix,
        )
        run_stage(collect)


def train_on(config: IterateConfig, data: Path, begun: dict[str, int], folder: Path, number: int) -> None:
    """Train the dynamics on with all data, mostly on the new ones, and pack new weights."""
    shards_of_a_round = -(-config.data_steps // STEPS_PER_SHARD)
    scenarios = WorldModel.from_pretrained(folder / WEIGHTS).config.scenarios
    dynamics = DynamicsConfig(
        data=data,
        out=config.out,
        scenarios=scenarios,
        seed=config.seed,
        steps=begun[DYNAMICS] + (number + 1) * config.dynamics_steps,
        batch=config.batch,
        scenario_weights=dict.fromkeys(config.scenarios, config.scenario_weight),
        seen_shards={name: begun[name] + number * shards_of_a_round for name in config.scenarios},
        scripted_share=dict.fromkeys(config.scenarios, config.scripted_share),
    )
    run_stage(dynamics)
    # The decoder is finished: this trains nothing, it packs the new dynamics with it.
    steps = finished_steps(config.out / DECODER_CHECKPOINT)
    run_stage(DecoderConfig(data=data, out=config.out, scenarios=scenarios, seed=config.seed, steps=steps))


def gap_table(rounds: Sequence[Sequence[Scores]]) -> str:
    """Every round's gaps in Markdown."""
    header = ["round", "scenario", "dream", "real ± 95 %", "gap", "real tics of training data, about"]
    rows = [
        [
            str(number),
            scores["scenario"],
            f"{scores['dream']:.1f}",
            mean_and_margin(scores["real"], scores["real_margin_95"], 1),
            f"{scores['gap']:.0%}",
            f"{scores['real_tics']:,}",
        ]
        for number, found in enumerate(rounds)
        for scores in found
    ]
    return markdown_table(header, rows)
