"""The demo: a real training on real data, its server taken away and brought back."""
