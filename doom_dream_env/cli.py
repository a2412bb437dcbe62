"""`dream-doom`: the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from doom_dream_env import __version__
from doom_dream_env.scenarios import SCENARIOS, get_scenario

Commands = argparse._SubParsersAction  # what `add_subparsers` returns
NAMES = ", ".join(SCENARIOS)
SHOWN_SCORES = ("skill_1", "skill_8", "skill_1_shuffled", "psnr", "death_recall")


# ---- what the commands do --------------------------------------------------------------------------------------------


def demo(args: argparse.Namespace) -> None:
    """Train in the dream, test in the game, film both."""
    get_scenario(args.scenario)  # a mistake is named before torch is loaded
    from doom_dream_env.demo import run

    run(args.scenario, args.steps, args.episodes, args.temperature, args.seed, args.weights, args.out)


def info(args: argparse.Namespace) -> None:
    """Print scenarios, weights, sizes, arithmetic and scores."""
    from rich.console import Console
    from rich.table import Table

    from doom_dream_env.world_model import WorldModel, files
    from doom_dream_env.world_model.flops import parameters_and_flops

    console = Console()
    scenarios = Table("scenario", "actions (in order)", "variables", "steps", "what", title="Scenarios")
    for scenario in SCENARIOS.values():
        actions = ", ".join(["nothing", *reversed(scenario.buttons)])
        variables = ", ".join(scenario.variables)
        scenarios.add_row(scenario.name, actions, variables, str(scenario.time_limit), scenario.description)
    console.print(scenarios)
    for name in [args.weights] if args.weights else files.shipped():
        folder = files.find_weights(name)
        model = WorldModel.from_pretrained(name)
        megabytes = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
        title = f"Weights {name}: {model.fingerprint}, {megabytes:.1f} MB in {folder}"
        sizes = Table("part", "parameters", "MFLOP", title=title)
        for part, (parameters, flops, unit) in parameters_and_flops(model).items():
            sizes.add_row(part, f"{parameters / 1e6:.2f} M", f"{flops / 1e6:.2f} per {unit}")
        console.print(sizes)
        if (folder / "scorecard.json").exists():
            card = files.read_json(folder / "scorecard.json")["worlds"]
            title = "Scorecard (README.md beside the weights has all of it)"
            scores = Table("scenario", *SHOWN_SCORES, title=title)
            for scenario_name, values in card.items():
                shown = [f"{values[key]:.2f}" if key in values else "" for key in SHOWN_SCORES]
                scores.add_row(scenario_name, *shown)
            console.print(scores)
    if not args.weights and not files.shipped():
        console.print("No weights ship with this installation.")


def bench(args: argparse.Namespace) -> None:
    """Measure the speed of the dream and of the game."""
    from doom_dream_env.benchmark import measure, show

    show(measure(args.scenario, args.weights, args.seconds))


def play(args: argparse.Namespace) -> None:
    """Run `play`, `autoplay` or `record`."""
    from doom_dream_env.play import commands

    {"play": commands.play, "autoplay": commands.autoplay, "record": commands.record}[args.command](args)


# ---- their options ---------------------------------------------------------------------------------------------------


def add_weights(command: argparse.ArgumentParser, default: str = "the best shipped") -> None:
    """Add the option that all commands have."""
    command.add_argument("--weights", default=None, help=f"name or folder of weights (default: {default})")


def add_training_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `demo`, `info` and `bench`."""
    command = commands.add_parser("demo", help="train an agent inside the dream, test it in the real game, film both")
    command.set_defaults(run=demo)
    command.add_argument("--scenario", default="take_cover", help=f"one of {NAMES}")
    command.add_argument("--steps", type=int, default=120_000, help="steps of training in the dream")
    command.add_argument("--episodes", type=int, default=20, help="per policy, in the dream and in the real game")
    command.add_argument(
        "--temperature",
        type=float,
        default=None,
        help="of the dream that is trained in (default: the scenario's own)",
    )
    command.add_argument("--seed", type=int, default=0, help="seed of training")
    add_weights(command)
    command.add_argument(
        "--out", type=Path, default=Path("dream-doom-demo"), help="folder for the agent, the clip and the plot"
    )

    command = commands.add_parser("info", help="scenarios, weights, sizes, arithmetic, scores")
    command.set_defaults(run=info)
    add_weights(command, "all shipped")

    command = commands.add_parser(
        "bench", help="steps/s of the dream and of the real game, in one run on the same cores"
    )
    command.set_defaults(run=bench)
    command.add_argument("--scenario", default="take_cover", help=f"one of {NAMES}")
    add_weights(command)
    command.add_argument("--seconds", type=float, default=3.0, help="spent on each figure")


def add_play_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `play`, `autoplay` and `record`."""
    player = commands.add_parser("play", help="play a dream, the real game, or both side by side, in a window")
    watcher = commands.add_parser(
        "autoplay", help="watch an agent play the real game, and beside it what the dream predicts"
    )
    recorder = commands.add_parser("record", help="the same as play as a film, without a display")
    for command in (player, watcher, recorder):
        command.set_defaults(run=play)
        command.add_argument(
            "--scenario", default=None, help=f"one of {NAMES}, or a ViZDoom .cfg (default: take_cover)"
        )
        command.add_argument("--map", default=None, help="map of free play, e.g. MAP07 or E1M3")
        command.add_argument("--wad", default=None, help="WAD of your own for free play")
        add_weights(command)
        command.add_argument(
            "--temperature", type=float, default=1.0, help="of the dream: 0, the best guess, to 2; 1 as learned"
        )
        command.add_argument("--seed", type=int, default=None, help="seed of all random numbers (default: chance)")
    for command in (player, recorder):
        command.add_argument(
            "--mode", default="dream", choices=("dream", "real", "both"), help="what is played (default: dream)"
        )
        command.add_argument("--real", dest="mode", action="store_const", const="real", help="short for --mode real")
        command.add_argument(
            "--start", type=Path, default=None, help="picture or clip of your own that the dream begins with"
        )
    for command in (player, watcher):
        command.add_argument(
            "--out", type=Path, default=Path("dream-doom-films"), help="folder for films and screenshots"
        )
        command.add_argument("--scale", type=int, default=4, help="size of the window: 160x120 so many times enlarged")
    player.add_argument("--agent", action="store_true", help="the shipped agent plays first (Tab hands over)")
    player.add_argument(
        "--save", type=Path, default=None, help="dataset folder to record your play of the real game in"
    )
    watcher.add_argument(
        "--resync",
        type=float,
        default=3.0,
        help="seconds after which the dream goes on from reality again; 0: never",
    )
    recorder.add_argument("--resync", type=float, default=0.0, help="the same with --mode both")
    recorder.add_argument(
        "--keys",
        default=None,
        help='what to press for how many steps, e.g. "W*20 A*5 W+CTRL*3" (default: an agent plays)',
    )
    recorder.add_argument(
        "--seconds", type=float, default=None, help="length of the film (default: that of --keys, or 10)"
    )
    recorder.add_argument("--out", type=Path, default=Path("dream-doom.mp4"), help="the film: an .mp4 or a .gif")
    recorder.add_argument("--scale", type=int, default=3, help="size of the film: 160x120 so many times enlarged")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="dream-doom", description="A learned world model of DOOM to train in.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_training_commands(commands)
    add_play_commands(commands)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (ValueError, OSError, ImportError) as error:
        print(f"dream-doom: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dream-doom: stopped; what was finished is in the output folder", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
