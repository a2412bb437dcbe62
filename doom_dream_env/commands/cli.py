"""`dream-doom`: the command line. What is wrong with an option is said before torch is loaded."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from doom_dream_env import __version__
from doom_dream_env.agents.quality import best_first
from doom_dream_env.errors import status_of
from doom_dream_env.options import (
    LONGEST,
    MINDS,
    Parser,
    file,
    folder_to_read,
    folder_to_write,
    mind,
    number,
    one_of,
    scale,
    seed,
    whole,
)
from doom_dream_env.scenarios import SCENARIOS
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model.origins import Origin

Commands = argparse._SubParsersAction  # what `add_subparsers` returns
NAMES = ", ".join(SCENARIOS)
BEST = "the best dream, as `dream-doom info` says"
DISCRETE = [scenario.name for scenario in SCENARIOS.values() if scenario.discrete]


# ---- what the commands do --------------------------------------------------------------------------------------------


def demo(args: argparse.Namespace) -> None:
    """Train in the dream, test in the game, film both."""
    from doom_dream_env.commands.demo import run

    scenario = args.scenario or best_first(DISCRETE, args.weights)[0]
    where = args.weights, args.out, args.beside, args.first_seed
    run(scenario, args.steps, args.episodes, args.temperature, args.seed, *where)


def info(args: argparse.Namespace) -> None:
    """Print all scenarios and weights, or one scenario."""
    from doom_dream_env.commands import info

    if args.world is None:
        info.show_all(args.weights)
    else:
        info.show_world(args.world, args.weights)


def bench(args: argparse.Namespace) -> None:
    """Measure the speed of the dream and of the game."""
    from doom_dream_env.commands.benchmark import run

    run(args.scenario, args.weights, args.seconds, args.table)


def doctor(args: argparse.Namespace) -> int:
    """Check the installation; the exit status says whether it can be used."""
    from doom_dream_env.commands.doctor import examine

    return examine(args.weights)


def export(args: argparse.Namespace) -> None:
    """Write graphs, worlds and the page."""
    from doom_dream_env.export.bundle import ExportConfig, write_export

    manifest = write_export(ExportConfig(args.out, args.weights, tuple(args.scenario)))
    words = ["dream-doom", "web", "--out", str(args.out), *(["--weights", args.weights] if args.weights else [])]
    print(f"{args.out.resolve()}: {len(manifest['worlds'])} worlds; look at it with: {shlex.join(words)}")
    for name, graph in (manifest["graphs"] | manifest["agents"]).items():
        for variant, reason in graph["left_out"].items():
            print(f"left out: {name} as {variant}, which is too far off ({reason})")


def web(args: argparse.Namespace) -> None:
    """Serve the page on this machine; what is not exported yet, or not as it would be now, is exported first."""
    from doom_dream_env.export.sources import exported
    from doom_dream_env.web import PageServer

    there, current = exported(args.out, args.weights)
    with PageServer(args.out, args.host, args.port) as server:  # what is wrong with the address is said first
        if not current or not set(args.scenario) <= set(there):
            args.scenario = [*there, *args.scenario] if current else args.scenario or there
            print(f"exporting to {args.out}, once for these weights; this takes a minute or two", flush=True)
            export(args)
        server.show(args.browser)


def push(args: argparse.Namespace) -> None:
    """Send a folder to the hub."""
    from doom_dream_env.commands.publish import push as send

    said = Origin(args.source, args.licence)
    print(send(args.name, args.folder, private=args.private, message=args.message, said=said))


def play(args: argparse.Namespace) -> None:
    """Run `play`, `autoplay` or `record`."""
    from doom_dream_env.play import commands

    {"play": commands.play, "autoplay": commands.autoplay, "record": commands.record}[args.command](args)


# ---- their options ---------------------------------------------------------------------------------------------------


def add_weights(command: Parser, default: str = "the best shipped") -> None:
    """Add the option that all commands have."""
    command.option("--weights", "name, folder or owner/name on the hub", said=default)


def add_training_commands(commands: Commands[Parser]) -> None:
    """Add `demo`, `info`, `bench`, `doctor` and `push`."""
    command = commands.add_parser("demo", help="train an agent inside the dream, test it in the real game, film both")
    command.set_defaults(run=demo)
    command.option("--scenario", f"one of {', '.join(DISCRETE)}", one_of(DISCRETE), said=BEST)
    command.option("--steps", "of training in the dream", whole(1, 10**9), 120_000)
    command.option("--episodes", "per policy, in the dream and in the real game", whole(2, 100_000), 20)
    command.option("--temperature", "of the dream that is trained in", number(0, 10), said="the scenario's own")
    command.option("--seed", "of training", seed, 0)
    command.option("--first-seed", "of the games; from 90,000 up they are yours", seed, EVALUATION)
    add_weights(command)
    command.option("--out", "folder for agent, clip and plot", folder_to_write, Path("dream-doom-demo"))
    others = f"others to play the same games: {', '.join(MINDS)}, or folders of agents; planners take minutes"
    command.option("--beside", others, mind, [], said="nobody", nargs="+", metavar="WHO")

    command = commands.add_parser("info", help="scenarios, weights, sizes, arithmetic, scores")
    command.set_defaults(run=info)
    command.option("world", "all about one scenario", one_of(list(SCENARIOS)), said="about all", nargs="?")
    add_weights(command, "all shipped")

    command = commands.add_parser(
        "bench", help="steps/s of the dream and of the real game, in one run on the same cores"
    )
    command.set_defaults(run=bench)
    command.option("--scenario", f"one of {', '.join(DISCRETE)}", one_of(DISCRETE), "take_cover")
    add_weights(command)
    command.option("--seconds", "spent on each figure", number(0.05, 3600, " seconds"), 3.0)
    command.option(
        "--table", "page whose table of speeds also gets a row for this machine", file, said="none", metavar="FILE"
    )

    command = commands.add_parser("doctor", help="check the installation: what a report of a bug needs")
    command.set_defaults(run=doctor)
    add_weights(command)

    command = commands.add_parser("push", help="send weights, an agent or a dataset to the Hugging Face hub")
    command.set_defaults(run=push)
    command.add_argument("name", help="owner/name, or owner/name@branch; made if it does not exist")
    command.add_argument("folder", type=folder_to_read, help="folder of weights, of an agent, or of a dataset")
    command.add_argument("--private", action="store_true", help="a new repository is seen by its owner alone")
    command.option("--message", "of the commit", said="what was sent")
    command.option("--source", "whose pictures a model learned from, if its files do not say it", said="what they say")
    command.option("--licence", "under which those may be passed on: cc-by-4.0, or words", said="what they say")


def add_play_commands(commands: Commands[Parser]) -> None:
    """Add `play`, `autoplay` and `record`."""
    player = commands.add_parser("play", help="play a dream, the real game, or both side by side, in a window")
    watcher = commands.add_parser(
        "autoplay", help="watch an agent play the real game, and beside it what the dream predicts"
    )
    recorder = commands.add_parser("record", help="the same as play as a film, without a display")
    for command in (player, watcher, recorder):
        command.set_defaults(run=play)
        names = one_of(list(SCENARIOS), ".cfg")
        command.option("--scenario", f"one of {NAMES}, or a ViZDoom .cfg", names, said=BEST)
        command.option("--map", "of free play, e.g. MAP07 or E1M3", said="MAP01")
        command.option("--wad", "WAD of your own for free play", file, said="Freedoom")
        add_weights(command)
        command.option(
            "--temperature", "of the dream: 0, the best guess, 1, as it was learned, to 2", number(0, 2), 1.0
        )
        command.option("--seed", "of all random numbers", seed, said="chance")
    for command in (player, recorder):
        command.option("--mode", "what is played", str, "dream", choices=("dream", "real", "both"))
        command.add_argument("--real", dest="mode", action="store_const", const="real", help="short for --mode real")
        command.option("--start", "picture or clip that the dream begins with", file, said="first moments of the game")
    for command in (player, watcher):
        command.option("--out", "folder for films and screenshots", Path, Path("dream-doom-films"))
        command.option("--scale", "size of the window: 160x120 so many times enlarged", scale, 4)
    who = f"{', '.join(MINDS)}, or the folder of an agent"
    first = f"who plays first, Tab hands over: {who}; without a name the agent that ships"
    player.option("--agent", first, mind, said="you", nargs="?", const="agent", metavar="WHO")
    for command in (watcher, recorder):
        command.option("--agent", f"who plays: {who}", mind, "agent", metavar="WHO")
    player.option("--save", "dataset folder to record your play of the real game in", Path, said="none")
    player.option("--licence", "with --save, of a WAD of your own: cc-by-4.0, or words", said="not said")
    resync = "seconds after which the dream goes on from the real game again; 0: never"
    watcher.option("--resync", resync, number(0, 3600, " seconds"), 3.0)
    recorder.option("--resync", f"with --mode both, {resync}", number(0, 3600, " seconds"), 0.0)
    keys = 'what to press for how many steps, e.g. "W*20 A*5 W+CTRL*3"'
    recorder.option("--keys", keys, said="what an agent presses")
    length = number(0.05, LONGEST, " seconds")
    recorder.option("--seconds", "length of the film", length, said="that of --keys, or 10")
    recorder.option("--out", "the film, an .mp4 or a .gif", Path, Path("dream-doom.mp4"))
    recorder.option("--scale", "size of the film: 160x120 so many times enlarged", scale, 3)


def add_web_commands(commands: Commands[Parser]) -> None:
    """Add `export` and `web`."""
    exporter = commands.add_parser("export", help="write the dream as ONNX graphs, with a page that plays it")
    exporter.set_defaults(run=export)
    exporter.add_argument("--out", type=folder_to_write, required=True, help="folder to write")
    server = commands.add_parser("web", help="play in a browser: serves the page on this machine")
    server.set_defaults(run=web)
    folder = "exported folder; made if it is not there, or not as it would be made now"
    server.option("--out", folder, folder_to_write, Path("dream-doom-web"))
    server.option("--host", "address to listen at; 127.0.0.1: this machine's own", str, "127.0.0.1")
    server.option("--port", "port; 0: any", whole(0, 65535), 8666)
    server.add_argument("--no-browser", dest="browser", action="store_false", help="do not open a browser")
    for command, said in ((exporter, "all that the weights know"), (server, "those that are there, or all")):
        command.option("--scenario", f"which of {NAMES}", one_of(list(SCENARIOS)), [], said=said, nargs="+")
        add_weights(command)


def make_parser() -> Parser:
    """The commands and their options."""
    parser = Parser(prog="dream-doom", description="A learned world model of DOOM to train in.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_training_commands(commands)
    add_play_commands(commands)
    add_web_commands(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 where `doctor` finds something broken, 2 for a mistake."""

    def command() -> object:
        args = make_parser().parse_args(arguments)
        if args.command not in ("doctor", "push"):  # the one says so itself, the other has none
            from doom_dream_env.world_model.files import find_weights

            find_weights(args.weights)
        return args.run(args)

    return status_of("dream-doom", command)


if __name__ == "__main__":
    sys.exit(main())
