"""Surfaces, light and camera in VTK's own off-screen window, and its pixels as an array. No Qt; knows no label.

The window is never on a screen: whoever shows the pixels feeds mouse events to a generic interactor. Use it from one
thread, and only where `surface_probe` found that drawing works: VTK ends the process where it does not.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401  # this is what draws
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkUnsignedCharArray
from vtkmodules.vtkInteractionStyle import vtkInteractorStyleTrackballCamera
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkCellPicker,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
)
from vtkmodules.vtkRenderingUI import vtkGenericRenderWindowInteractor

from medseg_rl.labels import Colour
from medseg_rl.volume import FloatArray
from medseg_rl_gui.slice_geometry import Point
from medseg_rl_gui.surface_meshes import Mesh, poly_data

Side = Literal["A", "P", "L", "R", "S", "I"]
Drag = Literal["rotate", "pan", "zoom"]
Size = tuple[int, int]
Pixels = npt.NDArray[np.uint8]

SIDES: dict[Side, Point] = {  # where the viewer stands
    "A": (0, 1, 0),
    "P": (0, -1, 0),
    "L": (-1, 0, 0),
    "R": (1, 0, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}
GROUND, GROUND_TOP = (0.055, 0.06, 0.07), (0.16, 0.18, 0.21)
BESIDE = 0.05  # of the picture: a corner of the box is mostly empty
NEARER = 1.2  # than where a ball around everything fits: few bodies fill it


class SurfaceScene:
    """Draws meshes seen by one camera. Positions in the window are pixels from its upper left corner."""

    def __init__(self) -> None:
        self._renderer = vtkRenderer()
        self._renderer.SetBackground(*GROUND)
        self._renderer.SetBackground2(*GROUND_TOP)
        self._renderer.GradientBackgroundOn()
        self._renderer.TwoSidedLightingOn()
        self._window = vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)  # smoothing of edges below costs the processor less
        self._window.AddRenderer(self._renderer)
        self._renderer.UseFXAAOn()
        self._interactor = vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.EnableRenderOff()  # frames are drawn when they are asked for
        self._style = vtkInteractorStyleTrackballCamera()
        self._interactor.SetInteractorStyle(self._style)
        self._interactor.Initialize()
        self._actors: dict[int, vtkActor] = {}
        self._glassy: set[int] = set()
        self._size: Size = (1, 1)

    def close(self) -> None:
        """Gives back all that VTK and OpenGL hold; nothing may be called after it."""
        self._renderer.RemoveAllViewProps()
        self._actors.clear()
        self._window.RemoveRenderer(self._renderer)
        self._window.Finalize()
        del self._style, self._interactor, self._renderer, self._window

    # --- what is in it ------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> frozenset[int]:
        """The surfaces in it."""
        return frozenset(self._actors)

    def put(self, key: int, mesh: Mesh) -> None:
        """Adds a surface, or gives one another form."""
        if key not in self._actors:
            self._actors[key] = _actor()
            self._renderer.AddActor(self._actors[key])
        mapper = self._actors[key].GetMapper()
        mapper.SetInputDataObject(poly_data(mesh.vertices, mesh.triangles, mesh.normals))

    def remove(self, key: int) -> None:
        """Takes a surface out, if it is there."""
        if (actor := self._actors.pop(key, None)) is not None:
            self._renderer.RemoveActor(actor)
        self._glassy.discard(key)

    def dress(self, key: int, colour: Colour, *, shown: bool = True, opacity: float = 1.0) -> None:
        """How a surface looks. `opacity`: below 1 only the sides that face the viewer are drawn."""
        actor = self._actors[key]
        actor.SetVisibility(shown)
        look = actor.GetProperty()
        look.SetColor(*(c / 255 for c in colour))
        look.SetOpacity(opacity)
        look.SetBackfaceCulling(opacity < 1)
        (self._glassy.add if opacity < 1 else self._glassy.discard)(key)

    # --- the camera ---------------------------------------------------------------------------------------------------

    def look_from(self, side: Side) -> None:
        """Stands on one side of the patient, head or nose up, and sees everything."""
        camera = self._renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(*SIDES[side])
        camera.SetViewUp(*((0, 1, 0) if side in "SI" else (0, 0, 1)))
        self.see_all()

    def see_all(self) -> None:
        """Comes so near that everything is just seen, in the direction it has."""
        self._renderer.ResetCamera()  # so that a ball around everything fits
        self._renderer.GetActiveCamera().Dolly(NEARER)
        if not self.is_all_in_view():  # something long fills the ball from end to end
            self._renderer.GetActiveCamera().Dolly(1 / NEARER)
        self._renderer.ResetCameraClippingRange()

    def is_all_in_view(self) -> bool:
        """Whether the corners of the box around everything are on the picture, but for a small rest."""
        bounds = self._renderer.ComputeVisiblePropBounds()
        parts = [self.projected((x, y, z)) for x in bounds[:2] for y in bounds[2:4] for z in bounds[4:]]
        return all(part is not None and all(-BESIDE <= along <= 1 + BESIDE for along in part) for part in parts)

    def turn(self, azimuth: float, elevation: float) -> None:
        """Walks round the surfaces by degrees."""
        camera = self._renderer.GetActiveCamera()
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        camera.OrthogonalizeViewUp()
        self._renderer.ResetCameraClippingRange()

    def zoom(self, factor: float) -> None:
        """Above 1 comes nearer."""
        self._renderer.GetActiveCamera().Dolly(factor)
        self._renderer.ResetCameraClippingRange()

    @property
    def axes(self) -> tuple[FloatArray, FloatArray]:
        """The world directions (3) to the right of the picture and to its top."""
        camera = self._renderer.GetActiveCamera()
        up, normal = np.array(camera.GetViewUp()), np.array(camera.GetViewPlaneNormal())
        right = np.cross(up, normal)
        right /= np.linalg.norm(right)
        return right, np.cross(normal, right)

    # --- the mouse ----------------------------------------------------------------------------------------------------

    def drag_begins(self, drag: Drag, x: float, y: float) -> None:
        """A button went down at a position as of `image`'s size."""
        self._interactor.SetEventInformation(*self._event_at(x, y), 0, drag == "pan")
        self._interactor.SetEventInformation(*self._event_at(x, y), 0, drag == "pan")  # so that the last one is here
        (self._interactor.RightButtonPressEvent if drag == "zoom" else self._interactor.LeftButtonPressEvent)()

    def drag_goes_on(self, x: float, y: float) -> None:
        """The mouse moved with the button down."""
        shifted = self._interactor.GetShiftKey()
        self._interactor.SetEventInformation(*self._event_at(x, y), 0, shifted)
        self._interactor.MouseMoveEvent()

    def drag_ends(self) -> None:
        """The button is up again."""
        self._interactor.LeftButtonReleaseEvent()
        self._interactor.RightButtonReleaseEvent()
        self._interactor.SetShiftKey(0)

    def _event_at(self, x: float, y: float) -> tuple[int, int]:
        return round(x), self._size[1] - 1 - round(y)

    # --- pixels -------------------------------------------------------------------------------------------------------

    def resize(self, size: Size) -> None:
        """Gives the picture so many pixels, across and down."""
        if size != self._size:
            self._size = size
            self._window.SetSize(*size)
            self._interactor.SetSize(*size)

    @property
    def size(self) -> Size:
        """Pixels across and down."""
        return self._size

    def image(self) -> Pixels:
        """What is seen now: (down, across, 4) red, green, blue and 255, the uppermost row first."""
        self._window.Render()
        return self._pixels()

    def _pixels(self) -> Pixels:
        width, height = self._size
        taken = vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, width - 1, height - 1, 1, taken, 0)
        flat = vtk_to_numpy(taken)
        pixels = np.ascontiguousarray(flat.reshape(height, width, 4)[::-1])
        pixels[..., 3] = 255
        return pixels

    @property
    def renderer_name(self) -> str:
        """What draws: a graphics card, or the processor."""
        for line in self._window.ReportCapabilities().splitlines():
            if "renderer string" in line.lower():
                return str(line.split(":", 1)[1].strip())
        return str(self._window.GetClassName())

    # --- between the picture and the world ----------------------------------------------------------------------------

    def projected(self, world: Point) -> tuple[float, float] | None:
        """Where a world point is seen, as parts (0 to 1) of width and height; None behind the viewer."""
        place = self._projection @ np.array([*world, 1.0])
        if place[3] <= 0:
            return None
        x, y = place[:2] / place[3]
        return float(1 + x) / 2, float(1 - y) / 2

    @property
    def _projection(self) -> FloatArray:
        matrix = self._renderer.GetActiveCamera().GetCompositeProjectionTransformMatrix(
            self._size[0] / self._size[1], -1, 1
        )
        return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])

    def picked(self, x: float, y: float) -> Point | None:
        """RAS+ mm of the surface seen at a position; None beside all."""
        picker = vtkCellPicker()
        picker.SetTolerance(0)
        across, up = self._event_at(x, y)
        if not picker.Pick(across, up, 0, self._renderer):
            return None
        a, b, c = picker.GetPickPosition()
        return float(a), float(b), float(c)


def _actor() -> vtkActor:
    actor = vtkActor()
    mapper = vtkPolyDataMapper()
    mapper.ScalarVisibilityOff()
    actor.SetMapper(mapper)
    look = actor.GetProperty()
    look.SetAmbient(0.12)
    look.SetDiffuse(0.85)
    look.SetSpecular(0.18)
    look.SetSpecularPower(18)
    return actor
