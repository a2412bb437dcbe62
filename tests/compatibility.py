"""Tries the libraries that are installed on the environments, and writes docs/compatibility.md.

    python tests/compatibility.py                     # every library, the shipped weights
    python tests/compatibility.py gymnasium torchrl   # some, printed only

A trial does what a user of the library does. It passes if nothing is raised and what it checks holds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import compatibility_gymnasium  # noqa: E402, F401  its trials come first on the page
import compatibility_learners  # noqa: E402, F401
from compatibility_trials import TRIALS, Trial, Weights  # noqa: E402

PAGE = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"
OK = "works"
MISSING = "not tried: "
HEADER = """# Compatibility

What was tried with other libraries, at these versions. `python tests/compatibility.py` tries it again and writes this
page; the tests run the same trials for what is installed.

| library | version | tried | result |
|---|---|---|---|
"""
NOTES = """
## Notes

* **Films.** `metadata["render_fps"]` says how many steps are a second: 8.75. That of `gym.make` is rounded to 9,
  because `gymnasium.utils.play` takes whole numbers only; `RecordVideo(env, ..., fps=8.75)` is exact.
* **TorchRL** wants vector environments that reset at once or not at all:
  `gym.make_vec(..., autoreset_mode="SameStep")` or `"Disabled"`. `info` is flat and made of NumPy scalars, so
  `default_info_dict_reader(["drift", "HEALTH"])` reads that of one environment; for many, call
  `auto_register_info_dict()`.
* **RLlib** steps many dreams in one model call with `gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT`
  and an environment that `gym.make_vec` makes: `examples/rllib_ppo.py`. TorchRL's PPO is in `examples/torchrl_ppo.py`.
* **Stable-Baselines3.** The environments of a `DreamDoomVecEnv` are one batch. `env_method` knows `reset`, `render` and
  `drift` of one environment; a subclass adds more, `action_masks` for instance. `set_attr("temperature", ...)` is for
  all of them.
* **Copies.** A dream can be copied and pickled, and goes on where it was; a copy of a real game begins anew.
* **Autograd.** What `DreamBatch` and `RealBatch` return are ordinary tensors without gradients, also under
  `torch.autocast` and with another default type.
* **ONNX Runtime without the page.** In Python, `examples/onnx_dream.py` needs neither torch nor this package nor a
  network. In Node 20, the page's modules `dream.js`, `files.js` (`readTensors`) and `random.js` run as they are with
  the WebAssembly runtime of an export: the shipped agent scored 70.5 (float32) and 71.1 (int8) in 20 dreams of basic,
  in Python 71.7 ± 4.5.
* **A phone on its side.** Chromium 150 with a touch screen of 844×390: the picture and all pads are there without
  scrolling, a finger plays, nothing is reported as wrong. Health and seconds stand below the picture there.

## Machines

* **A disk that fills up** (a tmpfs of 40 kB to 6 MB). The stages representation, dynamics, decoder, collect, label,
  clone, idm and agents end with status 2 and one line that says what could not be written; nothing half written stays,
  what was finished does.
* **A home that cannot be written, and a user who is not root** (uid 1000 in a user namespace, a home of mode 555):
  dream, real game and figures work; Matplotlib says that it keeps its cache elsewhere. A dataset in a folder that
  cannot be written is refused in one line. The hub's cache could not be tried without a network.
* **Workers of a `SubprocVecEnv` that is killed while they load**, spawned or forked by a server, are gone at the next
  look (1.1 and 1.2 s at a load of 7 to 8 on two cores) if this package is imported before Stable-Baselines3, as sorted
  imports are. What a worker loads before this package nobody can watch from here: with Stable-Baselines3 first, its
  workers load it, and torch with it, to the end (2.4 s of processor time: 16 s at the same load, 24 to 32 s at one of
  15). Of a server's workers the parent is known on Linux only; elsewhere they end when their pipe breaks.
* **The floors of setup.cfg together** (Python 3.11; gymnasium 1.1.0, Stable-Baselines3 2.7.0, timm 1.0.3, NumPy 1.26.0,
  torch 2.9.0, huggingface_hub 0.25.0, ViZDoom 1.3.0 and the rest): the tests of environments' checkers, vector
  environments, Stable-Baselines3, weights, videos, films, datasets, the hub, sessions, real games, the inverse dynamics
  model and labelling pass. Two floors were raised for that: PyAV 16 stops for ever in some videos and 17.0 prints
  tracebacks when the disk is full, so it is 17.1; tyro 0.9.0 cannot be imported.
"""


def result(one: Trial, weights: Weights) -> str:
    """Try it: "works", what is missing, or the error."""
    for module in (one.module, *one.needs):
        if importlib.util.find_spec(module) is None:
            return f"{MISSING}{module} is not installed"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Path.cwd()
        os.chdir(folder)
        try:
            one.run(weights)
        except Exception as error:
            traceback.print_exc()
            first = str(error).strip().splitlines() or [""]
            return f"{type(error).__name__}: {first[0][:120]}"
        finally:
            os.chdir(before)
    return OK


def version(library: str) -> str:
    """Of what is installed; "–" where nothing is."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "–"


def results(libraries: list[str], weights: Weights) -> list[tuple[Trial, str]]:
    """Try what there is of these libraries; none: of all."""
    return [(one, result(one, weights)) for one in TRIALS if not libraries or one.package in libraries]


def page(tried: list[tuple[Trial, str]]) -> str:
    """The page, Markdown."""
    rows = [f"| {one.package} | {version(one.package)} | {one.tried} | {outcome} |" for one, outcome in tried]
    return HEADER + "\n".join(rows) + "\n" + NOTES


def main() -> int:
    """The command line; returns 1 if something did not work."""
    known = sorted({one.package for one in TRIALS})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", help=f"which of {', '.join(known)} (default: all, and write the page)")
    parser.add_argument("--weights", default=None, help="name or folder of weights (default: the best that ship)")
    args = parser.parse_args()
    if unknown := set(args.libraries) - set(known):
        parser.error(f"{', '.join(sorted(unknown))} are unknown; choose from {', '.join(known)}")
    tried = results(args.libraries, args.weights)
    for one, outcome in tried:
        print(f"{one.package:<20} {outcome:<10} {one.tried}")
    if not args.libraries:
        PAGE.write_text(page(tried), "utf-8")
        print(f"written: {PAGE}")
    return int(any(outcome != OK and not outcome.startswith(MISSING) for _, outcome in tried))


if __name__ == "__main__":
    sys.exit(main())
