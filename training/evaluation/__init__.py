"""What the weights know, what a dream looks like, and what agents are worth that learned in it."""
