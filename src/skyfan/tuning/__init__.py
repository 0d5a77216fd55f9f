"""Chooses how to run a payload: a pilot measures, every way is reckoned, and the goal picks one of the frontier."""
