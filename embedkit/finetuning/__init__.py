"""Finetuning: a network trained on the pictures themselves, to see what freezing costs."""

from embedkit.finetuning.run import Finetuned, finetune

__all__ = ["Finetuned", "finetune"]
