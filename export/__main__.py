"""`python -m export` is `router-export`."""

from export.cli import main

main(prog_name="router-export")
