"""Surveys as astronomers have them: FITS, HDF5 and Zarr, calibrated, cut to size and read by rows."""
