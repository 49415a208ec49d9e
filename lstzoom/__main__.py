"""`python -m lstzoom` is the command `lstzoom`."""

from lstzoom.cli import main

main()
