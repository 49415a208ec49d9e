"""The method on plain arrays: numpy, scipy, scikit-learn and numba, no dask and no files."""
