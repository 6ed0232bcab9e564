"""What a segment is, in the codes of terminologies (category, type, side, region): kept from a SEG that was read.

Knows no label and no voxel. A code is carried as it stands; its meaning is text of the file it came from, so that a
file without identities takes codes of published terminologies alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pydicom
from pydicom.sr.coding import Code

TERMS = "segment_terms"  # in `Volume.source`: what the segments of a SEG are, by label value
TISSUE = Code("85756007", "SCT", "Tissue")  # the least that can be said of a segment
PUBLISHED = {"SCT", "SRT", "SNM3", "DCM", "FMA", "RADLEX", "UMLS", "NCIt", "UBERON", "MSH", "LN"}
CATEGORY, TYPE = "SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"
MODIFIER, REGION = "SegmentedPropertyTypeModifierCodeSequence", "AnatomicRegionSequence"
MOST = 8  # codes of a kind
_VALUE, _SCHEME, _LONGEST_MEANING = re.compile(r"[\w.\-]{1,16}"), re.compile(r"[\w\-]{1,16}"), 64


@dataclass(frozen=True)
class Terms:
    """Codes of one segment. `modifiers`: of its type, such as "Left"; `regions`: where in the body it lies."""

    category: Code
    type: Code
    modifiers: tuple[Code, ...] = ()
    regions: tuple[Code, ...] = ()

    def published(self) -> Terms:
        """Without codes that somebody made up; the least that can be said in the place of what a segment must say."""
        category, kind = self.category, self.type
        if not {category.scheme_designator, kind.scheme_designator} <= PUBLISHED:
            return Terms(TISSUE, TISSUE)
        return Terms(category, kind, _published(self.modifiers), _published(self.regions))

    def describe(self, item: pydicom.Dataset) -> None:
        """Puts the codes beside category and type, which the item has, into an item of the segment sequence."""
        if self.modifiers:
            setattr(item[TYPE].value[0], MODIFIER, [_item(code) for code in self.modifiers])
        if self.regions:
            setattr(item, REGION, [_item(code) for code in self.regions])


def terms_of(item: pydicom.Dataset) -> Terms | None:
    """What an item of the segment sequence says; None where that is no more than the least, or cannot be carried."""
    category, kind = _codes(item, CATEGORY), _codes(item, TYPE)
    if not category or not kind:
        return None
    found = Terms(category[0], kind[0], _codes(item[TYPE].value[0], MODIFIER), _codes(item, REGION))
    return None if found == Terms(TISSUE, TISSUE) else found


def _codes(item: pydicom.Dataset, name: str) -> tuple[Code, ...]:
    found = []
    for given in list(item.get(name) or [])[:MOST]:
        value, scheme = str(given.get("CodeValue") or ""), str(given.get("CodingSchemeDesignator") or "")
        meaning = "".join(c for c in str(given.get("CodeMeaning") or "") if c.isprintable())[:_LONGEST_MEANING].strip()
        if _VALUE.fullmatch(value) and _SCHEME.fullmatch(scheme) and meaning:
            found.append(Code(value, scheme, meaning))
    return tuple(found)


def _published(codes: Iterable[Code]) -> tuple[Code, ...]:
    return tuple(code for code in codes if code.scheme_designator in PUBLISHED)


def _item(code: Code) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
