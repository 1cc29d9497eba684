"""Pictures from outside, in spaces where people are told apart: refused.

Such a space is there to find one person on both sides of a split. With a picture from outside it
would say who somebody is, or whether somebody is in the data set; no audit needs that, so there is
no option for it.
"""

from typing import Any

from embedkit.errors import InputError


def made_for_people(contract: dict[str, Any]) -> bool:
    """Say whether a contract is that of a network that tells people apart by their faces."""
    landmarks = bool(contract.get("preprocessing", {}).get("landmarks"))
    return str(contract.get("backbone", "")).startswith("facenet:") or landmarks


def refuse_outsiders(contract: dict[str, Any], what: str) -> None:
    """Refuse a picture that is not of the store, where people are told apart.

    Args:
        contract: of the space that it would be embedded into.
        what: is asked, as the beginning of a sentence.

    Raises:
        InputError: with the reason.
    """
    if made_for_people(contract):
        raise InputError(
            f"{what}: {contract['backbone']} tells people apart, and embedkit does not look for "
            "people from outside the data set; ask with a picture of the store, or in a space of "
            "another network (-b)"
        )
