"""Whether and by what this machine draws in 3D, tried where a crash does no harm: in a process of its own. No Qt.

    python -m medseg_rl_gui.surface_probe          # one line of JSON: what draws, or why nothing does

VTK ends the process where there is no OpenGL, so the window asks before it loads any of it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

WINDOW_VARIABLE = "VTK_DEFAULT_OPENGL_WINDOW"
EGL, GLX = "vtkEGLRenderWindow", "vtkXOpenGLRenderWindow"
SECONDS = 60.0
Lack = Literal["", "vtk", "loading", "opengl"]
MODULE = "medseg_rl_gui.surface_probe"


@dataclass(frozen=True)
class Drawing:
    """`window`: the class that draws, for `WINDOW_VARIABLE`; empty where VTK chooses. `renderer`: a card, or llvmpipe.

    `lacks`: what keeps it from drawing, empty where it works: VTK is not installed, cannot be loaded, or OpenGL fails.
    `detail`: what was said about it, in English.
    """

    window: str = ""
    renderer: str = ""
    lacks: Lack = ""
    detail: str = ""

    @property
    def works(self) -> bool:
        """Whether 3D can be shown."""
        return not self.lacks

    def take_effect(self) -> None:
        """Has VTK draw by this; before the first picture."""
        if self.window:
            os.environ[WINDOW_VARIABLE] = self.window


def is_vtk_installed() -> bool:
    """Whether VTK is there, without loading it."""
    return importlib.util.find_spec("vtkmodules") is not None


def ways(environment: Mapping[str, str], platform: str = sys.platform) -> tuple[str, ...]:
    """What to try, the best first. EGL needs no display and works under X, Wayland and without either."""
    if environment.get(WINDOW_VARIABLE):
        return (environment[WINDOW_VARIABLE],)
    if platform != "linux":
        return ("",)
    return (EGL, GLX) if environment.get("DISPLAY") else (EGL,)


def probe_command(way: str) -> list[str]:
    """The command that tries one way; what it prints is for `understood`."""
    return [sys.executable, "-m", MODULE, "--way", way]


def understood(code: int | None, said: str, way: str) -> Drawing:
    """What a try found. `code`: how it ended, None when it did not end in time."""
    lines = said.strip().splitlines()
    try:
        return Drawing(**json.loads(lines[-1]))
    except (IndexError, TypeError, ValueError):
        how = "did not answer" if code is None else f"ended with code {code}"
        return Drawing(way, lacks="opengl", detail=f"a test drawing {how}")


def probed() -> Drawing:
    """Tries all ways, one after the other, and waits for them."""
    if not is_vtk_installed():
        return Drawing(lacks="vtk")
    found = Drawing()
    for way in ways(os.environ):
        found = _tried(way)
        if found.works:
            break
    return found


def _tried(way: str) -> Drawing:
    try:
        done = subprocess.run(probe_command(way), capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return understood(None, "", way)
    return understood(done.returncode, done.stdout, way)


def _draw(way: str) -> Drawing:
    """Draws here and now; ends the process where it cannot be done."""
    Drawing(way).take_effect()
    try:
        from medseg_rl_gui.surface_scene import SurfaceScene
    except (ImportError, OSError) as error:
        return Drawing(way, lacks="loading", detail=str(error))
    scene = SurfaceScene()
    scene.resize((16, 16))
    seen = bool(scene.image()[..., :3].any())
    renderer = scene.renderer_name
    scene.close()
    return Drawing(way, renderer) if seen else Drawing(way, renderer, "opengl", "a test drawing stays black")


def _main(arguments: list[str]) -> None:
    found = _draw(arguments[1]) if arguments[:1] == ["--way"] else probed()
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    _main(sys.argv[1:])
