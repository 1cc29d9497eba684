"""`python -m embedkit_cli` does what `embedkit` does."""

from embedkit_cli.app import program

program()
