"""Every visible string passes through here or through `QObject.tr`; so does every visible number. Holds no strings.

Files, the journal and CSV always have a decimal point and English keys: they do not come here.
"""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, QLocale

CONTEXT = "medseg_rl_gui"


def mark(text: str) -> str:
    """Says that a string in a table is visible; whoever shows it calls `tr` on it."""
    return text


def tr(text: str) -> str:
    """A visible string in the user's language. Outside of widgets, which have their own `tr`."""
    return QCoreApplication.translate(CONTEXT, text)


def number(value: float, decimals: int = 0) -> str:
    """A number as the user writes it, with so many decimals."""
    return QLocale().toString(float(value), "f", decimals)


def whole(value: int) -> str:
    """A count as the user writes it, with its thousands apart."""
    return QLocale().toString(int(value))
