"""Measures that experts expect beside the curves: one file each, one function each."""
