"""Figures, each measured against a baseline in the same run. See docs/figures.md."""
