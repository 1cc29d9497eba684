"""The noise ceiling: what no honest model exceeds where labels are wrong that often."""

from dataclasses import dataclass
from typing import Any

from embedkit.statistics import Estimate, compatible


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The highest honest accuracy on test images, beside those that are reported.

    Wrong labels of test images cannot be foreseen, so nobody honest answers them "rightly". What
    does has seen them: train and test share the same wrong labels.

    Attributes:
        split: of the test images.
        accuracy: 1 less the rate of wrong labels among them.
        reported: accuracy of each model on them, by name.
    """

    split: str
    accuracy: Estimate
    reported: tuple[tuple[str, Estimate], ...]

    def above(self, reported: Estimate) -> bool | None:
        """Say whether an accuracy is above it; None where chance may have put it there."""
        if reported.value <= self.accuracy.value:
            return False
        return None if compatible(reported, self.accuracy) else True

    def sentence(self) -> str:
        """Say it in words, with the highest reported figure if there is any."""
        top = self.accuracy
        start = (
            f"With labels wrong that often no honest model exceeds {top.value:.1%} "
            f"[{100 * top.low:.1f}, {100 * top.high:.1f}] on {self.split}"
        )
        if not self.reported:
            return f"{start}."
        name, reported = max(self.reported, key=lambda one: one[1].value)
        end = {
            True: f"the {reported.value:.1%} of {name} is above that, so it has learned wrong "
            "labels that train and test share",
            None: f"the {reported.value:.1%} of {name} is above that, but chance may have put it "
            "there",
            False: f"the {reported.value:.1%} of {name} is not above that",
        }[self.above(reported)]
        return f"{start}; {end}."

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "split": self.split,
            **self.accuracy.to_dict(),
            "reported": [
                {"model": name, **one.to_dict(), "above": self.above(one)}
                for name, one in self.reported
            ],
        }
