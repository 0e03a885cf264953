"""Which fonts of this machine can write a text."""

from __future__ import annotations

from functools import cache

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

#: matplotlib's own, which is always there. Its other one has a box for every character.
USUAL, BOXES = "DejaVu Sans", "Last Resort"


def families_for(text: str) -> list[str]:
    """Names of font families, the usual one first, that together have the characters of a text.

    Characters that no font here has are left out of account; see `lacking`.
    """
    families, missing = [USUAL], set(text) - _characters(_path(USUAL))
    if missing:
        upright = {(f.name, f.fname) for f in fontManager.ttflist if f.style == "normal"}
        for name, path in sorted(font for font in upright if not font[0].startswith(BOXES)):
            if found := missing & _characters(path):
                families.append(name)
                missing -= found
            if not missing:
                break
    return list(dict.fromkeys(families))


def lacking(text: str) -> set[str]:
    """The characters of a text that no font here has."""
    known = frozenset[str]().union(*(_characters(_path(f)) for f in families_for(text)))
    return {c for c in text if not c.isprintable() or c not in known}


def _path(family: str) -> str:
    return str(findfont(FontProperties(family=[family])))


@cache
def _characters(path: str) -> frozenset[str]:
    """What a font has; nothing if it cannot be read."""
    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
