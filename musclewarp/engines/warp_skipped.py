"""What mujoco_warp computes in every physics step and nobody here reads; `WarpEngine` leaves it out."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass

import warp as wp
from mujoco_warp._src import smooth

# pyright: reportGeneralTypeIssues=false, reportPrivateUsage=false


@dataclass(frozen=True)
class Skipped:
    """What a `WarpEngine` leaves out; the state comes out the same (see the tests), only sooner.

    Attributes:
        looks: where the geoms and sites are that are only looked at (`MuscleModel.stepped` has none).
        early_sensors: sensors after each physics step but the last of a control step.
        tendon_paths: the points that tendons run through, which only a viewer draws.
        smooth_acceleration: the acceleration without constraints; the solver starts from its last solution alone.
    """

    looks: bool = True
    early_sensors: bool = True
    tendon_paths: bool = True
    smooth_acceleration: bool = True

    @contextlib.contextmanager
    def applied(self) -> Generator[None]:
        """While kernels are launched or captured: the launch of the tendons' paths finds a kernel that does nothing."""
        original = smooth._spatial_tendon_wrap
        if self.tendon_paths:
            smooth._spatial_tendon_wrap = _no_tendon_paths
        try:
            yield
        finally:
            smooth._spatial_tendon_wrap = original


@wp.kernel
def _no_tendon_paths(  # noqa: ANN202 (Warp infers it)
    ntendon: int,
    tendon_type: wp.array[int],
    tendon_adr: wp.array[int],
    tendon_num: wp.array[int],
    wrap_type: wp.array[int],
    wrap_objid: wp.array[int],
    site_xpos: wp.array2d[wp.vec3],
    wrap_geom_xpos: wp.array2d[wp.spatial_vector],
    ten_wrapadr: wp.array2d[int],
    ten_wrapnum: wp.array2d[int],
    wrap_obj: wp.array2d[wp.vec2i],
    wrap_xpos: wp.array2d[wp.spatial_vector],
):
    """Takes what mujoco_warp 4.0 gives its own kernel."""
