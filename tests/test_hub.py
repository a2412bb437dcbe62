"""Promises of the hub: what is pushed comes back the same, with a card; what goes wrong is found and said."""

from __future__ import annotations

import json
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors
from test_action_policy import make_policy
from test_batch import write_footage
from toy_world import TOY_SCENARIOS, write_shard

from doom_dream_env.agents import Agent
from doom_dream_env.agents.action_policy import ActionPolicy
from doom_dream_env.agents.agent import SHIPPED as SHIPPED_AGENTS
from doom_dream_env.commands.cli import main
from doom_dream_env.commands.publish import push
from doom_dream_env.idm import InverseDynamics
from doom_dream_env.idm.model import SHIPPED as SHIPPED_IDM
from doom_dream_env.world_model import WorldModel, files
from doom_dream_env.world_model.hub import split_name
from doom_dream_env.world_model.origins import FREEDOOM, Origin

NAME = "someone/dreams"


class Hub:
    """Stands in for the hub: a folder for each branch of a repository, and the client's own errors.

    Attributes:
        root: of those folders.
        damaged: names of files of which other bytes arrive, and how often.
        fault: raised by whoever asks; None: nothing.
    """

    endpoint = "https://hub.test"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: dict[str, int] = {}
        self.fault: BaseException | None = None

    def folder(self, name: str, revision: str | None = None) -> Path:
        if self.fault is not None:
            raise self.fault
        for kind, path in (
            (errors.RepositoryNotFoundError, self.root / name),
            (errors.RevisionNotFoundError, self.root / name / (revision or "main")),
        ):
            if not path.is_dir():
                raise kind("not there", response=SimpleNamespace(headers={}, request=None, status_code=404))
        return path

    def repo_info(self, name: str, revision: str) -> None:
        self.folder(name, revision)

    def revision_exists(self, name: str, revision: str, **_: Any) -> bool:
        return (self.root / name / revision).is_dir()

    def create_repo(self, name: str, **_: Any) -> str:
        if self.fault is not None:
            raise self.fault
        (self.root / name / "main").mkdir(parents=True, exist_ok=True)
        return f"{self.endpoint}/{name}"

    def create_branch(self, name: str, branch: str, **_: Any) -> None:
        shutil.copytree(self.root / name / "main", self.root / name / branch)

    def create_commit(self, name: str, operations: list[Any], revision: str | None, **_: Any) -> None:
        for sent in operations:
            path = self.folder(name, revision) / sent.path_in_repo
            path.parent.mkdir(exist_ok=True)
            with sent.as_file() as content:
                path.write_bytes(content.read())

    def snapshot_download(self, name: str, *, revision: str, allow_patterns: list[str], force_download: bool) -> str:
        cache = self.root / "cache" / name / (revision or "main")
        if cache.exists() and not force_download:
            return str(cache)
        source = self.folder(name, revision)
        cache.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                bad = self.damaged.get(path.name, 0)
                self.damaged[path.name] = max(bad - 1, 0)
                (cache / path.name).write_bytes(path.read_bytes()[: -1 if bad else None])
        return str(cache)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """A hub of this test's own, and an empty cache."""
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: made)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


@pytest.fixture
def pushed(hub: Hub, weights: Path) -> Hub:
    """A hub that has the tiny weights."""
    push(NAME, weights)
    return hub


def card_of(hub: Hub, name: str = NAME, kind: type = huggingface_hub.ModelCard) -> Any:
    return kind((hub.folder(name) / "README.md").read_text())


def test_a_hub_id_is_told_from_a_path() -> None:
    assert split_name("owner/name") == ("owner/name", None)
    assert split_name("owner/na-me.1@v2.0") == ("owner/na-me.1", "v2.0")
    assert split_name("owner/name@refs/pr/1") == ("owner/name", "refs/pr/1")
    assert {split_name(path) for path in ("nano", "./a/b", "/a/b", "~/b", "a/b/c")} == {None}


# ---- weights ---------------------------------------------------------------------------------------------------------
def test_pushed_weights_come_back_the_same(pushed: Hub, model: WorldModel, weights: Path) -> None:
    fetched = WorldModel.from_pretrained(NAME)
    assert fetched.fingerprint == model.fingerprint
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in fetched.state_dict().items())
    stored = pushed.folder(NAME)
    assert "Freedoom" in (stored / "NOTICE.md").read_text() and "# tiny" in (stored / "README.md").read_text()
    assert all((stored / name).read_bytes() == (weights / name).read_bytes() for name in files.CHECKED)


def test_a_revision_is_a_branch_or_an_open_pull_request(pushed: Hub, immortal: WorldModel, tmp_path: Path) -> None:
    immortal.save_pretrained(tmp_path / "other")
    for branch in ("lives-on", "refs/pr/1"):
        push(f"{NAME}@{branch}", tmp_path / "other")
        assert WorldModel.from_pretrained(NAME, revision=branch).fingerprint == immortal.fingerprint
        assert WorldModel.from_pretrained(f"{NAME}@{branch}").fingerprint == immortal.fingerprint
    assert WorldModel.from_pretrained(NAME).fingerprint != immortal.fingerprint


def test_the_card_of_shipped_weights_tells_the_hub_what_was_measured(hub: Hub) -> None:
    push(NAME, files.SHIPPED / "nano")
    card = card_of(hub)
    assert card.data.library_name == "doom-dream-env" and card.data.license == "mit"
    scorecard = files.read_json(files.SHIPPED / "nano" / "scorecard.json")
    found = {(result.dataset_type, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert found["take_cover", "skill_1"] == scorecard["worlds"]["take_cover"]["skill_1"]
    assert {scenario for scenario, _ in found} == set(scorecard["worlds"])
    assert f'from_pretrained("{NAME}")' in card.text and "## Scorecard" in card.text
    assert card.content.count("library_name") == 1, "the old metadata stayed"
    assert (hub.folder(NAME) / "scorecard.json").is_file() and (hub.folder(NAME) / "skill.png").is_file()


def test_the_licence_of_what_weights_learned_from_travels_with_them(
    hub: Hub, copy: Path, capsys: pytest.CaptureFixture[str]
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
        shutil.rmtree(hub.root, ignore_errors=True)
        about = {key: value for key, value in manifest.items() if key != "origins"}
        (copy / files.MANIFEST).write_text(json.dumps(about if said is None else about | {"origins": said}))
        if main(["push", NAME, str(copy), *words]):
            assert re.search(expected, capsys.readouterr().err) and not hub.root.exists()
        else:
            card = card_of(hub)
            assert card.data.license == expected
            assert all(str(each["source"]) in card.text for each in said or [film] if each["source"])
            assert (hub.folder(NAME) / "NOTICE.md").exists() == (said is not None and free in said)


def test_players_have_the_licence_of_the_weights_that_they_see_through(hub: Hub, copy: Path, tmp_path: Path) -> None:
    manifest = files.read_json(copy / files.MANIFEST)
    film = {"source": "my channel", "licence": "cc-by-4.0"}
    (copy / files.MANIFEST).write_text(json.dumps(manifest | {"origins": [film]}))
    policy = make_policy(WorldModel.from_pretrained(copy))
    policy.save(tmp_path / "clone")
    push("someone/clone", tmp_path / "clone")
    assert card_of(hub, "someone/clone").data.license == "cc-by-4.0"
    shutil.rmtree(copy)
    with pytest.raises(ValueError, match="pictures of an unknown source"):
        push("someone/clone", tmp_path / "clone")


# ---- what goes wrong -------------------------------------------------------------------------------------------------
def test_without_the_hub_the_cache_goes_on_working(pushed: Hub, model: WorldModel) -> None:
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


def test_what_arrives_damaged_or_was_changed_in_the_cache_is_fetched_again(pushed: Hub, model: WorldModel) -> None:
    pushed.damaged["decoder.safetensors"] = 1
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    (cached,) = (pushed.root / "cache").rglob("starts.safetensors")
    cached.write_bytes(b"?")
    assert WorldModel.from_pretrained(NAME).fingerprint == model.fingerprint
    cached.write_bytes(b"?")
    pushed.fault = OSError("nobody answers")
    with pytest.raises(FileNotFoundError, match="is damaged in the cache"):
        WorldModel.from_pretrained(NAME)
    pushed.fault = None
    pushed.damaged["decoder.safetensors"] = 2
    with pytest.raises(ValueError, match="was fetched anew and is still damaged, so it is on the hub: .*decoder"):
        WorldModel.from_pretrained(NAME)


@pytest.mark.parametrize(
    ("name", "revision", "error", "message"),
    [
        ("someone/else", None, FileNotFoundError, "there is no model 'someone/else' at .*hf auth login"),
        (NAME, "v9", FileNotFoundError, f"'{NAME}' on the hub has no revision 'v9'"),
        (f"{NAME}@v1", "v2", ValueError, "names revision 'v1', not 'v2'"),
        ("./here", "v1", ValueError, "only weights on the hub"),
    ],
)
def test_what_is_not_there_is_said(
    pushed: Hub, name: str, revision: str | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        WorldModel.from_pretrained(name, revision=revision)


def test_what_the_hub_refuses_is_said(hub: Hub, weights: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    response: Any = SimpleNamespace(headers={}, request=None, status_code=401)
    hub.fault = errors.HfHubHTTPError("Invalid username or password.", response=response)
    assert main(["push", NAME, str(weights)]) == 2
    assert "Invalid username or password.); log in with `hf auth login`" in capsys.readouterr().err
    hub.fault = errors.HFValidationError("Cannot have -- in it")
    with pytest.raises(ValueError, match="no repository on the hub can be called 'a--b/c': Cannot have --"):
        push("a--b/c", weights)
    (copy / "decoder.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="decoder.safetensors is damaged"):
        push(NAME, copy)
    with pytest.raises(FileNotFoundError, match="holds nothing to push: expected manifest.json, .* or a dataset"):
        push(NAME, copy.parent)
    with pytest.raises(ValueError, match="'dreams' is no name on the hub"):
        push("dreams", weights)


# ---- players and datasets --------------------------------------------------------------------------------------------
def test_a_pushed_agent_plays_as_before_and_says_its_score(hub: Hub, tmp_path: Path) -> None:
    push("someone/agent", SHIPPED_AGENTS / "take_cover")
    agent = Agent.load("take_cover")
    fetched = Agent.load("someone/agent", agent.card.fingerprint)
    features = torch.randn(5, next(agent.network.parameters()).shape[1])
    assert fetched.card == agent.card and torch.equal(fetched.logits(features), agent.logits(features))
    (result,) = card_of(hub, "someone/agent").data.eval_results
    assert result.metric_type == "mean_reward" and "+/-" in result.metric_value
    agent.save(tmp_path / "mine")
    push("someone/own", tmp_path / "mine")
    assert not card_of(hub, "someone/own").data.eval_results, "the score of another agent is claimed"


def test_clones_and_readers_of_keys_come_back_the_same(hub: Hub, model: WorldModel, tmp_path: Path) -> None:
    policy = make_policy(model)
    policy.save(tmp_path / "clone")
    push("someone/clone", tmp_path / "clone")
    assert ActionPolicy.load("someone/clone", model.fingerprint).config == policy.config
    (folder,) = SHIPPED_IDM.iterdir()
    push("someone/keys", folder)
    assert InverseDynamics.from_pretrained("someone/keys").config == InverseDynamics.from_pretrained().config
    assert 'from_pretrained("someone/keys")' in card_of(hub, "someone/keys").text


def test_a_pushed_dataset_has_a_configuration_for_each_scenario(hub: Hub, toy: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(toy, tmp_path / "toy"))
    (dataset / "take_cover" / "notes.txt").write_text("not for everybody")
    push("someone/play", dataset)
    stored = hub.folder("someone/play")
    expected = {f"{name}/{split}-00000.parquet" for name in TOY_SCENARIOS for split in ("train", "val")}
    assert {str(path.relative_to(stored)) for path in stored.rglob("*.*")} == expected | {"README.md", "NOTICE.md"}
    about = card_of(hub, "someone/play", huggingface_hub.DatasetCard)
    assert about.data.license == "bsd-3-clause" and "ViZDoom with Freedoom" in about.text
    configs = about.data.configs
    assert {config["config_name"] for config in configs} == set(TOY_SCENARIOS)
    with pytest.raises(ValueError, match="toy is a dataset: every shard says whose it is, so leave out --source"):
        push("someone/play", dataset, said=Origin(licence="mit"))
    assert configs[0]["data_files"] == [
        {"split": "train", "path": f"{configs[0]['config_name']}/train-*.parquet"},
        {"split": "validation", "path": f"{configs[0]['config_name']}/val-*.parquet"},
    ]


@pytest.mark.parametrize("origin", [Origin("ViZDoom with doom2.wad"), Origin(licence="mit")])
def test_what_nobody_has_given_a_licence_is_not_pushed(hub: Hub, tmp_path: Path, origin: Origin) -> None:
    path = tmp_path / "freedoom" / "train-film-00000.parquet"
    _, writer = write_shard(path, [3])
    writer.write(path, "freedoom", "freedoom:footage", origin)
    with pytest.raises(ValueError, match=f"shows {origin.source or 'pictures of an unk'}.*--licence"):
        push("someone/play", tmp_path)


def test_a_card_says_of_all_frames_whose_they_are(hub: Hub, tmp_path: Path) -> None:
    for name, origin, licence, row in (
        ("a", Origin("my channel", "CC-BY-4.0"), "cc-by-4.0", "| my channel | CC-BY-4.0 | 1 |"),
        ("b", Origin("an\nother|one", "for research"), "other", "| an other\\|one | for research | 1 |"),
    ):
        write_footage(tmp_path / "take_cover" / f"train-{name}.parquet", origin=origin)
        push("someone/film", tmp_path)
        card = card_of(hub, "someone/film", huggingface_hub.DatasetCard)
        assert card.data.license == licence and row in card.text
    assert "Freedoom" not in card.content and not (hub.folder("someone/film") / "NOTICE.md").exists()
