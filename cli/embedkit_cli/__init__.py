"""The command line of embedkit: parse, call the library, show; no logic of its own."""

from embedkit_cli.app import main, program

__all__ = ["main", "program"]
