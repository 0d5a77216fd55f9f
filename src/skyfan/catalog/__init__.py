"""A run's predictions as one catalogue that astronomers' tools open: VOParquet, FITS, VOTable, HATS."""
