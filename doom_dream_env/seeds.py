"""Seeds of games: which range is for what, so that nothing is scored on games that something was trained on.

Every episode of ViZDoom is played from one seed. From 90,000 up no seed is used by anything here: they are the
user's own.
"""

# What a dataset's splits are recorded from.
TRAINING = range(0, 50_000)
VALIDATION = range(50_000, 60_000)
TEST = range(60_000, 90_000)
SPLITS = {"train": TRAINING, "val": VALIDATION, "test": TEST}

# First seeds of what is played inside these ranges.
BLIND_SEARCH = 40_000  # search for the best fixed sequence of actions of each scenario
CLONING = 45_000  # games that behaviour cloning learns from
AGENT_SELECTION = 50_000  # games in which several trained agents are compared and one is kept
EVALUATION = 60_000  # scorecards and tables
RANKING = 70_000  # policies that are ranked in the dream and in the game
FILM = 70_000  # clips that a film of a dream begins with
SHIPPED_TESTS = 80_000  # tests of the shipped weights
