"""How fast the page is in Chromium on this machine: what a step costs, what is displayed, how soon a key is seen.

dream-doom export --out dream && python tests/page_speed.py --folder dream --world take_cover
python tests/page_speed.py --folder dream --world take_cover --episodes 200    # and what the agent scores in it

Run it on a machine that does nothing else: only the processor time says something beside other programs.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
from browser import Browser, processes, served

from doom_dream_env.agents import Agent
from doom_dream_env.envs.batch import DreamBatch
from doom_dream_env.evaluation import evaluate_policy
from doom_dream_env.seeds import EVALUATION
from doom_dream_env.world_model import WorldModel

REPEATS = 40


def processor_time(pid: int) -> float:
    """Seconds that all threads of a process have computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(page: Browser, seconds: float) -> None:
    """Print what one page makes of the world that it shows."""
    renderers = [
        pid
        for pid in processes(page.driver.service.process.pid)
        if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    page.run("dreamdoom.send('set', {paused: true})")
    page.run("dreamdoom.send('measure', {repeats: 5})")  # warm
    page.wait("return dreamdoom.statistics.measured")
    page.run("dreamdoom.statistics.measured = null")
    before = sum(map(processor_time, renderers))
    page.run("dreamdoom.send('measure', {repeats: arguments[0]})", REPEATS)
    found = page.wait("return dreamdoom.statistics.measured")
    spent = 1000 * (sum(map(processor_time, renderers)) - before) / (REPEATS + 1)
    print(
        f"step {found['step']:.1f} ms, picture {found['picture']:.1f} ms, {found['both']:.1f} of both a second;",
        end=" ",
    )
    print(f"{spent:.1f} ms of processor time for both")

    page.run("dreamdoom.send('set', {paused: false}); dreamdoom.statistics.latencies.length = 0")
    page.run("dreamdoom.statistics.displayed = 0; dreamdoom.statistics.since = performance.now()")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        code = random.choice(("ArrowLeft", "ArrowRight", "ArrowUp", "KeyJ"))
        for kind in ("keyDown", "keyUp"):
            page.devtools("Input.dispatchKeyEvent", type=kind, code=code, key=code)
            time.sleep(random.uniform(0.2, 0.4))
    shown = "dreamdoom.statistics.displayed * 1000 / (performance.now() - dreamdoom.statistics.since)"
    displayed, latencies = page.run(f"return [{shown}, dreamdoom.statistics.latencies]")
    print(f"displayed {displayed:.1f} frames/s;", end=" ")
    print("key to picture ms, median {:.0f}, 95th percentile {:.0f}".format(*np.percentile(latencies, [50, 95])))


def score(page: Browser, world: str, episodes: int) -> None:
    """Print what the shipped agent scores in the page's dreams and in as many of Python's."""
    page.run("dreamdoom.statistics.scored = null; dreamdoom.send('score', {episodes: arguments[0]})", episodes)
    found = page.wait("return dreamdoom.statistics.scored", seconds=3600)
    model = WorldModel.from_pretrained()
    agent = Agent.load(world, model.fingerprint)
    expected = evaluate_policy(DreamBatch(episodes, world, weights=model), agent, episodes, EVALUATION)
    for where, returns in (("page", np.array(found["returns"])), ("Python", expected.returns)):
        margin = 1.96 * returns.std(ddof=1) / np.sqrt(episodes)
        print(f"agent in {episodes} dreams, {where}: {returns.mean():.4g} ± {margin:.2g}")


def main() -> None:
    """Measure some variants and numbers of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="what `dream-doom export` wrote")
    parser.add_argument("--world", default="take_cover", help="which world to play")
    parser.add_argument("--seconds", type=float, default=20.0, help="of play for each line")
    parser.add_argument(
        "--options",
        nargs="+",
        default=["variant=int8&threads=1", "variant=int8&threads=2", "variant=float16&threads=2"],
        help="options of the page's address",
    )
    parser.add_argument("--episodes", type=int, default=0, help="whole dreams of the shipped agent, here and in Python")
    args = parser.parse_args()
    with served(args.folder) as server, tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as page:
        for options in args.options:
            page.open(f"{server.url}?{options}")
            page.choose(args.world)
            print(f"{options}: ", end="", flush=True)
            measure(page, args.seconds)
        if args.episodes:
            score(page, args.world, args.episodes)


if __name__ == "__main__":
    main()
