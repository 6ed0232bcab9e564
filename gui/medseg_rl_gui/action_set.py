"""The table of actions as Qt's actions: keys of the preset in force, what is greyed and why, which function is called.

Does nothing of its own: functions come through `connect_all`, and who has changed what is possible says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from PySide6.QtCore import QKeyCombination, QObject, Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence

from medseg_rl_gui.actions import ACTIONS, BY_ID, REASONS, Action, Context, Need
from medseg_rl_gui.bindings import Bindings
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.icons import icon

Handler = Callable[..., object]


class ActionSet(QObject):
    """All actions by id. A handler takes nothing for "press", and whether it is on for "toggle" and "hold".

    Of a group such as the tools, the handler is called with True each time; `choose` then says which one is on.
    """

    def __init__(self, bindings: Bindings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.bindings = bindings
        self.context: Context = "view"
        self.actions = {action.id: self._made(action) for action in ACTIONS}
        self._handlers: dict[str, Handler] = {}
        self._there: frozenset[Need] = frozenset()
        self._reasons: dict[str, str] = {}
        self._told: dict[str, tuple[str, str]] = {}  # text and reason that each action shows
        self._down: dict[int, str] = {}
        self.bind(bindings)

    def __getitem__(self, id_: str) -> QAction:
        return self.actions[id_]

    def _made(self, action: Action) -> QAction:
        made = QAction(tr(action.text), self)
        made.setObjectName(action.id)
        made.setCheckable(action.kind == "toggle")
        made.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        made.setAutoRepeat(action.id.startswith(("slice.", "crosshair.", "brush.", "view.fainter", "view.stronger")))
        made.triggered.connect(lambda on, id_=action.id: self._triggered(id_, on))
        return made

    # --- what happens -------------------------------------------------------------------------------------------------

    def connect_all(self, handlers: Mapping[str, Handler]) -> None:
        """Takes functions by id; an id that the table lacks is a defect. Later ones take the place of earlier ones."""
        unknown = [id_ for id_ in handlers if id_ not in BY_ID]
        if unknown:
            raise KeyError(f"no such actions: {', '.join(unknown)}")
        self._handlers.update(handlers)
        self._refresh()

    def trigger(self, id_: str) -> None:
        """As if the user had asked for it; nothing while it is greyed."""
        self.actions[id_].trigger()

    def _triggered(self, id_: str, on: bool) -> None:
        action, handler = BY_ID[id_], self._handlers[id_]
        if action.one_of:
            self.actions[id_].setChecked(not on)  # `choose` says which one is on
            handler(True)
        elif action.kind == "toggle":
            handler(on)
        else:
            handler()

    # --- what is possible ---------------------------------------------------------------------------------------------

    def say_there(self, needs: Iterable[Need]) -> None:
        """What there is now: an image, a proposal, something to undo. The rest is greyed with its reason."""
        there = frozenset(needs)
        if there != self._there:
            self._there = there
            self._refresh()

    def set_reason(self, id_: str, reason: str) -> None:
        """Greys one action for a reason of its own; an empty one lifts it."""
        if self._reasons.get(id_, "") != reason:
            self._reasons[id_] = reason
            self._refresh_one(BY_ID[id_])

    def reason(self, id_: str) -> str:
        """Why an action is greyed; empty when it is not."""
        action = BY_ID[id_]
        lacking = next((need for need in action.needs if need not in self._there), None)
        if lacking is not None:
            return tr(REASONS[lacking])
        if self._reasons.get(id_):
            return self._reasons[id_]
        return "" if id_ in self._handlers else tr("Not possible here")

    def without_handler(self) -> tuple[str, ...]:
        """Ids that nothing was connected to: none, once a controller is there."""
        return tuple(id_ for id_ in self.actions if id_ not in self._handlers)

    def set_on(self, id_: str, on: bool) -> None:
        """Shows a toggle as on or off; calls nothing."""
        self.actions[id_].setChecked(on)

    def choose(self, id_: str) -> None:
        """Shows which one of its group is on; calls nothing."""
        group = BY_ID[id_].one_of
        for action in ACTIONS:
            if action.one_of == group:
                self.actions[action.id].setChecked(action.id == id_)

    def rename(self, id_: str, text: str = "") -> None:
        """Another text, such as what would be undone; empty for the one of the table."""
        self.actions[id_].setText(text or tr(BY_ID[id_].text))
        self._refresh_one(BY_ID[id_])

    def _refresh(self) -> None:
        for action in ACTIONS:
            self._refresh_one(action)

    def _refresh_one(self, action: Action) -> None:
        made, reason = self.actions[action.id], self.reason(action.id)
        if self._told.get(action.id) == (made.text(), reason):
            return
        self._told[action.id] = made.text(), reason
        made.setEnabled(not reason)
        keys = self.keys_text(action.id)
        first = f"{made.text()} ({keys})" if keys else made.text()
        lines = [first, tr(action.tooltip), reason]
        made.setToolTip("\n".join(line for line in lines if line))
        made.setStatusTip(reason or tr(action.tooltip))

    # --- keys ---------------------------------------------------------------------------------------------------------

    def bind(self, bindings: Bindings) -> None:
        """Takes other keys."""
        self.bindings = bindings
        self._told.clear()
        self._give_keys()
        for action in ACTIONS:
            self.actions[action.id].setIcon(icon(action.icon) if action.icon else self.actions[action.id].icon())
        self._refresh()

    def enter(self, context: Context) -> None:
        """While ranking, or with an open lasso, the keys of that context go before those of the window."""
        if context != self.context:
            self.context = context
            self._give_keys()

    def keys_text(self, id_: str) -> str:
        """The first key as the user reads it; empty for none."""
        keys = self.bindings.of(id_)
        return QKeySequence(keys[0]).toString(QKeySequence.SequenceFormat.NativeText) if keys else ""

    def _give_keys(self) -> None:
        own = {keys for id_ in self.actions if BY_ID[id_].context == self.context for keys in self.bindings.of(id_)}
        for action in ACTIONS:
            keys = self.bindings.of(action.id) if action.kind != "hold" else ()
            if action.context == "view" and self.context != "view":
                keys = tuple(key for key in keys if key not in own)
            elif action.context not in ("view", self.context):
                keys = ()
            self.actions[action.id].setShortcuts([QKeySequence(key) for key in keys])

    def key_down(self, event: QKeyEvent) -> bool:
        """Starts an action that lasts while its key is down; True when there is one."""
        combination = QKeyCombination(event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier, Qt.Key(event.key()))
        pressed = QKeySequence(combination)
        for action in ACTIONS:
            if action.kind == "hold" and any(QKeySequence(key) == pressed for key in self.bindings.of(action.id)):
                if not event.isAutoRepeat() and not self.reason(action.id) and event.key() not in self._down:
                    self._down[event.key()] = action.id
                    self._handlers[action.id](True)
                return True
        return False

    def key_up(self, event: QKeyEvent) -> bool:
        """Ends it; True when it was one of these."""
        if event.key() not in self._down:
            return False
        if not event.isAutoRepeat():
            self._handlers[self._down.pop(event.key())](False)
        return True

    def release_all(self) -> None:
        """Ends whatever is held: the window lost the keyboard."""
        while self._down:
            _, id_ = self._down.popitem()
            self._handlers[id_](False)
