"""The part of a dream's state that has places: the things of the level that the player knows of, one slot each.

DOOM calls everything that stands or flies in a level a thing. A flat vector has to learn anew at every place how things
move, and loses them; here a thing has a place as numbers, and one small network moves all of them.
"""
