"""Copies of the repository to run Snakemake in."""

from tests.workflow.conftest import clone

__all__ = ["clone"]
