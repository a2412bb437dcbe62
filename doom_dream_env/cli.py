"""`dream-doom`: the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from doom_dream_env import __version__
from doom_dream_env.scenarios import SCENARIOS, get_scenario


def info(weights: str | None) -> None:
    """Print worlds, weights, sizes, arithmetic and scores."""
    from rich.console import Console
    from rich.table import Table

    from doom_dream_env.world_model import WorldModel, files
    from doom_dream_env.world_model.arithmetic import parameters_and_flops

    console = Console()
    worlds = Table("world", "actions (in order)", "variables", "steps", "what", title="Worlds")
    for scenario in SCENARIOS.values():
        actions = ", ".join(["nothing", *reversed(scenario.buttons)])
        worlds.add_row(scenario.name, actions, ", ".join(scenario.variables), str(scenario.time_limit), scenario.description)
    console.print(worlds)
    for name in [weights] if weights else files.shipped():
        folder, model = files.find_weights(name), WorldModel.from_pretrained(name)
        megabytes = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
        table = Table("part", "parameters", "MFLOP", title=f"Weights {name}: {model.fingerprint}, {megabytes:.1f} MB in {folder}")
        for part, (parameters, flops, unit) in parameters_and_flops(model).items():
            table.add_row(part, f"{parameters / 1e6:.2f} M", f"{flops / 1e6:.2f} per {unit}")
        console.print(table)
        if (folder / "scorecard.json").exists():
            card = files.read_json(folder / "scorecard.json")["worlds"]
            keys = ("skill_1", "skill_8", "skill_1_shuffled", "psnr", "death_recall")
            scores = Table("world", *keys, title="Scorecard (README.md beside the weights has all of it)")
            for world, values in card.items():
                scores.add_row(world, *(f"{values[key]:.2f}" if key in values else "" for key in keys))
            console.print(scores)
    if not weights and not files.shipped():
        console.print("No weights ship with this installation.")


def add_play_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `play`, `autoplay` and `record`."""
    play = commands.add_parser("play", help="play a dream, the real game, or both side by side, in a window")
    autoplay = commands.add_parser("autoplay", help="watch an agent play the real game, and beside it what the dream predicts")
    record = commands.add_parser("record", help="the same as play as a film, without a display")
    for command in (play, autoplay, record):
        command.add_argument("--scenario", default=None, help=f"world: {', '.join(SCENARIOS)}, or a ViZDoom .cfg (default: take_cover)")
        command.add_argument("--map", default=None, help="map of free play, e.g. MAP07 or E1M3")
        command.add_argument("--wad", default=None, help="WAD of your own for free play")
        command.add_argument("--weights", default=None, help="name or folder of weights (default: the best shipped)")
        command.add_argument("--temperature", type=float, default=1.0, help="of the dream: 0, the best guess, to 2; 1 as learned")
        command.add_argument("--seed", type=int, default=None, help="seed of all dice (default: chance)")
    for command in (play, record):
        command.add_argument("--mode", default="dream", choices=("dream", "real", "both"), help="what is played (default: dream)")
        command.add_argument("--real", dest="mode", action="store_const", const="real", help="short for --mode real")
        command.add_argument("--start", type=Path, default=None, help="picture or clip of your own that the dream begins with")
    for command in (play, autoplay):
        command.add_argument("--out", type=Path, default=Path("dream-doom-films"), help="folder for films and screenshots")
        command.add_argument("--scale", type=int, default=4, help="size of the window: 160x120 so many times enlarged")
    play.add_argument("--agent", action="store_true", help="the shipped agent plays first (Tab hands over)")
    play.add_argument("--save", type=Path, default=None, help="dataset folder to record your play of the real game in")
    autoplay.add_argument("--resync", type=float, default=3.0, help="seconds after which the dream goes on from reality again; 0: never")
    record.add_argument("--resync", type=float, default=0.0, help="the same with --mode both")
    record.add_argument("--keys", default=None, help='what to press for how many steps, e.g. "W*20 A*5 W+CTRL*3" (default: an agent plays)')
    record.add_argument("--seconds", type=float, default=None, help="length of the film (default: that of --keys, or 10)")
    record.add_argument("--out", type=Path, default=Path("dream-doom.mp4"), help="the film: an .mp4 or a .gif")
    record.add_argument("--scale", type=int, default=3, help="size of the film: 160x120 so many times enlarged")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="dream-doom", description="A learned world model of DOOM to train in.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train an agent inside the dream, test it in the real game, film both")
    demo.add_argument("--scenario", default="take_cover", help=f"world: {', '.join(SCENARIOS)}")
    demo.add_argument("--steps", type=int, default=120_000, help="steps of training in the dream")
    demo.add_argument("--episodes", type=int, default=20, help="episodes per policy, in the dream and in the real game")
    demo.add_argument("--temperature", type=float, default=None, help="of the dream that is trained in (default: the world's own)")
    demo.add_argument("--seed", type=int, default=0, help="seed of training")
    demo.add_argument("--weights", default=None, help="name or folder of weights (default: the best shipped)")
    demo.add_argument("--out", type=Path, default=Path("dream-doom-demo"), help="folder for the agent, the clip and the plot")
    about = commands.add_parser("info", help="worlds, weights, sizes, arithmetic, scores")
    about.add_argument("--weights", default=None, help="name or folder of weights (default: all shipped)")
    bench = commands.add_parser("bench", help="steps/s of the dream and of the real game, in one run on the same cores")
    bench.add_argument("--scenario", default="take_cover", help=f"world: {', '.join(SCENARIOS)}")
    bench.add_argument("--weights", default=None, help="name or folder of weights (default: the best shipped)")
    bench.add_argument("--seconds", type=float, default=3.0, help="spent on each figure")
    add_play_commands(commands)
    args = parser.parse_args(arguments)
    try:
        if args.command == "info":
            info(args.weights)
        elif args.command == "bench":
            from doom_dream_env.bench import measure, show

            show(measure(args.scenario, args.weights, args.seconds))
        elif args.command in ("play", "autoplay", "record"):
            from doom_dream_env.play import commands as playing

            getattr(playing, args.command)(args)
        else:
            from doom_dream_env.demo import run

            get_scenario(args.scenario)
            run(args.scenario, args.steps, args.episodes, args.temperature, args.seed, args.weights, args.out)
    except (ValueError, OSError, ImportError) as error:
        print(f"dream-doom: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dream-doom: stopped; what was finished is in the output folder", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
