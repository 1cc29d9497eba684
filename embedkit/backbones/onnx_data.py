"""Numbers that an ONNX network keeps in files beside its own: read once, hashed with it.

`torch.onnx.export` puts them there by itself. A network whose hash left them out would keep its
name while it makes other vectors.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedkit.errors import InputError, WeightsError
from embedkit.files import sha256

LARGEST = 2**31 - 2**20  # bytes in one message of protobuf


def whole_network(path: Path, data: bytes) -> tuple[bytes, str]:
    """Return a network with all its numbers in it, and its SHA-256.

    That is the file's own where nothing lies beside it; else of the hashes of all, in order.

    Args:
        path: of the network, for the files beside it and for messages.
        data: the file.

    Raises:
        InputError: the package `onnx` is missing.
        WeightsError: no such network, a part is missing or lies elsewhere, or it is too large.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("onnx: needs ONNX Runtime; pip install 'embedkit[onnx]'") from None
    try:
        model: Any = onnx.load_model_from_string(data)
    except DecodeError:
        raise WeightsError(f"{path} cannot be read: damaged, or no ONNX file") from None
    beside: dict[str, bytes] = {}
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            where = {entry.key: entry.value for entry in tensor.external_data}
            name = where.get("location", "")
            if name not in beside:
                beside[name] = _beside(path, name)
            tensor.raw_data = _part(path, beside[name], where)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    if not beside:
        return data, sha256(data)
    if len(data) + sum(map(len, beside.values())) > LARGEST:
        raise WeightsError(f"{path} is larger than 2 GiB with the files beside it")
    known = sha256(data) + "".join(f"\n{name} {sha256(beside[name])}" for name in sorted(beside))
    whole: bytes = model.SerializeToString()
    return whole, sha256(known.encode())


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor of a network, those inside branches, loops and functions among them."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for kind, value in message.ListFields():
        if kind.message_type is not None:
            for one in (value,) if hasattr(value, "DESCRIPTOR") else value:
                yield from _tensors(one)


def _beside(path: Path, name: str) -> bytes:
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise WeightsError(
            f"{path} has numbers in {name[:80]!r}; only a file in the same folder is read"
        )
    file = path.parent / name
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise WeightsError(f"{path} has numbers in {name}, which is no file")
            if status.st_size > LARGEST:
                raise WeightsError(f"{path} is larger than 2 GiB with the files beside it")
            return stream.read()
    except OSError as error:
        raise WeightsError(
            f"{path} has numbers in {name} beside it, which cannot be read: {error.strerror}"
        ) from None


def _part(path: Path, content: bytes, where: dict[str, str]) -> bytes:
    try:
        start = int(where.get("offset") or 0)
        length = int(where["length"]) if where.get("length") else len(content) - start
    except ValueError:
        start = length = -1
    if start < 0 or length < 0 or start + length > len(content):
        raise WeightsError(f"{path} cannot be read: numbers beside it are not where it says")
    return content[start : start + length]
