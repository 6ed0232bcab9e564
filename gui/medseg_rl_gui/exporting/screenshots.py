"""Pictures of a view or the window as PNG, with the legend of the labels below. Letters are those the views paint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QBuffer, QIODevice, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QGuiApplication, QImage, QPainter, QPixmap
from PySide6.QtWidgets import QLabel, QWidget

from medseg_rl.errors import MedSegError
from medseg_rl.imageio import atomic_path
from medseg_rl.labels import Label
from medseg_rl.session.session_file import NOTICE
from medseg_rl_gui.case_panel import IDENTIFIERS
from medseg_rl_gui.dialogs import Choice, Dialogs, FileQuestion, Question
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.opening.images import cancel_choice

GROUND, TEXT = QColor("#15171a"), QColor("#e6e8eb")
MARGIN, GAP = 10.0, 18.0  # device-independent pixels


def with_legend(picture: QPixmap, labels: Sequence[Label], caption: str = "") -> QImage:
    """The picture with a strip below: colour, name and value of each label, the caption, and the notice."""
    ratio = picture.devicePixelRatio()
    width = picture.width() / ratio
    font = QFont(QGuiApplication.font())
    metrics = QFontMetricsF(font)
    rows = _rows(labels, metrics, width - 2 * MARGIN)
    line = metrics.height() * 1.35
    strip = 2 * MARGIN + line * (len(rows) + 1)
    image = QImage(picture.width(), round(picture.height() + strip * ratio), QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(ratio)
    image.fill(GROUND)
    painter = QPainter(image)
    painter.drawPixmap(0, 0, picture)
    painter.setFont(font)
    top = picture.height() / ratio + MARGIN
    for row in rows:
        _paint_row(painter, row, top, line, metrics)
        top += line
    painter.setPen(TEXT)
    place = QRectF(MARGIN, top, width - 2 * MARGIN, line)
    painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, caption)
    painter.drawText(place, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, tr(NOTICE))
    painter.end()
    return image


def _rows(labels: Sequence[Label], metrics: QFontMetricsF, width: float) -> list[list[tuple[Label, float]]]:
    """Labels in rows with the place of each."""
    rows: list[list[tuple[Label, float]]] = []
    left = width
    for label in labels:
        needed = metrics.height() + 6 + metrics.horizontalAdvance(_legend(label)) + GAP
        if not rows or left + needed - GAP > width:
            rows.append([])
            left = 0.0
        rows[-1].append((label, left))
        left += needed
    return rows


def _paint_row(
    painter: QPainter, row: list[tuple[Label, float]], top: float, line: float, metrics: QFontMetricsF
) -> None:
    side = metrics.height() * 0.8
    for label, left in row:
        painter.fillRect(QRectF(MARGIN + left, top + (line - side) / 2, side, side), QColor(*label.colour))
        painter.setPen(TEXT)
        width = metrics.horizontalAdvance(_legend(label)) + 4
        place = QRectF(MARGIN + left + side + 6, top, width, line)
        painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, _legend(label))


def _legend(label: Label) -> str:
    return f"{label.name} ({label.value})"


class ScreenshotFlow:
    """Asks where a picture goes and writes it."""

    def __init__(self, dialogs: Dialogs) -> None:
        self._dialogs = dialogs
        self._is_warned = False

    def save(self, widget: QWidget, labels: Sequence[Label], *, name: str, folder: str = "") -> Path | None:
        """A picture of a widget as it looks now. Returns the file; None when nothing was written."""
        picture = grabbed(widget)
        if not self._is_warned and not self._warned():
            return None
        filters = ((tr("Pictures"), ("*.png",)),)
        question = FileQuestion(
            tr("Save picture"), "save", filters, start=str(Path(folder) / f"{name}.png"), suffix=".png"
        )
        path = next(iter(self._dialogs.choose_files(question)), None)
        if path is None:
            return None
        try:
            write_png(path, with_legend(picture, labels, name))
        except MedSegError as error:
            self._dialogs.tell(tr("Not saved"), str(error), tone="error")
            return None
        return path

    def _warned(self) -> bool:
        """Says once what a picture may give away."""
        text = tr(
            "Names and dates that this program knows are not in the picture. Text that was burned into the image itself"
            " is: look at the picture before you pass it on."
        )
        question = Question(tr("Save picture"), text, (Choice("go_on", tr("Go on")), cancel_choice()), default="go_on")
        self._is_warned = self._dialogs.ask(question).choice == "go_on"
        return self._is_warned


def grabbed(widget: QWidget) -> QPixmap:
    """How a widget looks, without name, ID and dates of the patient where the user has these shown."""
    shown = [label for label in widget.findChildren(QLabel, IDENTIFIERS) if label.text()]
    texts = [label.text() for label in shown]
    for label in shown:
        label.setText(" \n" * (label.text().count("\n") + 1))
    try:
        return widget.grab()
    finally:
        for label, text in zip(shown, texts, strict=True):
            label.setText(text)


def write_png(path: Path, image: QImage) -> None:
    """Writes a picture whole or not at all. Raises OutputError."""
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]  # PySide's annotation asks for bytes
    with atomic_path(path) as temporary:
        temporary.write_bytes(bytes(buffer.data().data()))
