"""The gate: limits on findings, for continuous integration."""

from collections.abc import Iterable

from embedkit.audits import AUDITS, Audit
from embedkit.audits.base import Verdict
from embedkit.errors import InputError


def parse_limits(texts: Iterable[str]) -> dict[str, float]:
    """Turn `leakage=0.01` (or `leakage=1%`) and so on into limits by name of audit.

    Raises:
        InputError: not a name and a share from 0 to 1, or no audit of that name.
    """
    limits = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in AUDITS:
            raise InputError(
                f"--limit {text}: no audit is called {name!r}; known: {', '.join(AUDITS)}"
            )
        try:
            limit = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            raise InputError(f"--limit {text}: {value!r} is no number; e.g. {name}=0.01") from None
        if not 0 <= limit <= 1:
            raise InputError(
                f"--limit {text}: a limit is a share from 0 to 1, or in per cent; e.g. {name}=1%"
            )
        limits[name] = limit
    return limits


def exceeded(result: Audit, limits: dict[str, float], *, allow_not_run: bool) -> list[str]:
    """Return a sentence for each limit that a finding's value is above, or that was not judged."""
    reasons = []
    for name, limit in limits.items():
        finding = next((one for one in result.findings if one.name == name), None)
        if finding is None or finding.verdict is Verdict.NOT_RUN or finding.estimate is None:
            if not allow_not_run:
                why = (finding and finding.not_run_reason) or "it was not asked for"
                reasons.append(f"{name} did not run ({why}); --allow-not-run lets that pass")
        elif finding.verdict is Verdict.INCONCLUSIVE and finding.missed and not allow_not_run:
            reasons.append(
                f"{name} may have missed some ({finding.missed}); --allow-not-run lets that pass"
            )
        elif not finding.estimate.value <= limit:  # NaN is above every limit
            reasons.append(f"{name} is {finding.estimate.value:.4g}, at most {limit:g} is allowed")
    return reasons
