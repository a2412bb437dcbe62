"""Videos of play: filming them, reading anybody's, and making a dataset of what they show."""
