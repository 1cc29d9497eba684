"""What this machine can compute fast."""

from importlib.util import find_spec
from typing import Any

import torch


def has_cuda() -> bool:
    """Return whether torch sees a CUDA device."""
    return torch.cuda.is_available()


def has_bf16() -> bool:
    """Return whether the processor multiplies bf16 in hardware (AMX or AVX512-BF16)."""
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(can.get("amx_bf16") or can.get("avx512_bf16"))


def has_openvino() -> bool:
    """Return whether OpenVINO is installed (extra `fast`)."""
    return find_spec("openvino") is not None
