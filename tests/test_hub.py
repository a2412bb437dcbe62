"""Promises of the hub: what is pushed comes back the same, with a card; what goes wrong is found and said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_stand_in import StandIn
from shard_tools import write_shard
from toy_world import TOY_SCENARIOS

from doom_dream_env.agents import Agent
from doom_dream_env.cli import main
from doom_dream_env.hub import split_name
from doom_dream_env.publish import push
from doom_dream_env.world_model import WorldModel, files

NAME = "someone/dreams"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """A hub of this test's own, an empty cache, and a token."""
    from huggingface_hub import constants

    server = StandIn()
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    yield server
    server.stop()


@pytest.fixture
def pushed(stand_in: StandIn, weights: Path) -> StandIn:
    """A hub that has the tiny weights."""
    push(NAME, weights)
    return stand_in


def card_of(stand_in: StandIn, kind: str = "model", name: str = NAME, branch: str = "main") -> Any:
    from huggingface_hub import DatasetCard, ModelCard

    repository = stand_in.hub.repositories[kind, name]
    text = repository.commits[repository.branches[branch]]["README.md"].decode()
    return (DatasetCard if kind == "dataset" else ModelCard)(text)


def cached(stand_in: StandIn, file: str) -> Path:
    """A file in the cache."""
    from huggingface_hub import constants

    (found,) = Path(constants.HF_HUB_CACHE).glob(f"models--*/snapshots/*/{file}")
    return found


def overwrite(path: Path, data: bytes) -> None:
    """Other contents for a file of the cache, and for the blob that it is a link to."""
    path.resolve().chmod(0o644)
    path.resolve().write_bytes(data)


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/name", ("owner/name", None)),
        ("owner/na-me.1@v2.0", ("owner/na-me.1", "v2.0")),
        ("owner/name@refs/pr/1", ("owner/name", "refs/pr/1")),
        ("nano", None),
        ("./a/b", None),
        ("/a/b", None),
        ("~/b", None),
        ("a/b/c", None),
    ],
)
def test_a_hub_id_is_told_from_a_path(name: str, expected: Any) -> None:
    assert split_name(name) == expected


def test_two_revisions_are_a_contradiction() -> None:
    assert split_name("owner/name@v1", "v1") == split_name("owner/name", "v1") == ("owner/name", "v1")
    with pytest.raises(ValueError, match="names revision 'v1', not 'v2'"):
        split_name("owner/name@v1", "v2")


def test_only_the_hub_has_revisions(weights: Path) -> None:
    with pytest.raises(ValueError, match="only weights on the hub"):
        WorldModel.from_pretrained(weights, revision="v1")


# ---- weights ---------------------------------------------------------------------------------------------------------


def test_pushed_weights_come_back_the_same(pushed: StandIn, model: WorldModel, weights: Path) -> None:
    fetched = WorldModel.from_pretrained(NAME)
    assert fetched.fingerprint == model.fingerprint
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in fetched.state_dict().items())
    assert b"Freedoom" in pushed.hub.model(NAME).commits[pushed.hub.model(NAME).branches["main"]]["NOTICE.md"]
    for name in files.CHECKED:
        assert cached(pushed, name).read_bytes() == (weights / name).read_bytes()


def test_what_was_pushed_is_not_sent_again(pushed: StandIn, weights: Path) -> None:
    sent = sum(method == "PUT" for method, *_ in pushed.hub.requests)
    push(NAME, weights)
    assert sent == 3 and sum(method == "PUT" for method, *_ in pushed.hub.requests) == sent


def test_a_revision_is_a_branch_or_a_commit(
    pushed: StandIn, weights: Path, immortal: WorldModel, tmp_path: Path
) -> None:
    first = pushed.hub.model(NAME).branches["main"]
    immortal.save_pretrained(tmp_path / "other")
    push(f"{NAME}@lives-on", tmp_path / "other")
    old = WorldModel.from_pretrained(NAME).fingerprint
    assert WorldModel.from_pretrained(NAME, revision="lives-on").fingerprint == immortal.fingerprint != old
    assert WorldModel.from_pretrained(f"{NAME}@lives-on").fingerprint == immortal.fingerprint
    push(NAME, tmp_path / "other")
    assert WorldModel.from_pretrained(NAME).fingerprint == immortal.fingerprint
    assert WorldModel.from_pretrained(NAME, revision=first).fingerprint == old


def test_the_card_of_shipped_weights_tells_the_hub_what_was_measured(stand_in: StandIn) -> None:
    push(NAME, files.SHIPPED / "nano")
    card = card_of(stand_in)
    about = card.data.to_dict()
    assert about["library_name"] == "doom-dream-env" and about["license"] == "mit"
    assert {"world-model", "vizdoom"} <= set(card.data.tags) and card.data.pipeline_tag == "reinforcement-learning"
    scorecard = files.read_json(files.SHIPPED / "nano" / "scorecard.json")
    found = {(result.dataset_type, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert found["take_cover", "skill_1"] == scorecard["worlds"]["take_cover"]["skill_1"]
    assert {scenario for scenario, _ in found} == set(scorecard["worlds"])
    assert f'from_pretrained("{NAME}")' in card.text and "## Scorecard" in card.text
    assert card.content.count("library_name") == 1, "the old metadata stayed"
    assert "scorecard.json" in stand_in.hub.model(NAME).commits[stand_in.hub.model(NAME).branches["main"]]


def test_damaged_weights_are_not_pushed(stand_in: StandIn, copy: Path) -> None:
    (copy / "decoder.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="decoder.safetensors is damaged"):
        push(NAME, copy)
    assert not stand_in.hub.repositories


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_without_the_hub_the_cache_goes_on_working(pushed: StandIn, model: WorldModel) -> None:
    WorldModel.from_pretrained(NAME)
    pushed.stop()
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    with pytest.raises(FileNotFoundError, match="not in the cache .* could not be reached .*--weights nano"):
        WorldModel.from_pretrained("someone/else")


def test_offline_mode_asks_nobody(pushed: StandIn, model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    WorldModel.from_pretrained(NAME)
    before = len(pushed.hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    assert len(pushed.hub.requests) == before


def test_an_interrupted_download_goes_on_where_it_was(
    pushed: StandIn, model: WorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what has come of a chunk is lost
    pushed.hub.cut = "world_model.safetensors"
    try:
        fetched = WorldModel.from_pretrained(NAME)
    except FileNotFoundError as error:  # releases of the hub's client differ in whether they try again themselves
        assert "could not be reached" in str(error)
        fetched = WorldModel.from_pretrained(NAME)
    assert fetched.fingerprint == model.fingerprint
    ranges = [asked for _, path, asked in pushed.hub.requests if path.endswith("world_model.safetensors")]
    assert any(asked not in (None, "bytes=0-") for asked in ranges), "all of it was fetched again"


@pytest.mark.parametrize("file", ["config.json", "decoder.safetensors"])
def test_a_file_that_arrives_changed_is_fetched_again(pushed: StandIn, model: WorldModel, file: str) -> None:
    pushed.hub.swapped[file] = 1
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    assert pushed.hub.swapped[file] == 0


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(pushed: StandIn, model: WorldModel) -> None:
    WorldModel.from_pretrained(NAME)
    damaged = cached(pushed, "starts.safetensors")
    overwrite(damaged, damaged.read_bytes()[:-1] + b"?")
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    overwrite(damaged, b"?")
    pushed.stop()
    with pytest.raises(FileNotFoundError, match="is damaged in the cache"):
        WorldModel.from_pretrained(NAME)


def test_weights_that_are_damaged_on_the_hub_are_said_to_be(pushed: StandIn) -> None:
    repository = pushed.hub.model(NAME)
    whole = repository.commits[repository.branches["main"]]
    repository.commit("main", whole | {"decoder.safetensors": whole["decoder.safetensors"][:-1] + b"?"})
    with pytest.raises(ValueError, match="was fetched anew and is still damaged, so it is on the hub: .*decoder"):
        WorldModel.from_pretrained(NAME)


def test_what_is_not_there_is_said(pushed: StandIn) -> None:
    with pytest.raises(FileNotFoundError, match="there is no model 'someone/else' at .*hf auth login"):
        WorldModel.from_pretrained("someone/else")
    with pytest.raises(FileNotFoundError, match=f"'{NAME}' on the hub has no revision 'v9'"):
        WorldModel.from_pretrained(NAME, revision="v9")


def test_who_may_not_write_is_told_what_to_do(
    stand_in: StandIn, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    assert main(["push", NAME, str(weights)]) == 2
    assert "hf auth login" in capsys.readouterr().err


# ---- agents ----------------------------------------------------------------------------------------------------------


def test_a_pushed_agent_plays_as_before_and_says_its_score(stand_in: StandIn) -> None:
    from doom_dream_env.agents.agent import SHIPPED

    push("someone/agent", SHIPPED / "take_cover")
    agent = Agent.load("take_cover")
    fetched = Agent.load("someone/agent", agent.card.fingerprint)
    features = torch.randn(5, next(agent.network.parameters()).shape[1])
    assert fetched.card == agent.card and torch.equal(fetched.logits(features), agent.logits(features))
    (result,) = card_of(stand_in, name="someone/agent").data.eval_results
    assert (result.metric_type, result.metric_value) == ("mean_reward", "761 +/- 29")


def test_the_score_of_another_agent_is_not_claimed(stand_in: StandIn, tmp_path: Path) -> None:
    Agent.load("take_cover").save(tmp_path / "mine")
    push("someone/agent", tmp_path / "mine")
    assert not card_of(stand_in, name="someone/agent").data.eval_results


# ---- datasets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "toy"))


def test_a_pushed_dataset_has_a_configuration_for_each_scenario(stand_in: StandIn, dataset: Path) -> None:
    (dataset / "take_cover" / "notes.txt").write_text("not for everybody")
    push("someone/play", dataset)
    repository = stand_in.hub.repositories["dataset", "someone/play"]
    stored = repository.commits[repository.branches["main"]]
    expected = {f"{name}/{split}-00000.parquet" for name in TOY_SCENARIOS for split in ("train", "val")}
    assert stored.keys() == expected | {"README.md", "NOTICE.md"}
    configs = card_of(stand_in, "dataset", "someone/play").data.configs
    assert {config["config_name"] for config in configs} == set(TOY_SCENARIOS)
    assert configs[0]["data_files"] == [
        {"split": "train", "path": f"{configs[0]['config_name']}/train-*.parquet"},
        {"split": "validation", "path": f"{configs[0]['config_name']}/val-*.parquet"},
    ]


def test_the_datasets_library_reads_what_is_pushed(stand_in: StandIn, dataset: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    push("someone/play", dataset)
    repository = stand_in.hub.repositories["dataset", "someone/play"]
    for name, data in repository.commits[repository.branches["main"]].items():
        (tmp_path / "fetched" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(data)
    read = datasets.load_dataset(str(tmp_path / "fetched"), "take_cover", cache_dir=str(tmp_path / "arrow"))
    assert set(read) == {"train", "validation"} and len(read["train"]) == 84
    row = read["train"][3]
    assert len(row["action"]) == 9 and row["elapsed"] == 3 and row["objects"][0]["name"] == "DoomImp"


def test_frames_of_the_commercial_game_are_not_pushed(stand_in: StandIn, tmp_path: Path, monkeypatch: Any) -> None:
    _, writer = write_shard(tmp_path / "freedoom" / "train-00000.parquet", [3])
    writer.write(tmp_path / "freedoom" / "train-doom2-MAP01-00000.parquet", "freedoom", "freedoom:doom2:MAP01")
    with pytest.raises(ValueError, match="train-doom2.*shows the graphics of doom2, which may not be passed on"):
        push("someone/play", tmp_path)
    assert not stand_in.hub.repositories


def test_a_folder_of_something_else_is_refused(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds nothing to push: expected weights .* or a dataset"):
        push(NAME, tmp_path)
    with pytest.raises(ValueError, match="'dreams' is no name on the hub"):
        push("dreams", tmp_path)
