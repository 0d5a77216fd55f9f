"""Fan a model out over the sky."""
