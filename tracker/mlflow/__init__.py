"""The MLflow plugin: unchanged MLflow programs that log into the spool.

    MLFLOW_TRACKING_URI=tracker+http://host:5000     (also tracker+https://, tracker://)

makes `mlflow`'s fluent API, its client, autologging and everybody's callbacks write as
tracker itself does: durable at return, no network on the caller's thread, delivered by a
shipper. Found by MLflow through the entry points `mlflow.tracking_store` and
`mlflow.artifact_repository`; only MLflow imports this package.
"""
