"""Runs, measured: the sweep that makes them, the table that holds them, the figures that show them."""
