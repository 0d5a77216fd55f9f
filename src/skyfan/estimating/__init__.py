"""What a run will take before it starts: played through by a simulator, from a measured speed, with its bill."""
