"""Who plays the games that are recorded: random, blind and scripted players, and agents that take over from them."""
