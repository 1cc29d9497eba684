"""Cues: how much each picture looks like a prompt rather than like its opposite, says CLIP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from embedkit.audits.causes import CAUSES, TEMPLATES, UNRELATED, Cause
from embedkit.backbones import TextBackbone, load_again
from embedkit.errors import EmbedkitError
from embedkit.neighbours import text_spaces
from embedkit.store import Store
from embedkit.vectors import DoubleArray, FloatArray, unit_rows


@dataclass(frozen=True, slots=True, eq=False)
class Cues:
    """What CLIP guesses of every picture of a store; nobody has labelled any of it.

    Attributes:
        backbone: whose vectors were compared.
        causes: those that were asked about.
        scores: (n, c) similarity with a cause's prompts less that with their opposites.
        unrelated: (n, w) similarity with things that have nothing to do with the pictures.
    """

    backbone: str
    causes: tuple[Cause, ...]
    scores: DoubleArray
    unrelated: DoubleArray


def read_cues(
    store: Store, causes: Sequence[Cause] = CAUSES, *, backbone: str | None = None
) -> Cues | str:
    """Score every picture of a store for every cause; no picture is read, nothing is fetched.

    Args:
        store: with a space of a backbone that knows texts.
        causes: to ask about.
        backbone: which of these spaces, where it is one; else the first by name.

    Returns:
        The scores; or why there are none, and what would give some.
    """
    try:
        able = text_spaces(store)
        if not able:
            return (
                "no space of the store knows texts; 'embedkit weights get clip' and then 'embedkit "
                "embed SOURCE -o STORE -b clip' add one"
            )
        space = store.space(backbone if backbone in able else able[0])
        network = load_again(
            **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
        )
    except (EmbedkitError, OSError) as error:
        return str(error)
    return score(space.name, space.vectors, cast(TextBackbone, network), causes)


def score(
    backbone: str, vectors: FloatArray, network: TextBackbone, causes: Sequence[Cause]
) -> Cues:
    """Compare vectors of pictures with those of prompts.

    Args:
        backbone: name of the space.
        vectors: (n, d) of pictures, unit rows.
        network: whose text tower goes with them.
        causes: to ask about.
    """
    sides = [
        [prompt[side] for prompt in cause.prompts] for cause in causes for side in range(2)
    ] + [[thing] for thing in UNRELATED]
    said = [[form.format(prompt) for prompt in side for form in TEMPLATES] for side in sides]
    every = network.embed_text([text for side in said for text in side]).astype(np.float64)
    ends = np.cumsum([len(side) for side in said])[:-1]
    # A prompt is the mean of its templates' unit vectors, as for a zero-shot head.
    texts = unit_rows(np.stack([part.mean(axis=0) for part in np.split(every, ends)]))
    c = 2 * len(causes)
    directions = np.concatenate([texts[0:c:2] - texts[1:c:2], texts[c:]]).astype(np.float64)
    # Copies of one picture have equal scores, in whatever order the products are summed.
    scores = np.round(np.asarray(vectors, np.float64) @ directions.T, 9)
    return Cues(backbone, tuple(causes), scores[:, : len(causes)], scores[:, len(causes) :])
