"""Which OpenGL renders where there is no screen. Imports no MuJoCo: it must be asked first."""

from __future__ import annotations

import ctypes.util
import os
import sys

_BACKENDS = {"egl": ("EGL", "libegl1"), "osmesa": ("OSMesa", "libosmesa6")}


def headless_gl() -> str | None:
    """Let MuJoCo render without a screen: set `MUJOCO_GL` to "egl" or "osmesa", whichever library is installed.

    MuJoCo reads the variable once, when it is imported, so call this before. Nothing is changed where the user has
    set the variable, where there is a screen, or on a system that renders without one anyway (not Linux).

    Returns:
        The value of `MUJOCO_GL` that holds now; None if MuJoCo chooses for itself.
    """
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY") and "MUJOCO_GL" not in os.environ:
        for backend, (library, _) in _BACKENDS.items():
            if ctypes.util.find_library(library):
                os.environ["MUJOCO_GL"] = backend
                break
    return os.environ.get("MUJOCO_GL")


def gl_hint() -> str:
    """What a user can do where rendering failed, one sentence."""
    chosen = os.environ.get("MUJOCO_GL", "")
    found = [backend for backend, (library, _) in _BACKENDS.items() if ctypes.util.find_library(library)]
    others = [backend for backend in found if backend != chosen]
    if others:
        return f"start again with the environment variable MUJOCO_GL={others[0]}"
    packages = " or ".join(f"{package} (MUJOCO_GL={backend})" for backend, (_, package) in _BACKENDS.items())
    return f"install the Debian package {packages}, or run where there is a screen"
