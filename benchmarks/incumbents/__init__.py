"""The same work done by tracker, MLflow and W&B offline, in one run on one machine."""
