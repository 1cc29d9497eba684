"""Balance: what a head is trained for besides the mean over its training images as they are."""

from dataclasses import dataclass

import numpy as np

from embedkit.errors import InputError, NotEnoughImagesError
from embedkit.heads.emphasis import Emphasis
from embedkit.store import Store
from embedkit.vectors import DoubleArray, IntArray

OVER = ("classes", "groups", "subset")
SELECT = ("mean", "worst-group")
FEWEST = 5  # images of a group whose errors are to decide, or of a cell to draw from
DRAWS = 10  # of such sets


@dataclass(frozen=True, slots=True)
class Balance:
    """How training images are evened out, and whose errors choose the hyper-parameter.

    Attributes:
        over: `classes`: every class weighs the same. `groups`: every class of every group does,
            which is what drawing as many images of each comes to on average. `subset`: the head is
            trained on as many images of each class and group as the smallest has, ten times, and
            its coefficients averaged (P. Kirichenko et al., "Last layer re-training is sufficient
            for robustness to spurious correlations", ICLR 2023). Empty: images as they are.
        by: column with the groups; empty where none is needed.
        select: `mean`, or `worst-group` for the hyper-parameter with which the worst group does
            best.
    """

    over: str = ""
    by: str = ""
    select: str = "mean"

    def __post_init__(self) -> None:
        if self.over and self.over not in OVER:
            raise InputError(f"balance is {self.over!r}; allowed are {', '.join(OVER)}")
        if self.select not in SELECT:
            raise InputError(f"select is {self.select!r}; allowed are {', '.join(SELECT)}")
        asked = self.over in OVER[1:] or self.select != SELECT[0]
        if asked and not self.by:
            raise InputError(
                f"{self.name} needs a column with the groups; name one of the store's attributes "
                "with --by"
            )
        if self.by and not (asked or self.over):
            raise InputError(
                f"--by {self.by} names groups, but nothing is evened out over them; add "
                "--balance classes, groups or subset, or --select worst-group"
            )

    @property
    def plain(self) -> bool:
        """Whether all images count alike."""
        return self == PLAIN_BALANCE

    @property
    def name(self) -> str:
        """What it is called in a table."""
        words = [f"balance {self.over}"] if self.over else []
        words += [f"select {self.select}"] if self.select != SELECT[0] else []
        return ", ".join(words) or "plain"

    def emphasis(self, y: IntArray, groups: IntArray, *, chosen: bool = False) -> Emphasis:
        """Return what it makes of training images.

        Args:
            y: (n,) class numbers.
            groups: (n,) group numbers, -1 for none.
            chosen: whether the hyper-parameter is known, so that nobody's errors are asked.

        """
        weights = None
        if self.over == "classes":
            weights = _even(y)
        elif self.over == "groups":
            weights = np.ones(len(y))
            weights[groups >= 0] = _even(_cells(y, groups)[groups >= 0])
        if self.select == SELECT[0] or chosen:
            return Emphasis(weights)
        enough = np.bincount(groups[groups >= 0]) >= FEWEST
        asked = (groups >= 0) & enough[groups]
        return Emphasis(weights, np.where(asked, groups, -1))

    def subsets(self, y: IntArray, groups: IntArray, *, seed: int) -> list[IntArray]:
        """Return places of training images, as many of each class in each group.

        Args:
            y: (n,) class numbers.
            groups: (n,) group numbers; images with -1 are left out.
            seed: of the draws.

        Raises:
            NotEnoughImagesError: a class has fewer than `FEWEST` images of a group.
        """
        cells = _cells(y, groups)
        kinds, counts = np.unique(cells[groups >= 0], return_counts=True)
        possible = len(np.unique(y)) * len(np.unique(groups[groups >= 0]))
        fewest = int(counts.min()) if len(kinds) == possible else 0
        if fewest < FEWEST:
            raise NotEnoughImagesError(
                f"some group of {self.by} has {fewest} training images of some class; sets that "
                f"hold as many of each need {FEWEST}; --balance groups does without"
            )
        generator = np.random.default_rng(seed)
        return [
            np.sort(
                np.concatenate(
                    [generator.permutation(np.flatnonzero(cells == one))[:fewest] for one in kinds]
                )
            )
            for _ in range(DRAWS)
        ]


PLAIN_BALANCE = Balance()


def check_groups(by: str, label: str, groups: IntArray) -> None:
    """Refuse a column whose groups cannot be evened out.

    Args:
        by: the column; empty for no groups.
        label: column with the class.
        groups: (n,) group numbers of the training images, -1 for none.

    Raises:
        InputError: it is the label.
        NotEnoughImagesError: fewer than two groups have `FEWEST` images.
    """
    if by == label:
        raise InputError(f"--by {by} is the label itself; --balance classes evens out classes")
    if by and (np.bincount(groups[groups >= 0]) >= FEWEST).sum() < 2:
        raise NotEnoughImagesError(
            f"fewer than two groups of {by} have {FEWEST} training images, so there is nothing to "
            "even out"
        )


def groups_in(store: Store, by: str, rows: IntArray) -> tuple[IntArray, tuple[str, ...]]:
    """Return the group number of images, -1 where a column says none, and the groups' names.

    Args:
        store: of the images.
        by: column; empty for no groups.
        rows: (n,) of the images.

    Raises:
        InputError: there is no such column.
    """
    if not by:
        return np.full(len(rows), -1, np.int64), ()
    column = store.items.label_column(by)
    given = [column[row] for row in rows]
    names = tuple(sorted({one for one in given if one is not None}))
    number = {name: place for place, name in enumerate(names)}
    return np.array([-1 if one is None else number[one] for one in given], np.int64), names


def _cells(y: IntArray, groups: IntArray) -> IntArray:
    return np.asarray(groups * (int(y.max()) + 1) + y)


def _even(kinds: IntArray) -> DoubleArray:
    """Return weights, 1 on average, by which every kind weighs the same."""
    _, inverse, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.asarray(len(kinds) / len(counts) / counts[inverse.ravel()])
