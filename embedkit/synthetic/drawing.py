"""Drawn faces: a person has a look, a photograph a pose, an expression, light and surroundings."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from embedkit.vectors import Pixels

Colour = tuple[int, int, int]
OVERSAMPLING = 2
HAIR_COLOURS: tuple[Colour, ...] = (
    (28, 22, 20),
    (62, 40, 26),
    (105, 68, 38),
    (170, 125, 70),
    (205, 175, 120),
    (140, 60, 35),
    (150, 150, 150),
)
SKINS: tuple[Colour, ...] = (
    (250, 219, 196),
    (238, 196, 164),
    (222, 172, 134),
    (190, 136, 98),
    (148, 100, 68),
    (104, 68, 46),
)
EYE_COLOURS: tuple[Colour, ...] = ((70, 45, 30), (60, 90, 130), (70, 105, 70), (100, 85, 60))


@dataclass(frozen=True, slots=True)
class Person:
    """What stays the same from one photograph of somebody to the next; lengths in face widths."""

    skin: Colour
    hair: Colour
    hair_style: int
    eyes: Colour
    width: float
    jaw: float
    eye_distance: float
    eye_size: float
    brow: float
    nose: float
    mouth: float
    beard: bool
    glasses: bool
    smiles: float


@dataclass(frozen=True, slots=True)
class Photograph:
    """What changes from one photograph to the next.

    Attributes:
        smile: -1 (a frown) to 1 (a broad smile).
        mouth_open: 0 to 1.
        eye_open: 0.3 to 1.
        yaw: -1 (to the left) to 1.
        roll: degrees.
        scale: of the head in the picture.
        shift: of the head, in picture widths.
        light: direction in radians; `contrast` is its strength.
        exposure: factor on the brightness.
        background: two colours, above and below.
        clothes: colour.
        blur: radius in pixels; `noise` is the standard deviation in grey levels.
    """

    smile: float
    mouth_open: float
    eye_open: float
    yaw: float
    roll: float
    scale: float
    shift: tuple[float, float]
    light: float
    contrast: float
    exposure: float
    background: tuple[Colour, Colour]
    clothes: Colour
    blur: float
    noise: float
    seed: int


def draw_person(generator: np.random.Generator, *, smiles: float) -> Person:
    """Draw somebody's look at random; `smiles` is the mean of their smile."""
    pick = generator.integers

    def around(middle: float, spread: float) -> float:
        return float(
            np.clip(generator.normal(middle, spread), middle - 2.5 * spread, middle + 2.5 * spread)
        )

    skin = _jitter(SKINS[pick(len(SKINS))], generator, 8)
    return Person(
        skin=skin,
        hair=_jitter(HAIR_COLOURS[pick(len(HAIR_COLOURS))], generator, 12),
        hair_style=int(pick(5)),
        eyes=EYE_COLOURS[pick(len(EYE_COLOURS))],
        width=around(0.74, 0.04),
        jaw=around(0.8, 0.07),
        eye_distance=around(0.42, 0.03),
        eye_size=around(0.13, 0.014),
        brow=around(0.035, 0.01),
        nose=around(0.24, 0.03),
        mouth=around(0.36, 0.04),
        beard=bool(generator.random() < 0.2),
        glasses=bool(generator.random() < 0.25),
        smiles=smiles,
    )


def draw_photograph(generator: np.random.Generator, person: Person) -> Photograph:
    """Draw the circumstances of one photograph of a person at random."""
    tone = generator.integers(40, 220, 3)
    low = np.clip(tone + generator.integers(-60, 60, 3), 0, 255)
    return Photograph(
        smile=float(np.clip(generator.normal(person.smiles, 0.45), -1, 1)),
        mouth_open=float(np.clip(generator.normal(0.15, 0.2), 0, 0.8)),
        eye_open=float(np.clip(generator.normal(0.8, 0.15), 0.3, 1)),
        yaw=float(np.clip(generator.normal(0, 0.35), -0.9, 0.9)),
        roll=float(generator.normal(0, 6)),
        scale=float(np.clip(generator.normal(0.8, 0.05), 0.66, 0.92)),
        shift=(float(generator.normal(0, 0.03)), float(generator.normal(0, 0.03))),
        light=float(generator.uniform(0, 2 * np.pi)),
        contrast=float(generator.uniform(0.05, 0.4)),
        exposure=float(np.clip(generator.normal(1, 0.15), 0.6, 1.35)),
        background=(_colour(tone), _colour(low)),
        clothes=_colour(generator.integers(20, 235, 3)),
        blur=float(abs(generator.normal(0, 0.5))),
        noise=float(generator.uniform(2, 9)),
        seed=int(generator.integers(2**32)),
    )


def draw_face(person: Person, photo: Photograph, size: int) -> Pixels:
    """Draw one photograph: (size, size, 3) uint8. The same arguments give the same pixels."""
    side = size * OVERSAMPLING
    image = _background(photo, side)
    head = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    _Head(person, photo, side).draw(ImageDraw.Draw(head))
    centre = (side * (0.5 + photo.shift[0]), side * (0.52 + photo.shift[1]))
    head = head.rotate(photo.roll, Image.Resampling.BILINEAR, center=centre)
    image.paste(head, (0, 0), head)
    small = image.resize((size, size), Image.Resampling.BOX)
    if photo.blur > 0.2:
        small = small.filter(ImageFilter.GaussianBlur(photo.blur))
    return _light(np.asarray(small, np.float32), photo)


class _Head:
    """The parts of a head, in units of the face; x to the right, y down, 0 in the middle."""

    def __init__(self, person: Person, photo: Photograph, side: int) -> None:
        self.person = person
        self.photo = photo
        self.unit = side * photo.scale / 2
        self.x0 = side * (0.5 + photo.shift[0])
        self.y0 = side * (0.52 + photo.shift[1])
        self.turn = 0.22 * photo.yaw

    def draw(self, pen: ImageDraw.ImageDraw) -> None:
        """Draw everything, from back to front."""
        self.pen = pen
        self._hair_behind()
        self._body()
        self._ears()
        self._face()
        self._beard()
        self._eyes()
        self._nose()
        self._mouth()
        self._hair_in_front()
        self._glasses()

    def _at(self, x: float, y: float, turn: float = 1.0) -> tuple[float, float]:
        # What lies further in front moves more when the head turns.
        return self.x0 + (x + turn * self.turn) * self.unit, self.y0 + y * self.unit

    def _oval(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, turn: float = 1.0
    ) -> None:
        cx, cy = self._at(x, y, turn)
        rx, ry = max(rx, 0) * self.unit, max(ry, 0) * self.unit
        self.pen.ellipse([cx - rx, cy - ry, cx + rx, cy + ry], fill=fill)

    def _shape(self, points: list[tuple[float, float]], fill: Colour, turn: float = 1.0) -> None:
        self.pen.polygon([self._at(x, y, turn) for x, y in points], fill=fill)

    def _stroke(
        self, points: list[tuple[float, float]], fill: Colour, width: float, turn: float = 1.0
    ) -> None:
        line = [self._at(x, y, turn) for x, y in points]
        self.pen.line(line, fill=fill, width=max(1, round(width * self.unit)), joint="curve")

    def _face(self) -> None:
        p = self.person
        angles = np.linspace(0, 2 * np.pi, 60)
        points = []
        for angle in angles:
            x, y = p.width * np.cos(angle), np.sin(angle)
            if y > 0:  # the jaw is narrower than the temples
                x *= 1 - (1 - p.jaw) * y**2
            points.append((float(x), float(y * 0.95)))
        self._shape(points, p.skin, turn=0.3)

    def _body(self) -> None:
        p = self.person
        self._shape([(-1.3, 2.0), (-1.0, 1.25), (1.0, 1.25), (1.3, 2.0)], self.photo.clothes, 0)
        self._shape(
            [(-0.3, 0.6), (0.3, 0.6), (0.34, 1.35), (-0.34, 1.35)], _darker(p.skin, 0.82), 0
        )

    def _ears(self) -> None:
        for sign in (-1, 1):
            self._oval(
                sign * self.person.width, 0.05, 0.1, 0.18, _darker(self.person.skin, 0.92), 0.1
            )

    def _hair_behind(self) -> None:
        p = self.person
        if p.hair_style in (2, 3):
            length = 1.25 if p.hair_style == 2 else 0.7
            self._oval(0, -0.1, p.width + 0.2, 0.98, p.hair, 0.1)
            self._shape(
                [
                    (-p.width - 0.18, -0.1),
                    (p.width + 0.18, -0.1),
                    (p.width + 0.1, length),
                    (-p.width - 0.1, length),
                ],
                p.hair,
                0.1,
            )

    def _hair_in_front(self) -> None:
        p = self.person
        if p.hair_style == 4:  # none
            return
        line = {0: -0.62, 1: -0.48, 2: -0.6, 3: -0.42}[p.hair_style]
        top = [
            (float((p.width + 0.06) * np.cos(angle)), float(1.04 * np.sin(angle)))
            for angle in np.linspace(np.pi, 2 * np.pi, 30)
        ]
        fringe = [
            (p.width * 0.9, line + 0.2),
            (0.25, line),
            (-0.2, line + 0.06),
            (-p.width * 0.9, line + 0.2),
        ]
        self._shape(top + fringe, p.hair, 0.3)

    def _eyes(self) -> None:
        p, photo = self.person, self.photo
        for sign in (-1, 1):
            x, y = sign * p.eye_distance * 0.8, -0.12
            open_ = p.eye_size * 0.62 * photo.eye_open * (1 - 0.25 * max(photo.smile, 0))
            self._oval(x, y, p.eye_size, open_, (246, 244, 240))
            iris = min(p.eye_size * 0.55, open_ * 1.15)
            look = x + 0.03 * photo.yaw
            self._oval(look, y, iris, iris, p.eyes)
            self._oval(look, y, iris * 0.5, iris * 0.5, (12, 10, 10))
            self._oval(look - iris * 0.3, y - iris * 0.3, iris * 0.18, iris * 0.18, (250, 250, 250))
            lid = [(x + t * p.eye_size, y - open_ * (1 - t * t)) for t in np.linspace(-1, 1, 9)]
            self._stroke(lid, _darker(p.skin, 0.45), 0.022)
            inner = -0.05 * photo.smile  # brows come together and down in a frown
            brow = [
                (x - sign * 0.13, y - 0.2 - inner),
                (x + sign * 0.02, y - 0.26),
                (x + sign * 0.16, y - 0.21),
            ]
            self._stroke(brow, _darker(p.hair, 0.9), p.brow * 1.6)

    def _nose(self) -> None:
        p, photo = self.person, self.photo
        shade = _darker(p.skin, 0.78)
        tip = p.nose + 0.02
        lean = 0.05 * (1 if photo.yaw >= 0 else -1)
        self._stroke(
            [(lean * 0.5, -0.1), (lean * 1.6, tip - 0.05), (-lean, tip)], shade, 0.028, 1.25
        )
        for sign in (-1, 1):
            self._oval(sign * 0.055, tip, 0.024, 0.017, _darker(p.skin, 0.5), 1.25)

    def _mouth(self) -> None:
        p, photo = self.person, self.photo
        wide = p.mouth * (0.8 + 0.25 * max(photo.smile, 0)) * 0.8
        y, bend = 0.5, 0.16 * photo.smile
        t = np.linspace(-1, 1, 15)
        upper = [(wide * a, y - bend * (a * a - 0.4) - 0.045 * (1 - a * a)) for a in t]
        gap = 0.02 + 0.16 * photo.mouth_open
        lower = [(wide * a, y - bend * (a * a - 0.4) + gap * (1 - a * a)) for a in t]
        lips = (min(255, p.skin[0] * 8 // 10 + 20), p.skin[1] * 55 // 100, p.skin[2] * 58 // 100)
        self._shape(upper + lower[::-1], (70, 26, 30))
        if photo.mouth_open > 0.25 or photo.smile > 0.55:
            teeth = [(0.8 * x, y_ + 0.01) for x, y_ in upper[2:-2]]
            under = [(0.8 * x, y_ + 0.01 + 0.45 * gap) for x, y_ in upper[2:-2]]
            self._shape(teeth + under[::-1], (240, 236, 226))
        self._stroke(upper, lips, 0.04)
        self._stroke(lower, lips, 0.05)

    def _beard(self) -> None:
        if self.person.beard:
            w, colour = self.person.width, _darker(self.person.hair, 0.95)
            outer = [
                (w * 0.93 * np.cos(a), 0.2 + 0.78 * np.sin(a)) for a in np.linspace(0, np.pi, 24)
            ]
            inner = [
                (w * 0.55 * np.cos(a), 0.3 + 0.36 * np.sin(a)) for a in np.linspace(np.pi, 0, 24)
            ]
            self._shape([(float(x), float(y)) for x, y in outer + inner], colour, 0.5)

    def _glasses(self) -> None:
        if not self.person.glasses:
            return
        for sign in (-1, 1):
            cx, cy = self._at(sign * self.person.eye_distance * 0.8, -0.1)
            r = 0.21 * self.unit
            width = max(1, round(0.03 * self.unit))
            self.pen.ellipse(
                [cx - r, cy - 0.8 * r, cx + r, cy + 0.8 * r], outline=(30, 30, 34), width=width
            )
        self._stroke([(-0.1, -0.12), (0.1, -0.12)], (30, 30, 34), 0.03)


def _background(photo: Photograph, side: int) -> Image.Image:
    """Return a gradient with a few soft shapes, as rooms and streets out of focus have."""
    generator = np.random.default_rng(photo.seed)
    ramp = np.linspace(0, 1, side)[:, None, None]
    top, bottom = (np.array(colour, np.float32) for colour in photo.background)
    plane = np.broadcast_to(top * (1 - ramp) + bottom * ramp, (side, side, 3))
    image = Image.fromarray(plane.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(generator.integers(2, 7))):
        x, y = generator.uniform(0, side, 2)
        rx, ry = generator.uniform(0.05, 0.35, 2) * side
        pen.ellipse([x - rx, y - ry, x + rx, y + ry], fill=_colour(generator.integers(0, 256, 3)))
    return image.filter(ImageFilter.BoxBlur(side / 40))


def _light(pixels: "np.typing.NDArray[np.float32]", photo: Photograph) -> Pixels:
    """Light the picture from one side and add the camera's noise."""
    size = len(pixels)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    slope = x * np.cos(photo.light) + y * np.sin(photo.light)
    lit = pixels * (photo.exposure * (1 + photo.contrast * slope))[:, :, None]
    noise = np.random.default_rng(photo.seed).normal(0, photo.noise, lit.shape)
    return np.asarray(np.clip(lit + noise, 0, 255), dtype=np.uint8)


def _darker(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(channel * factor) for channel in colour)
    return red, green, blue


def _jitter(colour: Colour, generator: np.random.Generator, spread: int) -> Colour:
    return _colour(np.clip(np.array(colour) + generator.integers(-spread, spread + 1, 3), 0, 255))


def _colour(values: "np.typing.NDArray[np.int64]") -> Colour:
    red, green, blue = (int(value) for value in values)
    return red, green, blue
