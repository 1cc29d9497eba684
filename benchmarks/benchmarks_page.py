"""placeholder"""


def write() -> None:
    pass
