"""What `dream-doom info` prints: the worlds, how good their dreams are, and the weights; 80 columns are enough."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.transfer_scores import VERDICTS, MeanAndMargin, differs, transfer_scores
from doom_dream_env.world_model import files

SHOWN_SCORES = {
    "skill_1": "skill, one step on (1 is perfect, 0: nothing changes)",
    "skill_8": "skill, eight steps on",
    "skill_8_shuffled": "the same with the wrong keys (near 0: it listens to them)",
    "psnr": "pictures, dB",
    "death_recall": "ends of episodes foreseen, share",
    "predicted_over_observed_deaths": "ends foreseen over ends seen",
}


def shown(score: MeanAndMargin) -> str:
    """Mean and half of its 95 % interval."""
    digits = 0 if abs(score[0]) >= 100 else 1 if abs(score[0]) >= 10 else 2
    return f"{score[0]:.{digits}f} ± {score[1]:.{digits}f}"


def fingerprint_of(folder: Path) -> str:
    """The fingerprint of a set of weights."""
    return str(files.read_json(folder / files.MANIFEST).get("fingerprint"))


def scorecard_of(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """The scorecard's figures by scenario; empty where there is none."""
    path = folder / "scorecard.json"
    worlds = files.read_json(path).get("worlds") if path.exists() else {}
    return worlds if isinstance(worlds, dict) else {}


def worlds_table(folder: Path | None) -> Table:
    """All scenarios, best dreams first; whole names, because they must be typed."""
    scores = transfer_scores(fingerprint_of(folder)) if folder else {}
    table = Table("scenario", "dream", "agent", "blind", title="Worlds", caption="mean return in the real game ± 95 %")
    table.columns[0].no_wrap = True
    for name in (*scores, *(name for name in SCENARIOS if name not in scores)):
        found = scores.get(name)
        verdict = found.verdict if found else "unknown"
        table.add_row(name, verdict, shown(found.agent) if found else "", shown(found.blind) if found else "")
    return table


def show_all(weights: str | None) -> None:
    """Print all worlds, and weights with their sizes and arithmetic.

    Args:
        weights: a name or folder; None: all that ship.
    """
    console = Console()
    names = [weights] if weights else files.shipped()
    folders = [files.find_weights(name) for name in names]
    console.print(worlds_table(folders[0] if folders else None))
    for verdict, meaning in VERDICTS.items():
        console.print(f"  {verdict}: {meaning}", highlight=False)
    console.print("agent: PPO that learned in the dream alone. blind: the best of 48 policies that see nothing.")
    console.print("More about one: dream-doom info WORLD", highlight=False)
    if not folders:
        console.print("No weights ship with this installation: python -m training pipeline makes some.")
    for name, folder in zip(names, folders, strict=True):
        show_weights(console, name, folder)


def show_weights(console: Console, name: str, folder: Path) -> None:
    """Print the sizes and the arithmetic of a set of weights."""
    from doom_dream_env.world_model import WorldModel
    from doom_dream_env.world_model.flops import parameters_and_flops

    model = WorldModel.from_pretrained(folder)
    megabytes = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
    table = Table("part", "parameters", "MFLOP", title=f"Weights {name}: {model.fingerprint}, {megabytes:.1f} MB")
    for part, (parameters, flops, unit) in parameters_and_flops(model).items():
        table.add_row(part, f"{parameters / 1e6:.2f} M", f"{flops / 1e6:.2f} per {unit}")
    console.print(table)
    console.print(f"in {folder}", soft_wrap=True, highlight=False)


def show_world(name: str, weights: str | None) -> None:
    """Print all about one scenario: what it is, its actions, and how good its dream is.

    Args:
        name: the scenario.
        weights: a name or folder; None: the best that ship.
    """
    console = Console()
    scenario = SCENARIOS[name]
    folder = files.find_weights(weights)
    seconds = scenario.time_limit * scenario.seconds_per_step
    facts = Table(title=name, show_header=False)
    facts.add_row("what", scenario.description)
    if scenario.discrete:
        pressed = [f"{index} {button}" for index, button in enumerate(["nothing", *reversed(scenario.buttons)])]
        facts.add_row("actions", "\n".join(pressed))
    else:
        facts.add_row("buttons", "\n".join(scenario.buttons))
    facts.add_row("variables", ", ".join(scenario.variables) or "none")
    facts.add_row("at most", f"{scenario.time_limit} steps, {seconds:.0f} s")
    console.print(facts)
    found = transfer_scores(fingerprint_of(folder)).get(name)
    verdict = found.verdict if found else "unknown"
    console.print(f"The dream of {name} is {verdict}: {VERDICTS[verdict]}.", highlight=False)
    if found:
        scores = Table("who", "mean return ± 95 %", title="In the real game")
        for who in ("random", "blind", "agent"):
            scores.add_row(who, shown(getattr(found, who)))
        scores.add_row("agent, in its dream", shown(found.dream))
        console.print(scores)
        lead = found.agent[0] - found.blind[0]
        clear = "more" if differs(found.agent, found.blind) else "no more"
        console.print(f"Agent over blind: {lead:+.4g}, {clear} than chance explains (95 %).", highlight=False)
    card = scorecard_of(folder).get(name, {})
    if card:
        table = Table("what the dream knows", "", title=f"Scorecard of {folder.name}")
        for key, meaning in SHOWN_SCORES.items():
            if isinstance(card.get(key), int | float):
                table.add_row(meaning, f"{card[key]:.2f}")
        console.print(table)
        console.print("All of it: README.md beside the weights.", highlight=False)
