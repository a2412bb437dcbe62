"""Every setting of every run: one frozen dataclass per stage.

`python -m training STAGE --help` shows them with their defaults, the run writes them down beside what it makes
(`STAGE.config.json`), and tests and pipelines make the same objects in code. Nothing heavy is imported here.
"""

from training.config.agents import AgentsConfig, DialsConfig, Learner
from training.config.base import Preset, TrainingConfig
from training.config.clone import CloneConfig
from training.config.collect import CollectConfig, Split
from training.config.decoder import DecoderConfig
from training.config.dynamics import DynamicsConfig
from training.config.evaluation import RankingConfig, ScorecardConfig, TransferConfig
from training.config.eye import EyeConfig
from training.config.film import FilmConfig
from training.config.idm import IDMScoreConfig, IDMTrainingConfig
from training.config.label import LabelConfig
from training.config.pipeline import PipelineConfig
from training.config.planning import DistilConfig, PlanningConfig
from training.config.record import record_config
from training.config.representation import RepresentationConfig
from training.config.things import ThingsAgentsConfig, ThingsScoreConfig, ThingsTrainingConfig
from training.config.tokenizer import TokenizerConfig

__all__ = [
    "AgentsConfig",
    "CloneConfig",
    "CollectConfig",
    "DecoderConfig",
    "DialsConfig",
    "DistilConfig",
    "DynamicsConfig",
    "IDMScoreConfig",
    "IDMTrainingConfig",
    "EyeConfig",
    "FilmConfig",
    "Learner",
    "LabelConfig",
    "PipelineConfig",
    "PlanningConfig",
    "Preset",
    "RankingConfig",
    "RepresentationConfig",
    "ScorecardConfig",
    "Split",
    "ThingsAgentsConfig",
    "ThingsScoreConfig",
    "ThingsTrainingConfig",
    "TokenizerConfig",
    "TrainingConfig",
    "TransferConfig",
    "record_config",
]
