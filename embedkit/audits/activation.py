"""Class activation: an answer divided among the places of a picture, exactly.

Zhou et al., "Learning deep features for discriminative localization" (CVPR 2016). A unit row is
the network's vector divided by one number, so the division holds to the last digit.
"""

from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np

from embedkit.audits.base import rounded
from embedkit.audits.decisions import Decision, Frame
from embedkit.audits.peaks import Box, peak_box
from embedkit.backbones.places import Places, layered
from embedkit.errors import InputError
from embedkit.vectors import DoubleArray


@dataclass(frozen=True, slots=True)
class ClassActivation:
    """What each place of a picture gives to the log-odds of its answer.

    All places of all layers, the constant and the intercept add up to the log-odds.

    Attributes:
        answer: the class answered.
        against: the next one.
        log_odds: of the answer against the next class.
        intercept: what the head adds whatever the picture.
        constant: what the network adds whatever the picture.
        layers: what each place gives; the places of a layer cover what the network sees evenly.
        size: (height, width) of what the network sees, in pixels.
    """

    answer: str
    against: str
    log_odds: float
    intercept: float
    constant: float
    layers: tuple[Places, ...]
    size: tuple[int, int]

    @property
    def total(self) -> float:
        """The sum over all places."""
        return float(sum(one.values.sum() for one in self.layers))

    @property
    def values(self) -> DoubleArray:
        """All layers on one grid whose cells divide those of each, (rows, columns); same sum."""
        rows, columns = (lcm(*(one.values.shape[axis] for one in self.layers)) for axis in (0, 1))
        made = np.zeros((rows, columns))
        for one in self.layers:
            tall, wide = rows // one.values.shape[0], columns // one.values.shape[1]
            made += np.kron(one.values, np.full((tall, wide), 1 / (tall * wide)))
        return made

    @property
    def peak(self) -> Box:
        """The place that gives most: left, top, right, bottom in pixels of the frame."""
        values, (height, width) = self.values, self.size
        return peak_box(values, height / values.shape[0], width / values.shape[1])

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "unit": "log-odds",
            "answer": self.answer,
            "against": self.against,
            "log_odds": rounded(self.log_odds),
            "intercept": rounded(self.intercept),
            "constant": rounded(self.constant),
            "sum": rounded(self.total),
            "size": list(self.size),
            "layers": [
                {
                    "layer": one.layer,
                    "grid": list(one.values.shape),
                    "values": [[round(value, 8) for value in row] for row in one.values.tolist()],
                }
                for one in self.layers
            ],
            "peak": [round(side, 3) for side in self.peak],
        }


def class_activation(decision: Decision, frame: Frame) -> ClassActivation:
    """Divide the log-odds of an answer among the places of the picture; costs two passes.

    Args:
        decision: of a linear head, on the picture.
        frame: the picture as the backbone sees it in fp32.

    Raises:
        InputError: the head is not linear, or the network's vector is no sum over places; the
            message says why, and what works instead.
    """
    weights, intercept = decision.weights()
    try:
        found = layered(frame.backbone).contributions(frame.content, weights)
    except InputError as error:
        raise InputError(f"{error}; --occlusion works with every backbone") from None
    height, width = frame.content.shape[:2]
    return ClassActivation(
        decision.answer,
        decision.against,
        found.total + intercept,
        intercept,
        found.constant,
        found.layers,
        (height, width),
    )
