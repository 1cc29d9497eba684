"""Engines: where the work of embedding runs."""

from embedkit.engines.local import Block, Engine, LocalEngine

__all__ = ["Block", "Engine", "LocalEngine"]
