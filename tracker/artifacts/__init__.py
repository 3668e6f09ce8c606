"""Files that belong to runs: logging them, describing datasets, and getting them back.

Logging stages the bytes in the spool and returns; a shipper uploads them. Nothing in here
is imported before the first artifact.
"""
