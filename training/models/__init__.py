"""What is trained: the world model with the heads that exist in training only, and its losses."""
