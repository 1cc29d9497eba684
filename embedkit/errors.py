"""What can go wrong, as one small tree; the command line turns each into one line and a status."""


class EmbedkitError(Exception):
    """Root of the tree: something that a user can understand and act on.

    `exit_status` is what the command line ends with: 2 where the request or its input is wrong,
    3 where the request was sound and the run failed.
    """

    exit_status = 3


class InputError(EmbedkitError):
    """The request itself cannot be carried out: a wrong name, path, option or kind of data."""

    exit_status = 2


class LayoutError(InputError):
    """A folder of images can be read in several ways, or in none; the message shows which."""


class NotEnoughImagesError(InputError):
    """There are too few images, or too few classes, for what was asked."""


class SpaceMismatchError(InputError):
    """Vectors of one space were given to something that was made in another."""


class StoreError(EmbedkitError):
    """A store is missing, locked, damaged or cannot be written."""


class StoreSchemaError(StoreError):
    """A store was written by another version of the format, or is no store at all."""

    exit_status = 2


class HeadError(EmbedkitError):
    """A saved head is damaged, or is no head at all."""


class OutputError(EmbedkitError):
    """A file that was asked for cannot be written."""


class FetchError(EmbedkitError):
    """A picture could not be fetched from its address."""


class SourceGoneError(EmbedkitError):
    """The disk or share that the pictures lie on does not answer, or is there no more."""


class TooManyUnreadableError(EmbedkitError):
    """More pictures than `--max-errors` allows could not be read."""


class UnreadableImageError(EmbedkitError):
    """One picture cannot be decoded; the message is the reason, without the picture's name."""


class WeightsError(EmbedkitError):
    """Weights are not on this machine, damaged, or of another network."""


class BackboneError(EmbedkitError):
    """A network does not do what a backbone must."""


class WorkerError(EmbedkitError):
    """Processes that should do the work die at it."""


class PipelineLeakError(EmbedkitError):
    """Labels that mean nothing were learned: embedkit itself lets train see test."""
