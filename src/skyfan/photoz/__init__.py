"""Photometric redshifts: a simulated survey to learn from, the network, its training, its export, its metrics."""
