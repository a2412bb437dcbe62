"""What `dream-doom info` prints: the worlds, how good their dreams are, and the weights; 80 columns are enough."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from doom_dream_env.agents.quality import SECOND, MeanAndMargin, differs, qualities, scorecard_of
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.world_model import files

SHOWN_SCORES = {
    "skill_1": "skill, one step on (1 is perfect, 0: nothing changes)",
    SECOND: "skill, eight steps on",
    "skill_8_shuffled": "the same with the wrong keys (near 0: it listens to them)",
    "psnr": "pictures, dB",
    "death_recall": "ends of episodes foreseen, share",
    "predicted_over_observed_deaths": "ends foreseen over ends seen",
}


def shown(score: MeanAndMargin) -> str:
    """Mean and half of its 95 % interval."""
    digits = 0 if abs(score[0]) >= 100 else 1 if abs(score[0]) >= 10 else 2
    return f"{score[0]:.{digits}f} ± {score[1]:.{digits}f}"


def worlds_table(weights: str | None) -> Table:
    """All scenarios, best dreams first; whole names, because they must be typed."""
    caption = "mean return in the real game ± 95 %"
    table = Table("scenario", "dream", "agent", "best blind", title="Worlds", caption=caption)
    table.columns[0].no_wrap = True
    for name, quality in qualities(weights).items():
        if name in SCENARIOS:
            returns = [shown(quality.scores.agent), shown(quality.scores.blind)] if quality.scores else []
            table.add_row(name, quality.word, *returns)
    return table


def show_all(weights: str | None) -> None:
    """Print all worlds, and weights with their sizes and arithmetic.

    Args:
        weights: a name or folder; None: all that ship.
    """
    console = Console()
    names = [weights] if weights else files.shipped()
    console.print(worlds_table(weights))
    console.print("A dream is good where it follows the keys and agents learn what pays in the game.")
    console.print("agent: PPO that learned in the dream alone. best blind: the best of 48 policies that see nothing.")
    console.print("More about one, and why it is called so: dream-doom info WORLD", highlight=False)
    if not names:
        console.print("No weights ship with this installation: python -m training pipeline makes some.")
    for name in names:
        show_weights(console, name, files.find_weights(name))


def show_weights(console: Console, name: str, folder: Path) -> None:
    """Print the sizes and the arithmetic of a set of weights, as far as their scorecard says them."""
    megabytes = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
    title = f"Weights {name}: {files.fingerprint_of(folder)}, {megabytes:.1f} MB"
    table = Table("part", "parameters", "MFLOP", title=title)
    card = folder / files.SCORECARD
    for part, (parameters, flops, unit) in (files.read_json(card).get("parts", {}) if card.is_file() else {}).items():
        table.add_row(part, f"{parameters / 1e6:.2f} M", f"{flops / 1e6:.2f} per {unit}")
    console.print(table if table.row_count else f"{title}; python -m training scorecard counts their parts")
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
    quality = qualities(folder)[name]
    console.print(f"The dream of {name} is {quality.text}.", highlight=False)
    found = quality.scores
    if found:
        scores = Table("who", "mean return ± 95 %", title="In the real game")
        for who, score in (("random", found.random), ("best blind", found.blind), ("agent", found.agent)):
            scores.add_row(who, shown(score))
        scores.add_row("agent, in its dream", shown(found.dream))
        console.print(scores)
        lead = found.agent[0] - found.blind[0]
        clear = "more" if differs(found.agent, found.blind) else "no more"
        console.print(f"Agent over best blind: {lead:+.4g}, {clear} than chance explains (95 %).", highlight=False)
    card = scorecard_of(folder).get(name, {})
    if card:
        table = Table("what the dream knows", "", title=f"Scorecard of {folder.name}")
        for key, meaning in SHOWN_SCORES.items():
            if isinstance(card.get(key), int | float):
                table.add_row(meaning, f"{card[key]:.2f}")
        console.print(table)
        console.print("All of it: README.md beside the weights.", highlight=False)
