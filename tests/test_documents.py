"""Promises of README and docs: tables, bold figures and sentences are what was measured of the weights that ship."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

from doom_dream_env.agents.quality import best_world, qualities, scorecard_of
from doom_dream_env.world_model import files

pytestmark = pytest.mark.skipif(not files.shipped(), reason="no weights in this checkout")

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WEIGHTS = ROOT / "doom_dream_env" / "weights" / "nano"
CARD = scorecard_of(WEIGHTS)
KNOWN = {name: quality for name, quality in qualities("nano").items() if quality.scores}


def tables(path: Path, *columns: str) -> list[list[dict[str, str]]]:
    """The tables of a page that have these columns: rows by column."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", path.read_text(), re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
        if set(columns) <= set(head):
            found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def table(page: str, *columns: str) -> list[dict[str, str]]:
    """The one table of a page with these columns."""
    (found,) = tables(ROOT / page, *columns)
    return found


def names(page: str, sentence: str) -> set[str]:
    """What stands in backticks, or is the name of a scenario, in the one line with a sentence."""
    (line,) = [line for line in (ROOT / page).read_text().splitlines() if sentence in line]
    return {word.strip("`.,;") for word in line.split()} & set(CARD)


def test_bold_returns_are_those_that_beat_play_that_sees_nothing() -> None:
    seen = 0
    for path in PAGES:
        for rows in tables(path, "scenario", "random", "best blind"):
            for row in rows:
                if row["scenario"] not in KNOWN:
                    continue
                scores = KNOWN[row["scenario"]].scores
                assert scores
                cells = [cell for cell in row.values() if "±" in cell]
                said = [tuple(float(part) for part in cell.strip("*").split(" ± ")) for cell in cells[:3]]
                assert said == [scores.random, scores.blind, scores.agent], f"{path.name}: {row}"
                if any("**" in cell for other in rows for cell in other.values()):
                    assert [cell.startswith("**") for cell in cells] == [
                        cell == cells[2] and scores.learns for cell in cells
                    ], f"{path.name}: {row}"
                seen += 1
    assert seen == 3 * len(KNOWN)


def test_the_quality_of_a_dream_is_one_word_everywhere() -> None:
    said = {row["scenario"]: row["its dream"] for row in table("README.md", "scenario", "its dream")}
    assert said == {name: quality.word for name, quality in KNOWN.items()} and list(said) == list(KNOWN)


def test_gaps_between_dream_and_game_are_what_the_figures_say() -> None:
    for row in table("docs/results.md", "scenario", "relative gap"):
        scores = KNOWN[row["scenario"]].scores
        assert scores and float(row["the agent in its dream"].split(" ± ")[0]) == scores.dream[0]
        assert row["relative gap"] == f"{abs(scores.dream[0] - scores.agent[0]) / abs(scores.agent[0]):.0%}"


def test_sentences_name_the_worlds_of_which_they_are_true() -> None:
    beaten_by_nobody = {name for name, quality in KNOWN.items() if quality.gets == "poor"}
    flattering = {name for name, quality in KNOWN.items() if quality.scores and not quality.scores.close}
    for page in ("README.md", "docs/limitations.md"):
        assert names(page, "Agents do not beat") == beaten_by_nobody
        assert names(page, "ame does") == flattering
    assert names("docs/results.md", "not in take_cover") == beaten_by_nobody


def test_the_tables_of_the_scorecard_are_its_figures() -> None:
    columns = {
        "skill, 1 step": ("skill_1", 2),
        "8 steps": ("skill_8", 2),
        "8 steps, shuffled actions": ("skill_8_shuffled", 2),
        "terminations recalled": ("death_recall", 2),
        "predicted / observed terminations": ("predicted_over_observed_deaths", 2),
        "decoder, dB": ("psnr", 1),
    }
    for row in table("docs/results.md", "scenario", *columns):
        for column, (key, digits) in columns.items():
            off = abs(float(row[column]) - CARD[row["scenario"]][key])
            assert off <= 0.51 * 10**-digits, f"{row['scenario']}, {column}"
    for row in table("docs/results.md", "scenario", "doing nothing"):
        for policy, cell in zip(("noop", "random", "routine"), list(row.values())[1:], strict=True):
            dreamed, real, ks = (float(part.replace(",", "")) for part in re.findall(r"[\d.,]+", cell))
            figures = CARD[row["scenario"]]
            assert dreamed == pytest.approx(figures[f"{policy}_length_dream"], rel=0.01)
            assert real == pytest.approx(figures[f"{policy}_length_real"], rel=0.01)
            assert abs(ks - figures[f"{policy}_ks"]) < 0.0051


def test_sizes_are_those_that_were_counted() -> None:
    parts = files.read_json(WEIGHTS / files.SCORECARD)["parts"]
    for row, (parameters, flops, unit) in zip(
        table("docs/architecture.md", "`nano`", "parameters"), parts.values(), strict=True
    ):
        assert row["parameters"] == f"{parameters / 1e6:.2f} M"
        assert row["operations"] == f"{flops / 1e6:.2f} MFLOP per {unit}"


def test_speeds_in_the_readme_are_those_of_the_results() -> None:
    results = (ROOT / "docs/results.md").read_text()
    for figure in re.findall(r"dream ([\d,]+ steps/s)|That is ([\d.]+ times)", (ROOT / "README.md").read_text()):
        assert "".join(figure) in results


def test_the_first_example_begins_with_the_best_world() -> None:
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text()
        assert re.findall(r'gym\.make\("DreamDoom-v0", scenario="(\w+)"', text)[0] == best_world()


def test_the_site_loads_nothing_from_elsewhere() -> None:
    assert not [path.name for path in PAGES if "```mermaid" in path.read_text()]
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in settings and not re.search(r"extra_(javascript|css)|https?://", settings)
