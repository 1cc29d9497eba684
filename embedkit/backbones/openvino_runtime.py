"""Networks compiled by OpenVINO, where it is installed (extra `fast`)."""

import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch

from embedkit.errors import BackboneError

KINDS = {"fp32": "f32", "bf16": "bf16"}


def compiled(
    read: Callable[[torch.Tensor], torch.Tensor], example: torch.Tensor, kind: str
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compile a network for this processor.

    Every pass runs on one thread, several side by side, as torch's do here.

    Args:
        read: from pictures, (n, h, w, c) uint8, to (n, d); what it does to them before the network
            is compiled into it.
        example: of the one shape that it will be called with.
        kind: `fp32` or `bf16`.

    Returns:
        What is called like `read`; with fewer pictures it is filled up with zeros.

    Raises:
        BackboneError: OpenVINO is not installed, or cannot take the network.
    """
    # Its converter reports each use to its maker, unless this module is missing; then it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        raise BackboneError(
            "these vectors were made with OpenVINO; pip install 'embedkit[fast]'"
        ) from None
    cores = torch.get_num_threads()
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # Tracing has been deprecated for years, and is what OpenVINO takes networks by.
            warnings.simplefilter("ignore")
            trace: Any = torch.jit.trace
            traced = trace(_Module(read), example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example)
        model.reshape(list(example.shape))
        program = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": KINDS[kind],
                "NUM_STREAMS": cores,
                "INFERENCE_NUM_THREADS": cores,
                "ENABLE_CPU_PINNING": False,  # pictures are decoded on the same cores
            },
        )
    except Exception as error:  # noqa: BLE001 (its converter raises classes of its own)
        first = str(error).splitlines()[0][:160]
        raise BackboneError(f"OpenVINO cannot take this network: {first}") from None

    own = threading.local()

    def run(x: torch.Tensor) -> torch.Tensor:
        if not hasattr(own, "request"):
            own.request = program.create_infer_request()
        full = x
        if len(x) < len(example):
            full = torch.zeros_like(example)
            full[: len(x)] = x
        result: Any = own.request.infer([full.numpy()], share_inputs=True)
        return torch.from_numpy(result[0])[: len(x)].clone()

    return run


class _Module(torch.nn.Module):
    """A function as a module, which is what can be traced."""

    def __init__(self, read: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._read = read

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._read(x)
