"""Learn in imagination like Dreamer, then play the real game.

python examples/dreamer.py --steps 300000 --episodes 20

Actor and critic see nothing but dreams: torch in, torch out. `--prior` keeps the actor near a cloned player
(`python -m training clone` makes one). How it works is in `doom_dream_env/agents/imagination.py`, top to bottom.
"""

import argparse

from doom_dream_env import WorldModel
from doom_dream_env.agents.action_policy import ActionPolicy
from doom_dream_env.agents.imagination import ImaginationConfig, learn_in_imagination
from doom_dream_env.envs import DreamBatch, RealBatch
from doom_dream_env.evaluation import evaluate_policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="take_cover", help="which scenario")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    parser.add_argument("--steps", type=int, default=300_000, help="imagined steps to learn for")
    parser.add_argument("--envs", type=int, default=128, help="dreams side by side")
    parser.add_argument("--unroll", type=int, default=16, help="steps that are imagined between two rounds of learning")
    parser.add_argument("--objective", choices=("reinforce", "pmpo"), default="reinforce", help="of the actor")
    parser.add_argument("--prior", default=None, help="folder of a cloned action policy to stay near")
    parser.add_argument("--temperature", type=float, default=1.0, help="how wild the dream is; 0: not at all")
    parser.add_argument("--episodes", type=int, default=20, help="real episodes to test with")
    parser.add_argument("--out", default="dreamer", help="folder of the agent")
    parser.add_argument("--seed", type=int, default=0, help="seed of networks and dreams")
    args = parser.parse_args()

    model = WorldModel.from_pretrained(args.weights)
    dreams = DreamBatch(args.envs, args.scenario, temperature=args.temperature, weights=model)
    prior = None if args.prior is None else ActionPolicy.load(args.prior, model.fingerprint)
    config = ImaginationConfig(steps=args.steps, unroll=args.unroll, objective=args.objective)
    agent, curve = learn_in_imagination(dreams, config, prior=prior, seed=args.seed)
    agent.save(args.out)  # like any other agent: Agent.load, dream-doom autoplay, python -m training transfer
    for steps, mean in curve[:: max(1, len(curve) // 8)]:
        print(f"{steps:>8,} imagined steps: mean return {mean:.1f}")

    # The same policy sees the real game through the same encoder.
    real = RealBatch(min(args.episodes, 8), args.scenario, weights=model)
    played = evaluate_policy(real, agent, args.episodes, first_seed=60_000)  # the dream was not learned from these
    real.close()
    print(f"real {args.scenario}: mean return {played}")


if __name__ == "__main__":
    main()
