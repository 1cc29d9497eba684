"""`onnx:FILE` and `torchscript:FILE`: the user's own network, with its preprocessing beside it.

`face.onnx` is described by `face.json`: the keys of `Preprocessing`, e.g.
`{"size": [112, 112], "channels": "BGR", "range": 255, "mean": 127.5, "std": 128}`.
"""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from embedkit.backbones.cards import Card, Options
from embedkit.backbones.network import Network
from embedkit.backbones.onnx_data import whole_network
from embedkit.backbones.preprocessing import Preprocessing
from embedkit.backbones.scripts import check_script
from embedkit.errors import BackboneError, InputError, WeightsError
from embedkit.files import read_plain, sha256
from embedkit.trust import check_file, trust


def build(card: Card, options: Options) -> Network:
    """Load a network from a file.

    Raises:
        InputError: the file or its description is not there, or cannot be understood, or only a
            store or a head names it.
        WeightsError: the file is damaged, or does more than compute.
        BackboneError: the network does not return one vector a picture.
    """
    kind, _, name = card.name.partition(":")
    path = options.file or Path(name)
    if not path.is_file():
        raise InputError(f"{path} does not exist; {kind}: needs the network's file")
    preprocessing = read_description(path.with_suffix(".json"))
    # What is hashed is what is loaded, and the hash decides whether it may be.
    data = _content(path)
    if kind == "torchscript":
        digest = sha256(data)
        check_file(path, digest, options.named_by)
        check_script(data, path)
        return Network(card, _torchscript(path, data), preprocessing, digest)
    whole, digest = whole_network(path, data)
    check_file(path, digest, options.named_by)
    return Network(card, _onnx(path, whole), preprocessing, digest)


def trust_network(path: Path) -> str:
    """Let a file be used that a store or a head names, and return its SHA-256.

    Raises:
        InputError: it is not there.
        WeightsError: it is an ONNX file, and damaged.
    """
    data = _content(path)
    digest = whole_network(path, data)[1] if path.suffix == ".onnx" else sha256(data)
    trust(digest)
    return digest


def read_description(path: Path) -> Preprocessing:
    """Read the preprocessing that a network wants.

    Raises:
        InputError: it is not there, or cannot be understood.
    """
    try:
        record = json.loads(read_plain(path))
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; it has to say what the network wants to see, for example "
            '{"size": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} must hold one JSON object")
    return Preprocessing.from_dict(record, str(path))


def _content(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _torchscript(path: Path, data: bytes) -> torch.nn.Module:
    load: Any = torch.jit.load
    try:
        with warnings.catch_warnings():
            # It has been deprecated for years and is what people have; torch.export takes over.
            warnings.simplefilter("ignore", FutureWarning)
            module: torch.nn.Module = load(io.BytesIO(data), map_location="cpu")
    except (RuntimeError, ValueError, OSError):
        raise WeightsError(f"{path} cannot be read: damaged, or no TorchScript file") from None
    return module


def _onnx(path: Path, data: bytes) -> torch.nn.Module:
    try:
        import onnxruntime
    except ImportError:
        raise InputError("onnx: needs ONNX Runtime; pip install 'embedkit[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime's errors have no common class of their own.
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise WeightsError(f"{path} cannot be read: damaged, or no ONNX file") from None
    return _Session(session, path)


class _Session(torch.nn.Module):
    """An ONNX network that is called like one of torch."""

    own_runtime = True  # it cannot be moved, cast or traced

    def __init__(self, session: Any, path: Path) -> None:
        super().__init__()
        self._session = session
        self._path = path
        self._name = session.get_inputs()[0].name
        batch = session.get_inputs()[0].shape[0]
        self._fixed = batch if isinstance(batch, int) and batch > 0 else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run it, in pieces where the file was made for one size of batch."""
        n = len(x)
        step = self._fixed or n
        inputs = functional.pad(x, (0, 0) * 3 + (0, -n % step)).contiguous().numpy()
        try:
            parts = [
                torch.from_numpy(self._session.run(None, {self._name: piece})[0])
                for piece in np.split(inputs, len(inputs) // step)
            ]
        except Exception as error:
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            first = str(error).splitlines()[0][:200]
            raise BackboneError(
                f"{self._path} does not take what its description says: {first}"
            ) from None
        return torch.cat(parts)[:n].flatten(1)
