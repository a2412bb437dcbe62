"""`dream-doom`: the command line. What is wrong with an option is said before torch is loaded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from doom_dream_env import __version__
from doom_dream_env.mistakes import status_of
from doom_dream_env.options import (
    MINDS,
    Parser,
    file,
    folder_to_read,
    folder_to_write,
    mind,
    number,
    one_of,
    seed,
    whole,
)
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.transfer_scores import FIRST_WORLD

Commands = argparse._SubParsersAction  # what `add_subparsers` returns
NAMES = ", ".join(SCENARIOS)
DISCRETE = [scenario.name for scenario in SCENARIOS.values() if scenario.discrete]


# ---- what the commands do --------------------------------------------------------------------------------------------


def demo(args: argparse.Namespace) -> None:
    """Train in the dream, test in the game, film both."""
    from doom_dream_env.demo import run

    run(args.scenario, args.steps, args.episodes, args.temperature, args.seed, args.weights, args.out, args.beside)


def info(args: argparse.Namespace) -> None:
    """Print all scenarios and weights, or one scenario."""
    from doom_dream_env import info

    if args.world is None:
        info.show_all(args.weights)
    else:
        info.show_world(args.world, args.weights)


def bench(args: argparse.Namespace) -> None:
    """Measure the speed of the dream and of the game."""
    if args.busy:
        from doom_dream_env.busy import measure_busy, show_busy

        show_busy(measure_busy(args.scenario, args.weights, args.seconds))
    else:
        from doom_dream_env.benchmark import append, measure, show

        speed = measure(args.scenario, args.weights, args.seconds)
        show(speed)
        if args.table is not None:
            append(speed, args.table)


def doctor(args: argparse.Namespace) -> int:
    """Check the installation; the exit status says whether it can be used."""
    from doom_dream_env.doctor import examine

    return examine(args.weights)


def export(args: argparse.Namespace) -> None:
    """Write graphs, worlds and the page."""
    from doom_dream_env.export import ExportConfig, write_export

    manifest = write_export(ExportConfig(args.out, args.weights, tuple(args.scenario)))
    worlds = len(manifest["worlds"])
    print(f"{args.out.resolve()}: {worlds} worlds; look at it with: dream-doom web --out {args.out}")
    for name, graph in (manifest["graphs"] | manifest["agents"]).items():
        for variant, reason in graph["left_out"].items():
            print(f"left out: {name} as {variant}, which is too far off ({reason})")


def web(args: argparse.Namespace) -> None:
    """Serve the page on this machine; what is not exported yet is exported first."""
    from doom_dream_env.web import serve
    from doom_dream_env.web.serve import is_current

    if not is_current(args.out, args.weights, tuple(args.scenario)):
        print(f"exporting to {args.out}, once for these weights; this takes some minutes", flush=True)
        export(args)
    serve(args.out, args.host, args.port, args.browser)


def push(args: argparse.Namespace) -> None:
    """Send a folder to the hub."""
    from doom_dream_env.publish import push as send

    print(send(args.name, args.folder, private=args.private, message=args.message))


def play(args: argparse.Namespace) -> None:
    """Run `play`, `autoplay` or `record`."""
    from doom_dream_env.play import commands

    {"play": commands.play, "autoplay": commands.autoplay, "record": commands.record}[args.command](args)


# ---- their options ---------------------------------------------------------------------------------------------------


def add_weights(command: argparse.ArgumentParser, default: str = "the best shipped") -> None:
    """Add the option that all commands have."""
    command.add_argument("--weights", default=None, help=f"name, folder or owner/name on the hub (default: {default})")


def add_training_commands(commands: Commands[Parser]) -> None:
    """Add `demo`, `info`, `bench`, `doctor` and `push`."""
    command = commands.add_parser("demo", help="train an agent inside the dream, test it in the real game, film both")
    command.set_defaults(run=demo)
    command.add_argument(
        "--scenario",
        type=one_of(DISCRETE),
        default=FIRST_WORLD,
        help=f"one of {', '.join(DISCRETE)} (default: {FIRST_WORLD}); `dream-doom info` says how good their dreams are",
    )
    command.add_argument(
        "--steps", type=whole(1, 10**9), default=120_000, help="steps of training in the dream (default: 120000)"
    )
    command.add_argument(
        "--episodes",
        type=whole(2, 100_000),
        default=20,
        help="per policy, in the dream and in the real game (default: 20)",
    )
    command.add_argument(
        "--temperature",
        type=number(0, 10),
        default=None,
        help="of the dream that is trained in (default: the scenario's own)",
    )
    command.add_argument("--seed", type=seed, default=0, help="seed of training (default: 0)")
    add_weights(command)
    command.add_argument(
        "--out",
        type=folder_to_write,
        default=Path("dream-doom-demo"),
        help="folder for the agent, the clip and the plot",
    )

    command.add_argument(
        "--beside",
        type=mind,
        nargs="+",
        default=[],
        metavar="WHO",
        help=f"others to play the same games: {', '.join(MINDS)}, or folders of agents (planners take minutes)",
    )

    command = commands.add_parser("info", help="scenarios, weights, sizes, arithmetic, scores")
    command.set_defaults(run=info)
    command.add_argument(
        "world",
        nargs="?",
        type=one_of(list(SCENARIOS)),
        default=None,
        help="all about one scenario (default: about all)",
    )
    add_weights(command, "all shipped")

    command = commands.add_parser(
        "bench", help="steps/s of the dream and of the real game, in one run on the same cores"
    )
    command.set_defaults(run=bench)
    command.add_argument(
        "--scenario", type=one_of(DISCRETE), default="take_cover", help=f"one of {', '.join(DISCRETE)}"
    )
    add_weights(command)
    command.add_argument(
        "--seconds", type=number(0.05, 3600, " seconds"), default=3.0, help="spent on each figure (default: 3)"
    )
    command.add_argument(
        "--busy", action="store_true", help="instead: the dream's speed while other processes use the cores"
    )
    command.add_argument(
        "--table", type=file, metavar="FILE", help="also put a row for this machine into the table of speeds in a page"
    )

    command = commands.add_parser("doctor", help="check the installation: what a report of a bug needs")
    command.set_defaults(run=doctor)
    add_weights(command)

    command = commands.add_parser("push", help="send weights, an agent or a dataset to the Hugging Face hub")
    command.set_defaults(run=push)
    command.add_argument("name", help="owner/name, or owner/name@branch; made if it does not exist")
    command.add_argument("folder", type=folder_to_read, help="folder of weights, of an agent, or of a dataset")
    command.add_argument("--private", action="store_true", help="a new repository is seen by its owner alone")
    command.add_argument("--message", default=None, help="of the commit")


def add_play_commands(commands: Commands[Parser]) -> None:
    """Add `play`, `autoplay` and `record`."""
    player = commands.add_parser("play", help="play a dream, the real game, or both side by side, in a window")
    watcher = commands.add_parser(
        "autoplay", help="watch an agent play the real game, and beside it what the dream predicts"
    )
    recorder = commands.add_parser("record", help="the same as play as a film, without a display")
    for command in (player, watcher, recorder):
        command.set_defaults(run=play)
        command.add_argument(
            "--scenario",
            type=one_of(list(SCENARIOS), ".cfg"),
            default=None,
            help=f"one of {NAMES}, or a ViZDoom .cfg (default: take_cover)",
        )
        command.add_argument("--map", default=None, help="map of free play, e.g. MAP07 or E1M3")
        command.add_argument("--wad", type=file, default=None, help="WAD of your own for free play")
        add_weights(command)
        command.add_argument(
            "--temperature", type=number(0, 2), default=1.0, help="of the dream: 0, the best guess, to 2; 1 as learned"
        )
        command.add_argument("--seed", type=seed, default=None, help="seed of all random numbers (default: chance)")
    for command in (player, recorder):
        command.add_argument(
            "--mode", default="dream", choices=("dream", "real", "both"), help="what is played (default: dream)"
        )
        command.add_argument("--real", dest="mode", action="store_const", const="real", help="short for --mode real")
        command.add_argument(
            "--start", type=file, default=None, help="picture or clip of your own that the dream begins with"
        )
    for command in (player, watcher):
        command.add_argument(
            "--out", type=Path, default=Path("dream-doom-films"), help="folder for films and screenshots"
        )
        command.add_argument("--scale", type=int, default=4, help="size of the window: 160x120 so many times enlarged")
    who = f"one of {', '.join(MINDS)}, or the folder of an agent"
    player.add_argument(
        "--agent",
        type=mind,
        nargs="?",
        const="agent",
        default=None,
        metavar="WHO",
        help=f"who plays first (Tab hands over): {who} (without a name: the agent that ships)",
    )
    for command in (watcher, recorder):
        command.add_argument("--agent", type=mind, default="agent", metavar="WHO", help=f"who plays: {who}")
    player.add_argument(
        "--save", type=Path, default=None, help="dataset folder to record your play of the real game in"
    )
    watcher.add_argument(
        "--resync",
        type=number(0, 3600, " seconds"),
        default=3.0,
        help="seconds after which the dream goes on from reality again; 0: never",
    )
    recorder.add_argument("--resync", type=number(0, 3600, " seconds"), default=0.0, help="the same with --mode both")
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


def add_web_commands(commands: Commands[Parser]) -> None:
    """Add `export` and `web`."""
    exporter = commands.add_parser("export", help="write the dream as ONNX graphs, with a page that plays it")
    exporter.set_defaults(run=export)
    exporter.add_argument("--out", type=folder_to_write, required=True, help="folder to write")
    server = commands.add_parser("web", help="play in a browser: serves the page on this machine")
    server.set_defaults(run=web)
    server.add_argument(
        "--out",
        type=folder_to_write,
        default=Path("dream-doom-web"),
        help="exported folder; made if it is not there, or of other weights (default: dream-doom-web)",
    )
    server.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    server.add_argument("--port", type=whole(0, 65535), default=8666, help="port; 0: any (default: 8666)")
    server.add_argument("--no-browser", dest="browser", action="store_false", help="do not open a browser")
    for command in (exporter, server):
        command.add_argument(
            "--scenario",
            type=one_of(list(SCENARIOS)),
            nargs="+",
            default=[],
            help=f"which of {NAMES} (default: all that the weights know)",
        )
        add_weights(command)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 where `doctor` finds something broken, 2 for a mistake."""
    parser = Parser(prog="dream-doom", description="A learned world model of DOOM to train in.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_training_commands(commands)
    add_play_commands(commands)
    add_web_commands(commands)

    def command() -> object:
        args = parser.parse_args(arguments)
        if args.command not in ("doctor", "push"):  # the one says so itself, the other has none
            from doom_dream_env.world_model.files import find_weights

            find_weights(args.weights)
        return args.run(args)

    return status_of("dream-doom", command)


if __name__ == "__main__":
    sys.exit(main())
