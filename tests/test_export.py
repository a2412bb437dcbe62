"""Promises of an export: graphs dream as torch does, in any batch; what is damaged or foreign is recognised."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest
import torch
from conftest import EXPORTED, ROOT, make_agent

from doom_dream_env.scenarios import get_scenario
from doom_dream_env.world_model import DreamState, WorldModel
from doom_dream_env.world_model.decoder import CODES

B = 3  # dreams
STEPS = 100
CLOSE = 1e-3


def begin(model: WorldModel, scenario: str = "take_cover") -> DreamState:
    z, variables = (part[:B] for part in model.initial_states[scenario])
    return model.begin(z, variables, model.scenario_index(scenario, B))


def runner(exported, name: str, variant: str = "float32"):
    from doom_dream_env.export.variants import Runner

    folder, manifest = exported
    graphs = manifest["graphs"] | manifest["agents"]
    return Runner((folder / graphs[name]["variants"][variant]["file"]).read_bytes())


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_hundred_steps_in_onnx_runtime_are_those_of_torch(exported, model: WorldModel, temperature: float) -> None:
    from doom_dream_env.export.deviation import arrays

    run = runner(exported, "step" if temperature else "central")
    rng = np.random.default_rng(1)
    state = begin(model, "defend_the_center")
    own = arrays(state)
    table = get_scenario("defend_the_center").action_table().astype(np.float32)
    for _ in range(STEPS):
        action = table[rng.integers(len(table), size=B)]
        noise = rng.random((B, model.dynamics.draw_noise(1).shape[1]), np.float32)
        with torch.inference_mode():
            state, reward, continues = model.imagine(state, action, temperature, noise=torch.from_numpy(noise))
        out = run(own | {"action": action, "noise": noise, "temperature": np.float32(temperature)})
        own |= {name.removeprefix("next_"): value for name, value in out.items() if name.startswith("next_")}
        for name, value in arrays(state).items():
            np.testing.assert_allclose(own[name], value, atol=CLOSE, err_msg=name)
        np.testing.assert_allclose(out["reward"], reward, atol=CLOSE)
        np.testing.assert_allclose(out["continues"], continues, atol=CLOSE)
        np.testing.assert_allclose(out["features"], model.features(state), atol=CLOSE)
        np.testing.assert_allclose(out["drift"], model.drift(state), atol=CLOSE)
    assert not np.allclose(own["z"], arrays(begin(model, "defend_the_center"))["z"], atol=0.1)


def test_pictures_and_probabilities_are_those_of_torch(exported, model: WorldModel) -> None:
    state = begin(model)
    rng = np.random.default_rng(0)
    given = {
        "z": state.z.numpy(),
        "codes": rng.integers(-1, 64**2, (len(state), *CODES)),
        "action": np.zeros((len(state), 9), np.float32),
        "luck": rng.random((len(state), *model.decoder.noise_shape), np.float32),
    }
    found = runner(exported, "decoder")(given)
    codes, action, luck = (torch.from_numpy(given[name]) for name in ("codes", "action", "luck"))
    picture, codes = model.draw(state, codes, action, noise=luck)
    assert found["pixels"].dtype == np.uint8 and found["next_codes"].dtype == np.int64
    assert (found["next_codes"] != codes.numpy()).mean() < 0.01, "other patches were drawn"
    assert (np.abs(found["pixels"].astype(int) - picture.numpy()) > 1).mean() < 0.02
    features = model.features(state)
    found = runner(exported, "take_cover")({"features": features.numpy()})["probabilities"]
    expected = make_agent(model).logits(features.clamp(-10, 10)).softmax(-1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_half_precision_loses_nothing_of_saved_weights_and_every_variant_is_smaller(exported) -> None:
    _, manifest = exported
    for name in ("step", "central", "decoder"):
        variants = manifest["graphs"][name]["variants"]
        assert variants["float16"]["bytes"] < variants["float32"]["bytes"]
        assert variants["float16"]["deviation"] == pytest.approx(variants["float32"]["deviation"], abs=1e-6)


def test_the_manifest_names_every_file_with_its_size_and_checksum(exported) -> None:
    folder, manifest = exported
    assert manifest == json.loads((folder / "manifest.json").read_text("utf-8"))
    entries = [*manifest["page"]]
    for graph in (manifest["graphs"] | manifest["agents"]).values():
        entries += graph["variants"].values()
    for world in manifest["worlds"]:
        entries += [world["starts"], world["poster"]]
    for entry in entries:
        data = (folder / entry["file"]).read_bytes()
        assert len(data) == entry["bytes"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written == {entry["file"] for entry in entries} | {"manifest.json"}


def test_worlds_carry_all_that_a_player_needs(exported, model: WorldModel) -> None:
    from safetensors.numpy import load_file

    folder, manifest = exported
    assert [world["name"] for world in manifest["worlds"]] == list(EXPORTED)
    world = manifest["worlds"][0]
    assert world["actions"] == get_scenario("take_cover").action_table().tolist()
    assert world["agent"] == "take_cover" and manifest["worlds"][1]["agent"] is None
    starts = load_file(folder / world["starts"]["file"])
    z, variables = model.initial_states["take_cover"]
    whole = model.begin(z, variables, model.scenario_index("take_cover", len(z)))
    np.testing.assert_array_equal(starts["h"], whole.h)
    np.testing.assert_array_equal(starts["cache"], whole.cache[:, :, :, -1:])
    assert not whole.cache[:, :, :, :-1].any(), "only the newest slot of a first moment's cache holds anything"


def test_missing_libraries_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from doom_dream_env.export.graphs import require_onnx

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match=r"onnxscript is missing: pip install .*export"):
        require_onnx()


def test_the_example_needs_neither_torch_nor_this_package() -> None:
    text = (ROOT / "examples" / "onnx_dream.py").read_text("utf-8")
    assert "import torch" not in text and "import doom_dream_env" not in text and "from doom_dream_env" not in text


LIVES = {"take_cover": 200, "defend_the_center": 120}  # steps, at most
DREAMS = 128


@pytest.mark.slow
def test_int8_dreams_of_the_shipped_weights_last_as_long_as_exact_ones() -> None:
    from doom_dream_env.export.deviation import arrays, first_moments
    from doom_dream_env.export.graphs import step_graph
    from doom_dream_env.export.variants import VARIANTS, Runner

    model = WorldModel.from_pretrained()
    proto = step_graph(model).proto
    runners = {name: Runner(VARIANTS[name](proto)) for name in ("float16", "int8")}
    for place, most in LIVES.items():
        table = get_scenario(place).action_table().astype(np.float32)
        lives, returns = {}, {}
        for name, run in runners.items():
            rng = np.random.default_rng(3)
            state = arrays(first_moments(model, [place], DREAMS))
            alive = np.ones(DREAMS, bool)
            lives[name], returns[name] = np.zeros(DREAMS), np.zeros(DREAMS)
            for step in range(most):
                if step % 5 == 0:
                    action = table[rng.integers(len(table), size=DREAMS)]
                noise = rng.random((DREAMS, model.dynamics.draw_noise(1).shape[1]), np.float32)
                chance = rng.random(DREAMS)
                out = run(state | {"action": action, "noise": noise, "temperature": np.float32(1)})
                returns[name] += out["reward"] * alive
                lives[name] += alive
                alive &= chance < out["continues"]
                state |= {key.removeprefix("next_"): v for key, v in out.items() if key.startswith("next_")}
        for what, values in (("steps", lives), ("return", returns)):
            mean = {name: one.mean() for name, one in values.items()}
            margin = {name: 1.96 * one.std() / DREAMS**0.5 for name, one in values.items()}
            print(place, what, *(f"{name} {mean[name]:.2f} ± {margin[name]:.2f}" for name in values))
            assert abs(mean["int8"] - mean["float16"]) <= np.hypot(*margin.values())
