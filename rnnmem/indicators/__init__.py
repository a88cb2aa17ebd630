"""Indicators: pure functions over accumulated sums, one file each."""
