"""What `auto` takes, seen from some pictures of the data set: faces or pictures, and precision."""

from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

from embedkit.backbones import Backbone, Card, embed_prepared, load_backbone
from embedkit.errors import BackboneError, UnreadableImageError
from embedkit.vectors import FloatArray, Pixels

Sample = Callable[[], list[Pixels]]

AUTO = "auto"
SAMPLE = 32
SAMPLE_SIDE = 1280  # pixels; larger pictures are looked at in a smaller copy
FEWEST = 8  # pictures by which precisions can be compared
# A face network's own crop is nine tenths face; below this share there is something to cut off.
FILLED = 0.7
FOUND = 0.5
SMALL_SIDE = 80  # pixels
AGREEMENT = 0.997  # of a precision with fp32: the smallest cosine, after centring


def choose_align(card: Card, sample: Sample) -> tuple[str, str, float | None]:
    """Return whether faces are to be cut out, why, and the share of pictures that have one.

    Without words where it goes without saying, without a share where nobody looked.

    Args:
        card: of the backbone.
        sample: gives some pictures.
    """
    if not (card.faces or card.preprocessing.get("landmarks")):
        return "none", "", None
    from embedkit.backbones.faces import face_finder

    pictures = sample()
    if not pictures:
        return "none", "", None
    side = float(np.median([min(picture.shape[:2]) for picture in pictures]))
    if side < SMALL_SIDE:
        why = (
            f"pictures are taken as they are: at {side:.0f} pixels (median of {len(pictures)}) "
            "faces are not found reliably"
        )
        return "none", why, None
    shares = []
    for picture in pictures:
        faces = face_finder().find(picture)
        if faces:
            shares.append(np.sqrt(faces[0].area) / min(picture.shape[:2]))
    found = len(shares) / len(pictures)
    seen = f"in {len(shares)} of {len(pictures)} pictures looked at a face was found"
    if found < FOUND:
        return "none", f"pictures are taken as they are: only {seen}", found
    filled = float(np.median(shares))
    if filled >= FILLED and not card.preprocessing.get("landmarks"):
        why = (
            f"pictures are taken as they are: {seen}, and it fills them (median {filled:.0%} of "
            "the shorter side)"
        )
        return "none", why, found
    why = f"faces are found by MTCNN and cut out: {seen}, filling {filled:.0%} of them"
    return "mtcnn", why, found


def choose_precision(
    name: str, options: Mapping[str, str], asked: str, device: str, sample: Sample
) -> tuple[Backbone, str, str]:
    """Load a backbone in the fastest precision that agrees with fp32.

    A precision is taken only if its vectors of the sample agree with those in fp32 to `AGREEMENT`.

    Args:
        name: of the backbone.
        options: how to load it otherwise.
        asked: `auto`, `fp32` or `bf16`.
        device: `cpu` or `cuda`.
        sample: gives some pictures.

    Returns:
        The backbone, its precision, and a sentence on how it was chosen, if it was.

    Raises:
        BackboneError: bf16 was asked for, and does not agree, or cannot be computed.
    """
    reference = load_backbone(name, **options, device=device)
    if asked == "fp32" or not hasattr(getattr(reference, "inner", reference), "to"):
        return reference, "fp32", ""
    pictures, refused = sample(), []
    expected = _rows(reference, pictures)
    if asked == AUTO and len(expected) < FEWEST:
        return reference, "fp32", f"fp32, for {len(expected)} pictures are too few to compare by"
    for precision in _candidates(asked, device):
        try:
            backbone = load_backbone(name, **options, precision=precision, device=device)
            agreement = agreement_of(_rows(backbone, pictures), expected)
        except BackboneError:
            continue
        said = f"{precision} agrees with fp32 to {agreement:.4f}"
        if agreement >= AGREEMENT:
            return backbone, precision, f"{said} (cosine after centring, {len(expected)} pictures)"
        refused.append(said)
    why = "; ".join(refused) or "this machine has nothing faster"
    if asked != AUTO:
        raise BackboneError(
            f"{name} cannot be computed in {asked}: {why}, {AGREEMENT} is asked for; use "
            "--precision auto or fp32"
        )
    return reference, "fp32", f"fp32, for {why}" if refused else ""


def agreement_of(rows: FloatArray, expected: FloatArray) -> float:
    """Return the smallest cosine of two sets of (n, d) vectors, each less its mean.

    Without taking the mean off, networks that give all pictures nearly the same vector would agree
    with anything. One vector alone is compared as it is. Vectors that do not differ agree with none
    that do.
    """
    wide = (rows.astype(np.float64), expected.astype(np.float64))
    a, b = (one - (one.mean(axis=0) if len(one) > 1 else 0) for one in wide)
    ours, theirs = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    varied = theirs > 1e-6
    if not varied.any():
        return 1.0
    cosines = (a * b).sum(axis=1)[varied] / np.maximum(ours * theirs, 1e-12)[varied]
    return float(cosines.min())


def _candidates(asked: str, device: str) -> list[str]:
    """Return the precisions worth trying, the fastest first."""
    from embedkit.hardware import has_bf16, has_openvino

    if device == "cuda":
        return ["bf16"]
    fast = asked == "bf16" or has_bf16()
    found = ["openvino-bf16"] if fast and has_openvino() else []
    found += ["bf16"] if fast else []
    return found + (["openvino-fp32"] if asked == AUTO and has_openvino() else [])


def _rows(backbone: Backbone, pictures: list[Pixels]) -> FloatArray:
    inputs = []
    for picture in pictures:
        with suppress(UnreadableImageError):
            inputs.append(backbone.prepare(picture))
    return embed_prepared(backbone, inputs)
