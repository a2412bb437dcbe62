"""Promises of the hub: what is pushed comes back the same, with a card; what goes wrong is found and said."""

from __future__ import annotations

import errno
import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow.parquet as pq
import pytest
import torch
from hub_stand_in import StandIn, refusal
from huggingface_hub import constants, errors
from shard_tools import write_shard
from test_action_policy import make_policy
from test_soft_labels import write_footage
from toy_world import TOY_SCENARIOS

from doom_dream_env.agents import Agent
from doom_dream_env.agents.action_policy import ActionPolicy
from doom_dream_env.cli import main
from doom_dream_env.hub import split_name
from doom_dream_env.idm import InverseDynamics
from doom_dream_env.idm.model import SHIPPED as SHIPPED_IDM
from doom_dream_env.publish import push
from doom_dream_env.recording import FREEDOOM, METADATA, Origin
from doom_dream_env.world_model import WorldModel, files

NAME = "someone/dreams"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """A hub of this test's own, and an empty cache."""
    hub = StandIn(tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


@pytest.fixture
def pushed(stand_in: StandIn, weights: Path) -> StandIn:
    """A hub that has the tiny weights."""
    push(NAME, weights)
    return stand_in


def card_of(stand_in: StandIn, kind: str = "model", name: str = NAME) -> Any:
    text = stand_in.files(name, repo_type=kind)["README.md"].decode()
    return (huggingface_hub.DatasetCard if kind == "dataset" else huggingface_hub.ModelCard)(text)


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
    stored = pushed.files(NAME)
    assert b"Freedoom" in stored["NOTICE.md"] and b"# tiny" in stored["README.md"]
    assert all(stored[name] == (weights / name).read_bytes() for name in files.CHECKED)


def test_a_revision_is_a_branch_a_commit_or_an_open_pull_request(
    pushed: StandIn, weights: Path, immortal: WorldModel, tmp_path: Path
) -> None:
    repository = pushed.repositories["model", NAME]
    first = next(name for name in repository if name != "main")
    repository["refs/pr/1"] = {}
    immortal.save_pretrained(tmp_path / "other")
    for branch in ("lives-on", "refs/pr/1"):
        push(f"{NAME}@{branch}", tmp_path / "other")
        old = WorldModel.from_pretrained(NAME).fingerprint
        assert WorldModel.from_pretrained(NAME, revision=branch).fingerprint == immortal.fingerprint != old
        assert WorldModel.from_pretrained(f"{NAME}@{branch}").fingerprint == immortal.fingerprint
    with pytest.raises(ConnectionError, match="could not be written .Invalid reference for a branch: refs/pr/2"):
        push(f"{NAME}@refs/pr/2", tmp_path / "other")
    push(NAME, tmp_path / "other")
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
    assert "scorecard.json" in stand_in.files(NAME) and "skill.png" in stand_in.files(NAME)


def test_the_licence_of_what_weights_learned_from_travels_with_them(
    stand_in: StandIn, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = files.read_json(copy / files.MANIFEST)
    film = {"source": "my channel", "licence": "CC-BY-4.0"}
    free = {"source": FREEDOOM.source, "licence": FREEDOOM.licence}
    unnamed = {"source": None, "licence": None}
    named = ["--source", "my channel", "--licence", "cc-by-4.0"]
    table: list[tuple[Any, list[str], str]] = [  # what the manifest says, what the command says, licence or complaint
        ([free], [], "mit"),
        ([film], [], "cc-by-4.0"),
        ([free, film], [], "cc-by-4.0"),
        ([film, {"source": "another", "licence": "mit"}], [], "other"),
        ([film], named, "says itself what it learned from, so leave out"),
        ([film | {"licence": None}], [], "learned from my channel, .* give --licence"),
        ([film | {"licence": None}], ["--licence", "for research"], "other"),
        ([free, unnamed], [], "pictures of an unknown source, .* --source, too"),
        ([free, unnamed], ["--licence", "cc-by-4.0"], "pictures of an unknown source, .* --source, too"),
        ([free, unnamed], named, "cc-by-4.0"),
        (None, [], "pictures of an unknown source"),  # weights of earlier releases
        (None, named, "cc-by-4.0"),
        ([{"colour": "red"}], [], "manifest.json is damaged"),
    ]
    for said, words, expected in table:
        stand_in.repositories.clear()
        about = {key: value for key, value in manifest.items() if key != "origins"}
        (copy / files.MANIFEST).write_text(json.dumps(about if said is None else about | {"origins": said}))
        if main(["push", NAME, str(copy), *words]):
            assert re.search(expected, capsys.readouterr().err) and not stand_in.repositories
        else:
            card = card_of(stand_in)
            assert card.data.license == expected
            assert all(str(each["source"]) in card.text for each in said or [film] if each["source"])
            assert ("NOTICE.md" in stand_in.files(NAME)) == (said is not None and free in said)


def test_players_have_the_licence_of_the_weights_that_they_see_through(
    stand_in: StandIn, model: WorldModel, copy: Path, tmp_path: Path
) -> None:
    manifest = files.read_json(copy / files.MANIFEST)
    film = {"source": "my channel", "licence": "cc-by-4.0"}
    (copy / files.MANIFEST).write_text(json.dumps(manifest | {"origins": [film]}))
    policy = make_policy(WorldModel.from_pretrained(copy))
    policy.save(tmp_path / "clone")
    push("someone/clone", tmp_path / "clone")
    assert card_of(stand_in, name="someone/clone").data.license == "cc-by-4.0"
    shutil.rmtree(copy)
    with pytest.raises(ValueError, match="pictures of an unknown source"):
        push("someone/clone", tmp_path / "clone")


def test_damaged_weights_are_not_pushed(stand_in: StandIn, copy: Path) -> None:
    (copy / "decoder.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="decoder.safetensors is damaged"):
        push(NAME, copy)
    assert not stand_in.repositories


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_without_the_hub_the_cache_goes_on_working(pushed: StandIn, model: WorldModel) -> None:
    WorldModel.from_pretrained(NAME)
    pushed.fault = OSError("nobody answers")
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    with pytest.raises(FileNotFoundError, match="not in the cache .* could not be reached .nobody answers.*--weights"):
        WorldModel.from_pretrained("someone/else")


def test_a_hub_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Path) -> None:
    """What the client itself raises then differs from release to release."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="could not be reached"):
        WorldModel.from_pretrained(NAME)
    with pytest.raises(ConnectionError, match="could not be written"):
        push(NAME, weights)


@pytest.mark.parametrize("file", ["config.json", "decoder.safetensors"])
def test_a_file_that_arrives_changed_is_fetched_again(pushed: StandIn, model: WorldModel, file: str) -> None:
    pushed.spoilt[file] = 1
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    assert pushed.asked == 2 and pushed.spoilt[file] == 0


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(pushed: StandIn, model: WorldModel) -> None:
    WorldModel.from_pretrained(NAME)
    (damaged,) = pushed.cache.rglob("starts.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    damaged.write_bytes(b"?")
    pushed.fault = OSError("nobody answers")
    with pytest.raises(FileNotFoundError, match="is damaged in the cache"):
        WorldModel.from_pretrained(NAME)


def test_weights_that_are_damaged_on_the_hub_are_said_to_be(pushed: StandIn) -> None:
    pushed.spoilt["decoder.safetensors"] = 2
    with pytest.raises(ValueError, match="was fetched anew and is still damaged, so it is on the hub: .*decoder"):
        WorldModel.from_pretrained(NAME)


def test_what_is_not_there_or_cannot_be_is_said(pushed: StandIn) -> None:
    with pytest.raises(FileNotFoundError, match="there is no model 'someone/else' at .*hf auth login"):
        WorldModel.from_pretrained("someone/else")
    with pytest.raises(FileNotFoundError, match=f"'{NAME}' on the hub has no revision 'v9'"):
        WorldModel.from_pretrained(NAME, revision="v9")
    pushed.fault = errors.HFValidationError("Cannot have -- in it")
    for use in (lambda: WorldModel.from_pretrained("a--b/c"), lambda: push("a--b/c", files.SHIPPED / "nano")):
        with pytest.raises(ValueError, match="no repository on the hub can be called 'a--b/c': Cannot have --"):
            use()
    pushed.fault = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="'someone/else' could not be kept in the cache .*No space left"):
        WorldModel.from_pretrained("someone/else")


def test_who_may_not_write_is_told_what_to_do(
    stand_in: StandIn, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.fault = refusal(errors.HfHubHTTPError, 401, "Invalid username or password.")
    assert main(["push", NAME, str(weights)]) == 2
    assert "Invalid username or password.); log in with `hf auth login`" in capsys.readouterr().err


# ---- players ---------------------------------------------------------------------------------------------------------


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


def test_clones_and_readers_of_keys_come_back_the_same(stand_in: StandIn, model: WorldModel, tmp_path: Path) -> None:
    policy = make_policy(model)
    policy.save(tmp_path / "clone")
    push("someone/clone", tmp_path / "clone")
    assert ActionPolicy.load("someone/clone", model.fingerprint).config == policy.config
    assert 'ActionPolicy.load("someone/clone")' in card_of(stand_in, name="someone/clone").text
    (folder,) = SHIPPED_IDM.iterdir()
    push("someone/keys", folder)
    fetched = InverseDynamics.from_pretrained("someone/keys")
    assert fetched.config == InverseDynamics.from_pretrained().config
    assert 'from_pretrained("someone/keys")' in card_of(stand_in, name="someone/keys").text
    shutil.copytree(folder, tmp_path / "keys")
    (tmp_path / "keys" / "idm.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="idm.safetensors is damaged: .*fetch it anew"):
        push("someone/keys", tmp_path / "keys")
    (tmp_path / "keys" / "idm.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="idm.safetensors is missing"):
        InverseDynamics.from_pretrained(tmp_path / "keys")


# ---- datasets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "toy"))


def test_a_pushed_dataset_has_a_configuration_for_each_scenario(stand_in: StandIn, dataset: Path) -> None:
    (dataset / "take_cover" / "notes.txt").write_text("not for everybody")
    push("someone/play", dataset)
    stored = stand_in.files("someone/play", repo_type="dataset")
    expected = {f"{name}/{split}-00000.parquet" for name in TOY_SCENARIOS for split in ("train", "val")}
    assert stored.keys() == expected | {"README.md", "NOTICE.md"}
    about = card_of(stand_in, "dataset", "someone/play")
    assert about.data.license == "bsd-3-clause" and "ViZDoom with Freedoom" in about.text
    configs = about.data.configs
    assert {config["config_name"] for config in configs} == set(TOY_SCENARIOS)
    with pytest.raises(ValueError, match="toy is a dataset: every shard says whose it is, so leave out --source"):
        push("someone/play", dataset, said=Origin(licence="mit"))
    assert configs[0]["data_files"] == [
        {"split": "train", "path": f"{configs[0]['config_name']}/train-*.parquet"},
        {"split": "validation", "path": f"{configs[0]['config_name']}/val-*.parquet"},
    ]


def test_the_datasets_library_reads_what_is_pushed(stand_in: StandIn, dataset: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    push("someone/play", dataset)
    for name, data in stand_in.files("someone/play", repo_type="dataset").items():
        (tmp_path / "fetched" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(data)
    read = datasets.load_dataset(str(tmp_path / "fetched"), "take_cover", cache_dir=str(tmp_path / "arrow"))
    assert set(read) == {"train", "validation"} and len(read["train"]) == 84
    row = read["train"][3]
    assert len(row["action"]) == 9 and row["elapsed"] == 3 and row["objects"][0]["name"] == "DoomImp"


def test_what_nobody_has_given_a_licence_is_not_pushed(stand_in: StandIn, tmp_path: Path) -> None:
    _, writer = write_shard(tmp_path / "freedoom" / "train-00000.parquet", [3])
    others = {
        "train-doom2-MAP01-00000": Origin("ViZDoom with doom2.wad"),
        "train-film-00000": Origin("somebody's channel"),
        "train-film-00001": Origin(licence="mit"),
    }
    for stem, origin in others.items():
        path = tmp_path / "freedoom" / f"{stem}.parquet"
        writer.write(path, "freedoom", "freedoom:footage", origin)
        with pytest.raises(ValueError, match=f"{stem}.* shows {origin.source or 'pictures of an unk'}.*--licence"):
            push("someone/play", tmp_path)
        path.unlink()
    assert not stand_in.repositories


def test_a_card_says_of_all_frames_whose_they_are(stand_in: StandIn, tmp_path: Path) -> None:
    write_footage(tmp_path / "take_cover" / "train-a.parquet", origin=Origin("my channel", "CC-BY-4.0"))
    push("someone/film", tmp_path)
    card = card_of(stand_in, "dataset", "someone/film")
    assert card.data.license == "cc-by-4.0" and "| my channel | CC-BY-4.0 | 1 |" in card.text
    assert "Freedoom" not in card.content and "NOTICE.md" not in stand_in.files("someone/film", repo_type="dataset")
    write_footage(tmp_path / "take_cover" / "train-b.parquet", origin=Origin("an\nother|one", "for research, he wrote"))
    push("someone/film", tmp_path)
    card = card_of(stand_in, "dataset", "someone/film")
    assert card.data.license == "other" and "| an other\\|one | for research, he wrote | 1 |" in card.text


@pytest.mark.parametrize(
    ("place", "column", "free"), [("basic", False, True), ("basic", True, False), ("my", False, False)]
)
def test_shards_of_before_origins_were_said_are_free_if_they_can_only_show_freedoom(
    stand_in: StandIn, tmp_path: Path, place: str, column: bool, free: bool
) -> None:
    path = tmp_path / "basic" / "train-00000.parquet"
    write_footage(path, place=place) if column else write_shard(path, [3])
    table = pq.read_table(path)
    about = {key: value for key, value in json.loads(table.schema.metadata[METADATA]).items() if key != "source"}
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(about | {"place": place})}), path)
    with nullcontext() if free else pytest.raises(ValueError, match="pictures of an unknown source"):
        push("someone/play", tmp_path)


def test_a_folder_of_something_else_is_refused(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds nothing to push: expected manifest.json, .* or a dataset"):
        push(NAME, tmp_path)
    with pytest.raises(ValueError, match="'dreams' is no name on the hub"):
        push("dreams", tmp_path)
