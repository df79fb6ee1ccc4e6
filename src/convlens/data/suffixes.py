"""Which files count as pictures by their names: one list for training and for prediction."""

import importlib.util
import posixpath

READABLE = frozenset(
    """
    .jpg .jpeg .jpe .jfif .jif .mpo .png .apng .bmp .dib .gif .webp .tif .tiff .avif .avifs .jp2 .j2k .jpx .jpf .j2c
    .jpc .tga .icb .vda .vst .ppm .pgm .pbm .pnm .pfm .qoi .pcx
    """.split()  # noqa: SIM905
)
"""Suffixes (lower case) of the formats that are read. What a file really is, is read from its content."""

_HEIF = (".heic", ".heif", ".hif")
_RAW = ".cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .dng .orf .raf .rw2 .pef .raw .3fr .kdc .erf .x3f".split()  # noqa: SIM905
_DRAWINGS = (".svg", ".svgz", ".eps", ".ps", ".ai", ".pdf", ".wmf", ".emf")
_OTHERS = ".psd .xcf .ico .icns .cur .dds .exr .hdr .jxl .jxr .djvu .dcm .fits .fit .sgi .ras .xbm .xpm .img".split()  # noqa: SIM905

UNREADABLE: dict[str, str] = {
    **dict.fromkeys(_HEIF, "HEIC and HEIF need pillow-heif: pip install 'convlens[heif]'"),
    **dict.fromkeys(_RAW, "raw files of cameras are not read; save them as JPEG or PNG"),
    **dict.fromkeys(_DRAWINGS, "documents and drawings are not read; save them as PNG"),
    **dict.fromkeys(_OTHERS, "this format is not read; save it as PNG or JPEG"),
}
"""Suffixes of pictures that are not read, and why. They are counted and named, never passed over."""

PICTURES = READABLE | UNREADABLE.keys()

TABLES = (".csv", ".tsv")


def suffix(path: str) -> str:
    """The end of the name from its last dot, in lower case."""
    return posixpath.splitext(path)[1].lower()


def has_heif() -> bool:
    """Whether HEIC and HEIF can be read: the extra `heif`."""
    return importlib.util.find_spec("pillow_heif") is not None


def why_unreadable(path: str) -> str | None:
    """Why a picture of this name is not read; None if it is."""
    end = suffix(path)
    return None if end in _HEIF and has_heif() else UNREADABLE.get(end)
