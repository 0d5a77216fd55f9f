"""How fast a model is, and how much memory it takes: measured on a machine, or read from the reports of runs."""
