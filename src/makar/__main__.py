"""`python -m makar` is `makar`."""

from makar.app.cli import main

main()
