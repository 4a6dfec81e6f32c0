"""Stages: each takes a config and a workdir, and leaves files there."""
