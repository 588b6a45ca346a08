"""What a table of names is made of."""

from __future__ import annotations

from dataclasses import dataclass

# What the roadmap still brings. Nothing else may be called "not yet".
AREAS: dict[str, str] = {}


@dataclass(frozen=True)
class Row:
    """Names of theirs that share one answer: a name of ours, or why there is none."""

    names: tuple[str, ...]
    ours: str = ""
    """A public name, perhaps with arguments: ``px.Dropout(p, axis=(0, -1))``; empty where there is none."""
    area: str = ""
    """The area of the roadmap that brings it, one of ``AREAS``."""
    note: str = ""
    """What differs; or why it is absent, as the end of a sentence "absent, because"."""

    @property
    def status(self) -> str:
        """present, not yet, or absent."""
        return "present" if self.ours else "not yet" if self.area else "absent"

    @property
    def path(self) -> str:
        """Our name without its arguments."""
        return self.ours.partition("(")[0]


@dataclass(frozen=True)
class Section:
    """Rows that belong together, and the differences that bite."""

    title: str
    rows: tuple[Row, ...]
    bites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A library, or a part of one, that is compared."""

    title: str
    intro: str
    sections: tuple[Section, ...]

    @property
    def rows(self) -> list[Row]:
        """All rows of all sections."""
        return [row for section in self.sections for row in section.rows]


def have(names: str, ours: str, note: str = "") -> Row:
    """Names that ours stands for."""
    return Row(tuple(names.split()), ours=ours, note=note)


def later(names: str, area: str, note: str = "") -> Row:
    """Names that the roadmap covers."""
    return Row(tuple(names.split()), area=area, note=note)


def absent(names: str, because: str) -> Row:
    """Names that will not come, and why."""
    return Row(tuple(names.split()), note=because)
