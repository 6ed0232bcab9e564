"""Candidates as linked tiles in the Learn tab, and the order that is being given to them. Records nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from medseg_rl.session import Candidates
from medseg_rl_gui.i18n import tr, whole
from medseg_rl_gui.learning.rank_order import RankOrder
from medseg_rl_gui.panels.parts import ActionButton, ButtonGrid, NumberBox, Section, words
from medseg_rl_gui.panels.tiles import Caption, Tiles
from medseg_rl_gui.slice_geometry import Plane

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller


class RankingSection(Section):
    """Candidates as linked tiles, and the order that is being given."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Rank candidates"))
        self._controller, self._desk, self._ranking = controller, controller.desk, controller.learning.ranking
        acts = controller.window.acts
        self.make = ActionButton(acts, "model.candidates")
        wanted = controller.window.store.current.model.candidates
        self.count = NumberBox(tr("How many candidates"), 4, 9, wanted)
        self.tiles = Tiles()
        self.said, self.hint = words(), words(faint=True)
        self.keys = [ActionButton(acts, f"rank.{id_}") for id_ in ("submit", "cancel", "tie", "none", "back")]
        self._lay_out()
        self._connect()
        self._close()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.make)
        row.addWidget(self.count)
        row.addStretch(1)
        self.column.addLayout(row)
        for widget in (self.said, self.tiles, self.hint):
            self.column.addWidget(widget)
        self.buttons = QWidget()
        column = QVBoxLayout(self.buttons)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(ButtonGrid(self.keys[:-1]))
        column.addWidget(self.keys[-1])
        self.column.addWidget(self.buttons)

    def _connect(self) -> None:
        ranking, desk = self._ranking, self._desk
        ranking.opened.connect(self._open)
        ranking.order_changed.connect(self._show_order)
        ranking.closed.connect(self._close)
        desk.view_changed.connect(lambda view: self.tiles.show_view(view, self._plane))
        self._controller.asking.candidates_found.connect(
            lambda n: self.said.setText(tr("Distinct candidates so far: {n}").format(n=whole(n)))
        )
        self.tiles.chosen.connect(ranking.rank)
        self.tiles.peeked.connect(ranking.peek)
        self.tiles.scrolled.connect(self._controller.pointing.reader.scrolled)
        window = self._controller.window
        self.count.valueChanged.connect(lambda n: window.store.change("model", candidates=round(n)))
        window.preferences_changed.connect(lambda preferences: self.count.setValue(preferences.model.candidates))

    @property
    def _plane(self) -> Plane:
        return self._desk.window.views.active_view.plane

    def _open(self) -> None:
        candidates = self._ranking.candidates
        assert candidates is not None
        self.said.setText(distinct(candidates))
        self.tiles.show_all(self._ranking.shown, [Caption("")] * len(candidates), self._plane)
        self.tiles.show_view(self._desk.view, self._plane)
        self._desk.window.right.show()
        self._desk.window.right.open("learn")
        self.buttons.show()
        self.hint.show()
        self._show_order(self._ranking.order)

    def _show_order(self, order: RankOrder) -> None:
        if not self._ranking.is_open:
            return
        self.tiles.say([_caption(order, number_) for number_ in range(order.count)])
        keys = self._desk.window.acts.keys_text
        if order.none_usable:
            self.hint.setText(tr("None is usable. {enter} submits that.").format(enter=keys("rank.submit")))
        elif order.ties:
            self.hint.setText(tr("The next one is as good as the last."))
        else:
            text = tr("Best first: press 1 to {last}, or click a tile; {tie} before a number is a tie.")
            self.hint.setText(text.format(last=whole(order.count), tie=keys("rank.tie")))

    def _close(self) -> None:
        self.tiles.show_all((), (), "axial")
        self.said.setText(tr("Several refinements, in random order; the best becomes the proposal."))
        self.buttons.hide()
        self.hint.hide()


def distinct(candidates: Candidates) -> str:
    """How many distinct ones remain."""
    text = tr("Distinct candidates: {n} of {asked}. Too near to another: {dropped}.")
    return text.format(n=whole(len(candidates)), asked=whole(candidates.asked), dropped=whole(candidates.dropped))


def _caption(order: RankOrder, number_: int) -> Caption:
    name, rank = whole(number_ + 1), order.rank_of(number_)
    if order.none_usable:
        return Caption(name, tr("not usable"))
    if rank is None:
        return Caption(name)
    tied = len(order.groups[rank - 1]) > 1
    mark_ = tr("rank {n}, tie") if tied else tr("rank {n}")
    return Caption(name, mark_.format(n=whole(rank)), strong=rank == 1)
