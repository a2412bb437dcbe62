"""Promises of a dreamed step: actions matter, one transition serves all, the rules of the game hold.

Legend: B batch, T time, A buttons, S changes of a variable.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import make_model, random_frames, states_equal

from doom_dream_env.scenarios import BUTTONS, VARIABLE_SCALES
from doom_dream_env.world_model import WorldModel
from doom_dream_env.world_model.codes import draw
from doom_dream_env.world_model.outcomes import most_likely

B, T, A = 3, 5, len(BUTTONS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_action_reaches_the_context_too(model: WorldModel) -> None:
    """Two dreams that stand in the same place but came there by different actions know it."""
    state = model.observe(random_frames(2, 1), scenario="take_cover")
    frames = random_frames(2, 1, seed=1)
    frames[1] = frames[0]
    start = state[torch.tensor([0, 0])]
    after = model.observe(frames, torch.eye(A)[:2, None], start)
    torch.testing.assert_close(after.z[0], after.z[1])
    assert (after.h[0] - after.h[1]).abs().max() > 1e-3


def test_temperature_zero_leaves_nothing_to_chance_and_one_does(model: WorldModel) -> None:
    state = model.observe(random_frames(B, 1))
    action = torch.zeros(B, A)
    assert states_equal(model.imagine(state, action, 0)[0], model.imagine(state, action, 0)[0])
    first, *_ = model.imagine(state, action, 1.0, generator(1))
    second, *_ = model.imagine(state, action, 1.0, generator(2))
    again, *_ = model.imagine(state, action, 1.0, generator(1))
    assert states_equal(first, again)
    assert not torch.allclose(first.z, second.z)


def test_equal_noise_is_equal_luck(model: WorldModel) -> None:
    """Dreams that share their noise differ by their actions alone; a generator draws the same noise itself."""
    state = model.observe(random_frames(1, 1), scenario="take_cover")[torch.zeros(2, dtype=torch.long)]
    noise = model.dynamics.draw_noise(1, generator()).expand(2, -1)
    same, *_ = model.imagine(state, torch.zeros(2, A), noise=noise)
    assert torch.equal(same.z[0], same.z[1])
    different, *_ = model.imagine(state, torch.eye(A)[:2], noise=noise)
    assert not torch.allclose(different.z[0], different.z[1])
    drawn, *_ = model.imagine(state, torch.zeros(2, A), generator=generator(3))
    given, *_ = model.imagine(state, torch.zeros(2, A), noise=model.dynamics.draw_noise(2, generator(3)))
    assert states_equal(drawn, given)


def test_what_has_no_probability_is_never_drawn() -> None:
    probabilities = torch.tensor([0.0, 0.4, 0.0, 0.6, 0.0]).expand(4, -1)
    noise = torch.tensor([0.0, 0.39, 0.41, 1.0 - 2.0**-24])
    assert draw(probabilities, noise).tolist() == [1, 1, 3, 3]


def test_a_window_is_its_steps(model: WorldModel) -> None:
    """Whole windows (B, T, …) give what their steps give one by one; the scenario broadcasts over time."""
    h = torch.randn(B, T, model.config.trunk_width, generator=generator())
    action = torch.randint(2, (B, T, A), generator=generator()).float()
    variables = torch.tensor(VARIABLE_SCALES).expand(B, T, -1)
    scenario = model.scenario_index(["take_cover", "defend_the_center", "freedoom"], B)
    dynamics = model.dynamics
    window = dynamics.transition(h, action, scenario[:, None], most_likely)
    after = dynamics.changed_variables(variables, window.outcome, scenario[:, None])
    continues, reward = dynamics.continue_and_reward(window.condition, after, scenario[:, None])
    risk = dynamics.termination_probability(h, action, variables, scenario[:, None])
    assert window.outcome.shape == (B, T, len(VARIABLE_SCALES))
    for t in range(T):
        step = dynamics.transition(h[:, t], action[:, t], scenario, most_likely)
        moved = dynamics.changed_variables(variables[:, t], step.outcome, scenario)
        expected = dynamics.continue_and_reward(step.condition, moved, scenario)
        risky = dynamics.termination_probability(h[:, t], action[:, t], variables[:, t], scenario)
        torch.testing.assert_close(window.condition[:, t], step.condition, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close((continues[:, t], reward[:, t]), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(risk[:, t], risky, atol=1e-5, rtol=1e-5)
        assert torch.equal(after[:, t], moved)


def test_a_variable_that_a_scenario_lacks_neither_changes_nor_steers_the_dream() -> None:
    """take_cover has no ammunition: what the untrained logits of its changes say must not matter.

    Neither in the dream nor in the probability that it ends.
    """
    calm = make_model()
    loud = make_model()
    ammunition = slice(calm.dynamics.sizes[0], sum(calm.dynamics.sizes[:2]))
    loud.dynamics.outcome.bias[ammunition][:-1] += 50.0  # a shot, for certain
    for scenario, same in (("take_cover", True), ("defend_the_center", False)):
        results = []
        for model in (calm, loud):
            state = model.observe(random_frames(B, 2), np.zeros((B, 1, A)), scenario=scenario)
            after, *_ = model.imagine(state, torch.zeros(B, A), 1.0, generator())
            results.append((after.z, model.termination_probability(state, torch.zeros(B, A))))
            assert (after.variables[:, 1] < state.variables[:, 1]).any() != same or model is calm
        assert all(torch.equal(*pair) for pair in zip(*results, strict=True)) == same


def test_the_termination_probability_sums_over_all_changes_of_the_first_variable() -> None:
    """By hand: the sum over changes of P(change) · P(termination | change)."""
    model = make_model()
    model.dynamics.end[-1].weight.normal_(std=2.0)
    state = model.observe(random_frames(1, 1), scenario="deadly_corridor")
    action = torch.zeros(1, A)
    dynamics = model.dynamics
    action_feature = dynamics.join_action(state.h, action)
    logits = dynamics.outcome_logits(action_feature, state.scenario)
    terminates = 0.0
    for index, change in enumerate(model.config.deltas[0]):
        outcome = torch.tensor([[index, *logits[0, 1:].argmax(-1).tolist()]])
        condition = dynamics.condition_on_outcome(action_feature, outcome)
        after = torch.tensor([[state.variables[0, 0] + change, 0.0, 0.0, 0.0]])
        continue_logit, _ = dynamics.termination_logits(condition, after / model.scales)
        terminates += float(logits[0, 0].softmax(-1)[index] * torch.sigmoid(-continue_logit[0]))
    assert float(model.termination_probability(state, action)[0]) == pytest.approx(terminates, abs=1e-5)
    assert float(model.imagine(state, action, 0)[2][0]) == pytest.approx(1 - terminates, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("scenario", "ends"), [("my_way_home", 1.0), ("health_gathering", 0.0)])
def test_a_goal_ends_the_episode_as_often_as_it_is_paid(scenario: str, ends: float, temperature: float) -> None:
    """The armour in my_way_home does, whatever the heads say; health_gathering has no goal."""
    lasting = make_model(survival=60.0)
    lasting.dynamics.end[-1].weight[1:] = 0
    lasting.dynamics.end[-1].bias[1:] = torch.where(lasting.dynamics.rewards == 1.0, 60.0, 0.0)
    state = lasting.observe(random_frames(1, 1), scenario=scenario)
    _, reward, continues = lasting.imagine(state, torch.zeros(1, A), temperature)
    assert float(reward[0]) == pytest.approx(1.0)
    assert float(continues[0]) == pytest.approx(1 - ends, abs=1e-5)
