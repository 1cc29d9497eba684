"""Controls: what the same head reaches with vectors that know nothing, or next to nothing."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.audits.refits import Bench
from embedkit.errors import PipelineLeakError
from embedkit.statistics import Estimate, effective_size, proportion
from embedkit.vectors import BoolArray, FloatArray, unit_rows

PIXELS = "pixels"  # the space whose numbers an untrained network is given
UNITS = 512
SLACK = 0.05  # above the commonest class, before the pipeline itself is suspected
ERRORS = 4.0  # standard errors above it, likewise


@dataclass(frozen=True, slots=True)
class Controls:
    """Accuracies that a head's own has to be seen beside.

    Attributes:
        majority: of always the commonest class of train.
        random: of the head on random vectors.
        untrained: of the head on an untrained network's output; of n = 0 where there is none.
        reason: why there is none; empty if there is.
        leaks: whether random vectors are answered better than any guess could be.
    """

    majority: Estimate
    random: Estimate
    untrained: Estimate
    reason: str
    leaks: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        untrained = None
        if not self.reason:
            untrained = self.untrained.to_dict() | {"network": f"one random layer on {PIXELS}"}
        return {
            "majority": self.majority.to_dict(),
            "random_vectors": self.random.to_dict(),
            "untrained_network": untrained,
            "untrained_network_not_run_reason": self.reason or None,
        }

    def sentence(self) -> str:
        """Say it in a line."""
        untrained = (
            f"an untrained network was not run ({self.reason})"
            if self.reason
            else f"one random layer on {PIXELS} {self.untrained.value:.1%}"
        )
        return (
            f"Controls: always the commonest class {self.majority.value:.1%}, random vectors "
            f"{self.random.value:.1%}, {untrained}."
        )


def run_controls(bench: Bench, pixels: FloatArray | None) -> Controls:
    """Train and score a head on vectors that say nothing of the class, by the same procedure.

    An untrained network is one layer of random weights and rectifiers on what `pixels` reads off
    a picture, for pictures are not read again in an audit.

    Args:
        bench: with the rows and clusters.
        pixels: (n, d) float32, the vectors of the space `pixels`; None without one.
    """
    truth, clusters = bench.y[bench.test], bench.clusters[bench.test]
    generator = np.random.default_rng([bench.seed, len(bench.vectors)])

    def share(right: BoolArray) -> Estimate:
        return proportion(right, clusters, seed=bench.seed)

    commonest = int(np.bincount(bench.y[bench.train]).argmax())
    noise = bench.seeing(unit_rows(generator.normal(size=bench.vectors.shape)))
    guessed = noise.right(noise.first)
    # Answers that know nothing are right at most as often as the commonest class of test is.
    best = float(np.bincount(truth).max() / len(truth))
    error = np.sqrt(best * (1 - best) / effective_size(guessed, clusters))
    untrained, reason = Estimate(float("nan"), 0.0, 1.0, 0), ""
    if pixels is None:
        reason = f"'embedkit embed -b {PIXELS}' adds the space that it needs"
    else:
        seen = bench.seeing(_layer(pixels, generator))
        untrained = share(seen.right(seen.first))
    return Controls(
        share(truth == commonest),
        share(guessed),
        untrained,
        reason,
        leaks=bool(guessed.mean() > best + max(SLACK, ERRORS * error)),
    )


def check_controls(head: str, controls: Controls) -> None:
    """Stop an audit whose own pipeline lets train see test.

    Raises:
        PipelineLeakError: random vectors are answered better than any guess.
    """
    if controls.leaks:
        raise PipelineLeakError(
            f"the {head} head is right on {controls.random.value:.1%} of {controls.random.n} test "
            f"images with random vectors, {controls.majority.value:.1%} by always answering the "
            "commonest class: embedkit itself lets train see test; nothing below this line could "
            "be trusted"
        )


def _layer(vectors: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Pass vectors through one random layer: He's weights, rectified; (n, UNITS) unit rows."""
    weights = generator.normal(scale=np.sqrt(2 / vectors.shape[1]), size=(vectors.shape[1], UNITS))
    # In float64 and rounded: the last digits depend on the number of threads.
    made = np.round(np.maximum(vectors.astype(np.float64) @ weights, 0), 9)
    made[~made.any(axis=1)] = 1.0
    return unit_rows(made)
