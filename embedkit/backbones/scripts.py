"""What a TorchScript file may do: compute. Loading one runs the program in it.

Among the operators of torch are some that write files (`torch.from_file`, `torch.save`), and its
archives may hold objects of compiled classes, some of which load libraries. So a file is loaded
only if each operator that its code names is one that computes, and no such class is named. What is
looked at is what torch's own reader of such archives finds, so there is no second opinion on what
is in it. Names are looked for as words, wherever they stand; this may refuse a network that calls
a layer of its own `save`, and lets none through that is spelled otherwise.
"""

import io
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from embedkit.errors import WeightsError

# Operators that take text, and do nothing with it but compute: what is to be done at a border, how
# a product is to be formed, and the methods of texts, lists and dictionaries.
_WITH_TEXT = """
    Delete Float Int __contains__ __getitem__ __interpolate __upsample _convolution_mode _set_item
    add any capitalize center clear conv1d conv2d conv3d copy count device dict div div_ divide
    divide_ einsum endswith eq expandtabs find format ge gelu gelu_ get gt index index_reduce
    index_reduce_ isalnum isalpha isdecimal isdigit isidentifier islower isnumeric isprintable
    isspace istitle isupper items join keys le len linalg_norm linalg_matrix_norm linalg_qr
    linalg_svd linalg_eigh list ljust lower lstrip lt meshgrid nanquantile ne ord pad pad_sequence
    partition percentFormat pop popitem quantile remove replace rfind rindex rjust rpartition
    rsplit rstrip scatter scatter_ scatter_reduce scatter_reduce_ searchsorted setdefault slice
    sort sorted split splitlines startswith stft strip swapcase title update upper values warn
    zfill ModuleContainerIndex RaiseException StringIndex
"""
# Operators for torch's own use, some of which trust their arguments, but for those that the
# recorded programs of usual networks hold.
_INTERNAL = """
    _convolution _native_multi_head_attention _transformer_encoder_layer_fwd _shape_as_tensor
    _unsafe_view _unwrap_optional _weight_norm _softmax _log_softmax __derive_index __range_length
    _set_item _convolution_mode __interpolate __upsample _upsample_bicubic2d_aa
    _upsample_bilinear2d_aa _upsample_lanczos2d_aa _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d _assert_int_or_pair _cast_Float
    _scaled_dot_product_flash_attention_for_cpu _adaptive_avg_pool2d _infer_size _tensor_to_list
"""
_PROGRAMS = ("NumToTensor", "RaiseException", "StringIndex", "ModuleContainerIndex", "Print")
_STRANGE = ("__torch__.torch.classes", "RRef", "Future")
_LAYOUT = re.compile(
    r"(data|constants|traced_inputs)(\.pkl|/\d+)|code/.+|extra/.+|version|byteorder|\.format_version"
    r"|\.storage_alignment|\.data/.+|attributes\.pkl"
)
_WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")
_CLASSES = re.compile(rb"torch\.classes|classes\.\w")
_OTHER_OPERATORS = re.compile(rb"(?<![.\w])ops\b(?!\.(?:aten|prim)\.[A-Za-z_])")


def check_script(data: bytes, path: Path) -> None:
    """Refuse a TorchScript file that does anything but compute.

    Args:
        data: the file.
        path: for messages.

    Raises:
        WeightsError: it does, or is no such file.
    """
    reader: Any = torch._C.PyTorchFileReader
    try:
        # torch takes a file with these letters for its other format, whatever archive is in it too.
        if data[:4] != b"PK\3\4" or data[4:8] == b"PTMF":
            raise RuntimeError
        archive = reader(io.BytesIO(data))
        names = archive.get_all_records()
        if "data.pkl" not in names:
            raise RuntimeError
        # Numbers are numbers, and what a fault is explained with is only ever text.
        read = [n for n in names if n.endswith(".pkl") or n.startswith("code/")]
        records = {n: archive.get_record(n) for n in read if not n.endswith(".debug_pkl")}
    except (RuntimeError, ValueError, UnicodeError):
        raise WeightsError(f"{path} cannot be read: damaged, or no TorchScript file") from None
    for name in names:
        if not _LAYOUT.fullmatch(name):
            raise _refused(path, f"holds {name[:80]!r}, which no such file has")
    for name, content in records.items():
        if _CLASSES.search(content):
            raise _refused(path, "holds objects of a compiled class")
        if not name.startswith("code/"):
            continue
        other = _OTHER_OPERATORS.search(content)
        if other is not None:
            raise _refused(path, "uses operators that torch itself does not have")
        words = {word.decode() for word in _WORD.findall(content)}
        for word in sorted(words & _forbidden()):
            raise _refused(path, f"names the operator {word}, which does more than compute")


@lru_cache(maxsize=1)
def _forbidden() -> frozenset[str]:
    """Return the names of operators of which one form or other may do more than compute."""
    schemas: Any = torch._C
    with_text, usual = set(_WITH_TEXT.split()), set(_INTERNAL.split())
    found = set()
    for schema in schemas._jit_get_all_schemas():
        space, _, name = schema.name.partition("::")
        if space not in ("aten", "prim"):
            continue  # they cannot be called but by `ops`
        given = {str(one.type) for one in schema.arguments}
        internal = name.startswith("_") and not name.endswith("__") and name not in usual
        program = space == "prim" and name[0].isupper() and name not in _PROGRAMS
        text = any("str" in one for one in given) and name not in with_text
        strange = any(part in one for one in given for part in _STRANGE)
        if internal or program or text or strange or name.startswith("rpc_"):
            found.add(name)
    return frozenset(found)


def _refused(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path} {what}; loading a TorchScript file runs what is in it, so only networks that "
        "compute are loaded. Export it as ONNX, which can do nothing else"
    )
