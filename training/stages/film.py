"""Film free play as unlabelled videos, to try labelling on, and to train and score the inverse dynamics model.

    python -m training film --out films/train --films 36 --minutes 3
    python -m training film --out films/test --films 12 --split test         # other maps, another kind of player
    python -m training film --out films/poor --films 4 --looks poor --players scripted --maps E1M1 MAP07

Films are as people make them: H.264 in several qualities, frame rates (24 to 60, and variable ones), sizes and aspects,
with and without the status bar; in most of them, titles, menus, death screens and other programs are cut in
(`training.footage.interludes`). What was pressed is in a file of its own (`training.footage.truth`).

The same command makes the same films, and goes on where a killed one was: films that are whole are kept.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np

from doom_dream_env.errors import UserError
from doom_dream_env.processes import end_with_parent, usable_cores
from doom_dream_env.progress import progress
from doom_dream_env.scenarios import TICS_PER_SECOND, get_scenario
from doom_dream_env.scenarios.wads import maps_in, shipped_wad
from doom_dream_env.seeds import SPLITS
from training.config import FilmConfig, record_config
from training.config.film import HELD_OUT_MAPS, LOOKS, PLAYERS
from training.footage.filming import FilmJob, shoot_film
from training.players.roster import make_player
from training.processes import sole_writer

INTERLUDES = 0.7  # share of the films that have titles, menus, death screens and the like cut in
STATUS_BAR = 0.75  # share of the films that show it


def film(config: FilmConfig) -> int:
    """Make the films that are not there yet.

    Returns:
        their number.

    Raises:
        ValueError: if a map, player or look is unknown, or a film has no length.
        OSError: if a film cannot be written; finished ones stay.
    """
    jobs = plan_films(config)
    with sole_writer(config.out, "film"):
        record_config(config, config.out / "film.config.json")
        for leftover in config.out.glob("*.partial*"):
            leftover.unlink()
        todo = [job for job in jobs if not job.is_done]
        _shoot(todo, len(jobs), config.workers or usable_cores())
    return len(todo)


def plan_films(config: FilmConfig) -> list[FilmJob]:
    """All films, finished or not.

    Maps, players and looks come in turn, each in an order of its own, so that no two of them always meet.

    Raises:
        ValueError: as for `film`.
    """
    tics = round(config.minutes * 60 * TICS_PER_SECOND)
    if tics < TICS_PER_SECOND:
        raise UserError(f"--minutes {config.minutes} is less than a second; give a longer time")
    if not config.looks:
        raise UserError(f"--looks names none; choose from {', '.join(LOOKS)}")
    if unknown := [look for look in config.looks if look not in LOOKS]:
        raise UserError(f"look {unknown[0]!r} is unknown; choose from {', '.join(LOOKS)}")
    maps = config.maps or default_maps(config.split == "test")
    for name in maps:
        get_scenario("freedoom", name)  # says what is wrong with it
    players = config.players or PLAYERS[config.split]
    for name in players:
        make_player(name, get_scenario("freedoom", maps[0]), np.random.default_rng(0))  # likewise
    jobs = []
    seed = SPLITS[config.split].start
    order = np.random.default_rng(seed).permutation(len(maps))
    for index in range(config.films):
        rng = np.random.default_rng((seed, index, 1))
        look = config.looks[(index + index // len(config.looks)) % len(config.looks)]
        jobs.append(
            FilmJob(
                path=config.out / f"{config.split}-{index:03d}-{look}.mp4",
                index=index,
                split=config.split,
                tics=tics,
                map=maps[order[index % len(maps)]],
                player=players[index % len(players)],
                look=look,
                appearance=LOOKS[look],
                interludes=bool(rng.random() < INTERLUDES),
                hud=bool(rng.random() < STATUS_BAR),
            )
        )
    return jobs


def default_maps(held_out: bool) -> tuple[str, ...]:
    """Maps of both parts of Freedoom: those that are held out for tests, or all the others."""
    if held_out:
        return HELD_OUT_MAPS
    found = [name for one in ("E1M1", "MAP01") for name in maps_in(shipped_wad(one))]
    return tuple(name for name in found if name not in HELD_OUT_MAPS)


def _shoot(jobs: list[FilmJob], total: int, workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(min(workers, max(len(jobs), 1)), mp_context=context, initializer=end_with_parent) as pool,
        progress(total=total, initial=total - len(jobs), unit="film", desc="film") as bar,
    ):
        for future in as_completed([pool.submit(shoot_film, job) for job in jobs]):
            future.result()
            bar.update()
