"""`dream-doom`: what the command line does."""
