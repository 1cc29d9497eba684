"""Causes in words: what CLIP is asked about each picture, and unrelated things beside it."""

from dataclasses import dataclass
from pathlib import Path

from embedkit.errors import InputError
from embedkit.heads.zeroshot import prompt_lines

# Those of A. Radford et al., "Learning transferable visual models from natural language
# supervision" (2021), that say nothing of a picture's quality; a prompt's vector is their mean.
TEMPLATES = ("a photo of {}.", "a close-up photo of {}.")
MOST = 40  # causes of one's own: with 50 in all, no p-value of 1,000 labellings is small enough
FORM = "name: prompt | opposite"


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that a picture may show, and its opposite.

    An opposite says what is there instead where that can be said, for CLIP hardly hears "without".

    Attributes:
        name: what the report calls it.
        prompts: (what it looks like, what its opposite looks like), to go into `TEMPLATES`.
        own: whether the user named it.
    """

    name: str
    prompts: tuple[tuple[str, str], ...]
    own: bool = False


CAUSES = tuple(
    Cause(name, ((prompt, opposite),))
    for name, prompt, opposite in (
        ("smiling", "a smiling person", "a person with a serious expression"),
        ("glasses", "a person wearing glasses", "a person with nothing on the face"),
        ("hat", "a person wearing a hat", "a person with nothing on the head"),
        ("beard", "a bearded person", "a clean-shaven person"),
        ("long hair", "a person with long hair", "a person with short hair"),
        (
            "text or watermark",
            "a person with a watermark and text across the picture",
            "a person in a picture with nothing written on it",
        ),
        (
            "studio backdrop",
            "a person in front of a plain studio backdrop",
            "a person in an everyday place outdoors",
        ),
        ("grey picture", "a person in black and white", "a person in full colour"),
        (
            "low resolution",
            "a person in a blurry picture of low resolution",
            "a person in a sharp picture of high resolution",
        ),
    )
)

# Nothing that is worn, written, or part of a face, and nothing that says how a picture was taken.
_WORDS = """
accordion airport anchor ant anvil apricot aquarium artichoke avocado axe bakery balcony banjo
barn barrel basket bathtub beehive bell bench bicycle boat bonfire bottle bowl bridge broom
bucket bus cabbage cactus cake canal candle cannon canoe carrot castle cave cello chair cherry
chimney church clarinet clock coconut compass cow crab crane crow cucumber cupboard desert
dolphin donkey door drill drum duck elephant elevator engine factory farm ferry field fireplace
flute forest fork fountain frog garage garden gate goat goose guitar hammer harbour hedge
helicopter hill horse iceberg island kettle kitchen kite ladder lake lemon library lobster mango
market meadow melon mill mountain mushroom nail octopus office onion orchard oven owl paddle
palace pan peach peanut pear penguin piano pigeon pillow pineapple plough pond potato pumpkin
quarry rabbit radio railway raspberry river robot roof rope sandwich saw school screwdriver
shark sheep ship shovel snail sofa spoon stadium stairway stove suitcase swamp swan table tank
tent theatre tomato tower tractor train tree trumpet tunnel turtle umbrella valley vase village
violin volcano wagon walnut waterfall well whale wheel windmill zebra
"""
UNRELATED = tuple(
    f"a person with {'an' if word[0] in 'aeiou' else 'a'} {word}" for word in _WORDS.split()
)


def read_causes(path: Path) -> tuple[Cause, ...]:
    """Read causes of the user's own: a line `name: prompt | opposite` for each prompt.

    The prompts of several lines with one name are averaged. `#` begins a remark, and "a photo of"
    can be left out.

    Raises:
        InputError: it cannot be read, a line has another form, or there is none or too many.
    """
    made: dict[str, tuple[tuple[str, str], ...]] = {}
    example = "blue eyes: a person with blue eyes | a person with brown eyes"
    for number, name, text in prompt_lines(path, form=FORM, example=example):
        parts = [part.strip().removeprefix("a photo of ").rstrip(". ") for part in text.split("|")]
        if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:
            raise InputError(
                f"{path}, line {number}: {name!r} needs one prompt and another one for its "
                f"opposite, '{FORM}', for example '{example}'"
            )
        made[name] = (*made.get(name, ()), (parts[0], parts[1]))
    if not 0 < len(made) <= MOST:
        raise InputError(f"{path} names {len(made)} causes; 1 to {MOST} can be tested at once")
    return tuple(Cause(name, prompts, own=True) for name, prompts in made.items())


def with_own(own: tuple[Cause, ...]) -> tuple[Cause, ...]:
    """Return all causes to be tested; one of the user's own replaces that of the same name."""
    named = {one.name for one in own}
    return (*(one for one in CAUSES if one.name not in named), *own)
