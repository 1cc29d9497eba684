"""Formats: which are read, and how a file's first bytes announce one."""

# Pillow's names. MPO is opened by its JPEG reader; formats that start other programs (EPS) or
# hold no pixels of their own are left out.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".avif",
        ".jp2",
        ".j2k",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    ]
)


def sniff(head: bytes) -> str | None:
    """Name the format that a file's first 64 bytes announce, or None if it is none of `FORMATS`."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1", b"msf1", b"miaf"):
        return "AVIF"
    if head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG2000"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return None


def described(data: bytes) -> str:
    """Guess in a word or two what a file that is no picture holds."""
    try:
        text = data[:512].decode("utf-8").lstrip().lower()
    except UnicodeDecodeError:
        return "unknown content"
    if text.startswith(("<!doctype html", "<html")):
        return "a web page"
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer"
    return "text" if text.isprintable() or "\n" in text else "unknown content"
