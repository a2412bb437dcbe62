"""Promises of tokenizer and decoder: codes are pictures, pictures show the state, drawings repeat, runs resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_model
from safetensors.torch import load_file
from toy_world import LENGTH, TOY_SCENARIOS, killed_after, run, toy_constants

from doom_dream_env.envs.drawing import Drawing
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.decoder import CODES, UNKNOWN, VALUES
from doom_dream_env.world_model.origins import FREEDOOM
from training.data.dataset import Dataset
from training.data.latents import cached_states
from training.data.pictures import PictureSampler, dreams_beside
from training.models.picture_model import AVERAGE
from training.models.tokenizer import Tokenizer, cached_codes, load_tokenizer
from training.models.training_model import load_training_model
from training.stages import (
    DECODER_CHECKPOINT,
    DYNAMICS_CHECKPOINT,
    REPRESENTATION_CHECKPOINT,
    STATES,
    TOKENIZER_CHECKPOINT,
    decoder,
)

SMALL: dict[str, Any] = {"batch": 6}


@pytest.fixture(scope="module")
def dynamics_run(toy: Path, representation_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of short stages dynamics and tokenizer. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("dynamics")
    (out / REPRESENTATION_CHECKPOINT).write_bytes((representation_run / REPRESENTATION_CHECKPOINT).read_bytes())
    run("dynamics", toy, out, 2)
    run("tokenizer", toy, out, 4, lr=1e-5)
    return out


@pytest.fixture
def out(dynamics_run: Path, tmp_path: Path) -> Path:
    """A run folder in which the stage can start."""
    for name in (DYNAMICS_CHECKPOINT, STATES, TOKENIZER_CHECKPOINT):
        (tmp_path / name).write_bytes((dynamics_run / name).read_bytes())
    return tmp_path


def learn(toy: Path, out: Path, steps: int, **settings: Any) -> None:
    """Run the stage decoder at toy size."""
    run("decoder", toy, out, steps, **(SMALL | settings))


def test_codes_of_a_frame_are_painted_as_the_frame(toy: Path, dynamics_run: Path) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    frames = torch.from_numpy(data.frames(np.arange(0, len(data), 5)))
    tokenizer = load_tokenizer(dynamics_run / TOKENIZER_CHECKPOINT)
    picture = tokenizer(frames).permute(0, 2, 3, 1) * 255
    assert float((picture - frames.float()).square().mean()) < 30
    codes = tokenizer.codes(frames)
    assert codes.shape == (len(frames), 24, 32) and 0 <= int(codes.min()) and int(codes.max()) < 64**2
    assert torch.equal(codes, tokenizer.codes(frames.flip(0)).flip(0)), "a code depends on the batch"


def test_codes_are_cached_and_made_anew_for_another_palette(toy: Path, dynamics_run: Path, tmp_path: Path) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    tokenizer = load_tokenizer(dynamics_run / TOKENIZER_CHECKPOINT)
    path = tmp_path / "codes.safetensors"
    codes = cached_codes(tokenizer, data, path)
    assert codes.dtype == torch.int16 and torch.equal(
        codes[:3].long(), tokenizer.codes(torch.tensor(data.frames([0, 1, 2])))
    )
    written = path.stat().st_mtime_ns
    assert torch.equal(cached_codes(tokenizer, data, path), codes) and path.stat().st_mtime_ns == written
    other = Tokenizer()
    assert not torch.equal(cached_codes(other, data, path), codes)


def test_pictures_show_the_state_they_were_made_of(toy: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some steps the picture of a state is nearer to its frame than to another; what ships is the average."""
    for name, value in (("VIEW_STEPS", 1), ("VIEW_BATCH", 64), ("VIEW_CODES", 8)):
        monkeypatch.setattr(decoder, name, value)
    constants = {"training.stages.decoder.NOISE": 0.0, "training.engine.fit.CHECKPOINT_EVERY": 300}
    learn(toy, out, 300, batch=16, constants=constants, lr=4e-3)
    data = Dataset(toy, TOY_SCENARIOS)
    model = WorldModel.from_pretrained(out / "weights")
    assert model.origins == (FREEDOOM,)
    frames = torch.from_numpy(data.frames(np.arange(0, len(data), 3)))
    real = frames.float()
    z = model.encode(frames[None])[0]
    for picture in (model.decode(z), model.draw(z, generator=torch.Generator().manual_seed(0))[0]):
        right, wrong = (float((picture.float() - other).square().mean()) for other in (real, real.roll(1, 0)))
        assert right < 0.8 * wrong, (right, wrong)
    chances, maps = model.decoder.objects(z), torch.from_numpy(data.object_maps[::3]) > 0
    assert chances[maps].mean() > 3 * chances[~maps].mean(), "the decoder does not see where objects stand"

    saved = load_file(out / DECODER_CHECKPOINT)
    shipped = load_file(out / "weights" / "decoder.safetensors")
    learned = "decoder.finest.weight"
    torch.testing.assert_close(shipped[learned], saved[f"module.{AVERAGE}{learned.partition('.')[2]}"].half())
    assert not torch.equal(saved[f"module.{AVERAGE}finest.weight"], saved["module.decoder.finest.weight"])


def test_a_killed_run_resumes_along_the_same_curve(toy: Path, out: Path) -> None:
    learn(toy, out, 6)
    expected = load_file(out / DECODER_CHECKPOINT)
    (out / DECODER_CHECKPOINT).unlink()

    with killed_after(4):
        learn(toy, out, 6)
    halfway = load_file(out / DECODER_CHECKPOINT)
    learn(toy, out, 6)
    found = load_file(out / DECODER_CHECKPOINT)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4, msg=name)
    assert not torch.equal(halfway["module.decoder.finest.weight"], expected["module.decoder.finest.weight"])


def test_finished_weights_get_another_decoder_and_stay_the_same_world(toy: Path, out: Path, tmp_path: Path) -> None:
    learn(toy, out, 1)
    again = tmp_path / "again"
    again.mkdir()
    (again / TOKENIZER_CHECKPOINT).write_bytes((out / TOKENIZER_CHECKPOINT).read_bytes())
    learn(toy, again, 2, weights=str(out / "weights"), init=str(out / "weights"))
    one, two = (WorldModel.from_pretrained(folder / "weights") for folder in (out, again))
    assert one.fingerprint == two.fingerprint and one.config == two.config
    assert torch.equal(one.initial_states[TOY_SCENARIOS[0]][0], two.initial_states[TOY_SCENARIOS[0]][0])
    assert not torch.equal(one.decoder.finest.weight, two.decoder.finest.weight)
    with pytest.raises(ValueError, match="give these as --scenarios"):
        learn(toy, again, 2, weights=str(out / "weights"), scenarios=TOY_SCENARIOS[:1])


def test_dreams_for_the_decoder_are_dreams_of_the_rows_they_name(toy: Path, dynamics_run: Path) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    model = load_training_model(dynamics_run / DYNAMICS_CHECKPOINT).world_model
    states = cached_states(model, data, dynamics_run / STATES)
    with toy_constants():
        dreams = dreams_beside(model, data, states, 0)
        again = dreams_beside(model, data, states, 0)
    assert dreams is not None
    rows, last = dreams.rows, data.last
    assert rows.shape == dreams.states.shape[:2] == (12, 7)
    there = rows[:, 1:] >= 0
    assert there.any() and np.array_equal(rows[:, 1:][there], (rows[:, :1] + np.arange(1, 7))[there])
    assert (rows[:, 1:][there] <= np.broadcast_to(last[rows[:, :1]], there.shape)[there]).all(), "past an episode's end"
    assert set(data.elapsed[rows[6:, 0]]) == {0} and set(data.elapsed[rows[:6, 0]]) <= set(range(3, LENGTH))
    torch.testing.assert_close(dreams.states[:, 0], states[torch.from_numpy(rows[:, 0])])
    assert not torch.equal(dreams.states[:, 1], dreams.states[:, 0])
    assert again is not None and np.array_equal(rows, again.rows) and torch.equal(dreams.states, again.states)


def test_a_batch_has_each_state_with_its_codes_and_those_before(toy: Path) -> None:
    data = Dataset(toy, TOY_SCENARIOS)
    states = torch.arange(len(data))[:, None].half()  # every state and every code says its row
    codes = torch.arange(len(data), dtype=torch.int16)[:, None, None].expand(-1, 24, 32)
    batch = PictureSampler(data, states, codes, None, 40)(np.random.default_rng(0))
    row = batch.codes[:, 0, 0]
    assert torch.equal(batch.z[:, 0].long(), row) and bool(batch.real.all()) and len(row) == 40
    begins = torch.from_numpy(data.first[row] == row.numpy())
    assert begins.any() and torch.equal(batch.before[:, 0, 0], torch.where(begins, UNKNOWN, row - 1))
    assert torch.equal(batch.z_before[:, 0].long(), torch.where(begins, row, row - 1))
    pressed = torch.from_numpy(data.actions[row.numpy() - 1]).float() * ~begins[:, None]
    assert torch.equal(batch.action, pressed) and pressed.any()
    assert torch.equal(batch.object_maps, torch.from_numpy(data.object_maps[row.numpy()]).float())


N = 3


@pytest.fixture(scope="module")
def drawer() -> WorldModel:
    return make_model(seed=3)


def drawn_states(drawer: WorldModel, seed: int = 0) -> torch.Tensor:
    return torch.randn(N, drawer.config.state_width, generator=torch.Generator().manual_seed(seed))


def test_a_drawing_repeats_with_its_chance_and_depends_on_all_it_is_given(drawer: WorldModel) -> None:
    z = drawn_states(drawer)
    noise = torch.rand(N, *drawer.decoder.noise_shape, generator=torch.Generator().manual_seed(0))
    before = torch.randint(VALUES**2, (N, *CODES), generator=torch.Generator().manual_seed(1))
    action = torch.eye(9)[:N]
    picture, codes = drawer.draw(z, before, action, noise=noise)
    assert picture.shape == (N, 120, 160, 3) and picture.dtype == torch.uint8
    assert codes.shape == (N, *CODES) and 0 <= int(codes.min()) and int(codes.max()) < VALUES**2
    assert torch.equal(drawer.paint(codes), picture)
    assert torch.equal(drawer.draw(z, before, action, noise=noise)[1], codes)
    assert torch.equal(drawer.draw(z[1:2], before[1:2], action[1:2], noise=noise[1:2])[1], codes[1:2])
    other = {
        "state": drawer.draw(z + 1, before, action, noise=noise),
        "codes before": drawer.draw(z, None, action, noise=noise),
        "action": drawer.draw(z, before, None, noise=noise),
        "chance": drawer.draw(z, before, action, noise=1 - noise),
    }
    for what, (_, found) in other.items():
        assert not torch.equal(found, codes), f"the {what} makes no difference"


def test_a_series_of_drawings_remembers_and_stays_where_nothing_moves(drawer: WorldModel) -> None:
    z = drawn_states(drawer)
    drawing = Drawing(drawer)
    drawing.begin(seed=4)
    first = drawing.draw(z)
    assert torch.equal(drawing.draw(z.clone()), first), "a picture at which nothing has moved was drawn anew"
    second = drawing.draw(z + 0.1)
    drawing.begin(seed=4)
    assert torch.equal(drawing.draw(z), first) and torch.equal(drawing.draw(z + 0.1), second)
    drawing.begin(seed=4)
    drawing.draw(z)
    follows = torch.tensor([True, False, True])
    third = drawing.draw(z + 0.1, follows=follows)
    assert torch.equal(third[0], second[0]) and not torch.equal(third[1], second[1])
