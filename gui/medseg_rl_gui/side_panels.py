"""The two sides of the window: titled sections on the left, tabs on the right. Knows nothing of what stands in them."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDockWidget, QFrame, QLabel, QScrollArea, QSplitter, QTabWidget, QVBoxLayout, QWidget

from medseg_rl_gui.i18n import tr
from medseg_rl_gui.letters import FONTS, fit_letters

NARROWEST = 330  # of the right side
WIDEST = 390  # that the right side may ask for: the views come first
REST = 1400  # pixels of a wide window that the others keep; what is left over it may ask for too


class SideDock(QDockWidget):
    """A side that can be hidden but not torn off; it has no title bar of its own."""

    def __init__(self, name: str, title: str) -> None:
        super().__init__(title)
        self.setObjectName(name)
        self.setFeatures(QDockWidget.DockWidgetFeature.DockWidgetClosable)
        self.setTitleBarWidget(QWidget())
        self.hide()  # until there is a case


class LeftSide(SideDock):
    """Sections one below the other, with movable lines between: case, labels, clicks."""

    def __init__(self) -> None:
        super().__init__("side.left", tr("Case, labels and clicks"))
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setChildrenCollapsible(False)
        self.setWidget(self.splitter)
        self._fit_letters()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() in FONTS and hasattr(self, "splitter"):  # fonts are set while it is made, too
            self._fit_letters()

    def _fit_letters(self) -> None:
        """Room for the name of a label beside its columns, in large letters too."""
        self.setMinimumWidth(max(230, 27 * self.fontMetrics().averageCharWidth()))

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands in it."""
        return self.splitter.count() == 0

    def add(self, title: str, panel: QWidget, stretch: int = 1) -> None:
        """Puts a section below the others."""
        section = QFrame()
        column = QVBoxLayout(section)
        column.setContentsMargins(6, 4, 2, 4)
        column.setSpacing(4)
        heading = QLabel(title)
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        column.addWidget(heading)
        column.addWidget(panel, 1)
        self.splitter.addWidget(section)
        self.splitter.setStretchFactor(self.splitter.count() - 1, stretch)


class Page(QScrollArea):
    """A tab that asks for no more width than its side has at least: the views come first."""

    def __init__(self, name: str, panel: QWidget) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(panel)

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(NARROWEST, super().sizeHint().height())

    @property
    def needed_width(self) -> int:
        """With which nothing of it is cut."""
        panel = self.widget()
        needed = 0 if panel is None else panel.minimumSizeHint().width()
        return needed + self.verticalScrollBar().sizeHint().width()


class RightSide(SideDock):
    """Tabs, each of which scrolls where it does not fit: Refine, Edit, Learn, Quantities, History."""

    def __init__(self) -> None:
        super().__init__("side.right", tr("Refine, edit and results"))
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setUsesScrollButtons(True)
        self.setWidget(self.tabs)
        self.setMinimumWidth(NARROWEST)

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands in it."""
        return self.tabs.count() == 0

    def add(self, name: str, title: str, panel: QWidget) -> None:
        """Puts a tab behind the others."""
        self.tabs.addTab(Page(name, panel), title)
        self._fit_titles()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() in FONTS and hasattr(self, "tabs"):  # fonts are set while it is made, too
            QTimer.singleShot(0, self, self._fit_titles)  # once the tabs have taken their letters

    def _fit_titles(self) -> None:
        """All titles of the tabs are seen, in smaller letters where the views would lose their names."""
        bar = self.tabs.tabBar()
        fit_letters(self.font(), [bar], lambda: bar.sizeHint().width() + 2 <= WIDEST)
        titles = bar.sizeHint().width() + 2 if self.tabs.count() else 0
        pages = [self.tabs.widget(number) for number in range(self.tabs.count())]
        widest = max((page.needed_width for page in pages if isinstance(page, Page)), default=0)
        room = max(WIDEST, self.window().width() - REST)
        self.setMinimumWidth(min(max(NARROWEST, titles, widest), room))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        super().showEvent(event)
        self._fit_titles()

    def open(self, name: str) -> None:
        """Brings a tab to the front."""
        for number in range(self.tabs.count()):
            tab = self.tabs.widget(number)
            if tab is not None and tab.objectName() == name:
                self.tabs.setCurrentIndex(number)
