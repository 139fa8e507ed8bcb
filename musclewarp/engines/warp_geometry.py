"""Two of mujoco_warp 4.0's collision functions, put right in float32; importing this module replaces them.

Both are found by name when kernels are compiled, so that models put on a device before are not affected.
"""

# ruff: noqa: UP018, SIM109 (Warp takes a literal for a constant, and knows no `in`)
from __future__ import annotations

import warp as wp
from mujoco_warp._src import collision_convex, collision_primitive
from mujoco_warp._src.collision_core import Geom
from mujoco_warp._src.collision_gjk import GJKResult
from mujoco_warp._src.types import GeomType

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

_plane_capsule = collision_primitive.plane_capsule
_gjk_phase = collision_convex.gjk_phase
_CAPSULE = wp.constant(int(GeomType.CAPSULE))
_ELLIPSOID = wp.constant(int(GeomType.ELLIPSOID))
_ITERATIONS = wp.constant(20)  # five or six are usual


@wp.func
def _plane_capsule_like_mujoco(  # noqa: ANN202 (Warp infers it)
    plane_normal: wp.vec3,
    plane_pos: wp.vec3,
    capsule_pos: wp.vec3,
    capsule_axis: wp.vec3,
    capsule_radius: float,
    capsule_half_length: float,
):
    # MuJoCo C lays the friction pyramid along the capsule however steep it stands. mujoco_warp 4.0 turns it to a world
    # axis beyond 60 degrees, as toes do: up to 4e-3 rad in a control step. Here it is always along the capsule.
    dist, pos, frame = _plane_capsule(
        plane_normal, plane_pos, capsule_pos, capsule_axis, capsule_radius, capsule_half_length
    )
    along = capsule_axis - plane_normal * wp.dot(plane_normal, capsule_axis)
    if wp.length_sq(along) > 1.0e-12:
        along = wp.normalize(along)
        across = wp.cross(plane_normal, along)
        frame = wp.matrix_from_rows(plane_normal, along, across)
    return dist, pos, frame


@wp.func
def _ellipsoid_gap(geom1: Geom, is_capsule: bool, geom2: Geom):  # noqa: ANN202
    """Signed distance from a capsule or ellipsoid to an ellipsoid, its direction, its middle, and if it was found.

    The gap along a direction n is `n . between - reach1(n) - reach2(n)`; the distance is the largest there is. An
    ellipsoid with matrix Q reaches to `Q n / sqrt(n . Q n)`. A capsule is a segment, whose nearest point is at `t` in
    [-1, 1], and a radius. Newton's method finds n and t together.
    """
    q1 = wp.mat33()
    segment = wp.vec3()
    radius = float(0.0)
    if is_capsule:
        segment = geom1.rot @ wp.vec3(0.0, 0.0, geom1.size[1])
        radius = geom1.size[0]
    else:
        q1 = geom1.rot @ wp.diag(wp.cw_mul(geom1.size, geom1.size)) @ wp.transpose(geom1.rot)
    q2 = geom2.rot @ wp.diag(wp.cw_mul(geom2.size, geom2.size)) @ wp.transpose(geom2.rot)
    between = geom2.pos - geom1.pos

    # to start from: the normal of an ellipsoid with the extents of both, towards the other shape
    metric = wp.inverse(q1 + q2)
    t = float(0.0)
    if is_capsule:
        t = wp.clamp(wp.dot(between, metric @ segment) / wp.dot(segment, metric @ segment), -1.0, 1.0)
    n = wp.normalize(metric @ (between - t * segment))

    gap = float(0.0)
    reach2 = wp.vec3()
    found = bool(False)
    for _ in range(_ITERATIONS):
        h2 = wp.sqrt(wp.dot(n, q2 @ n))
        reach2 = q2 @ n / h2
        gradient = between - t * segment - reach2
        curvature = wp.outer(n, n) + (q2 - wp.outer(reach2, reach2)) / h2
        if not is_capsule:
            h1 = wp.sqrt(wp.dot(n, q1 @ n))
            reach1 = q1 @ n / h1
            gradient -= reach1
            curvature += (q1 - wp.outer(reach1, reach1)) / h1
        gap = wp.dot(n, gradient)
        # a negative gap is left out, so that n always turns uphill
        curvature += wp.max(gap, 0.0) * (wp.identity(n=3, dtype=float) - wp.outer(n, n))
        if found:
            break
        turn = wp.inverse(curvature)
        change = turn @ (gradient - gap * n)
        if is_capsule:
            across = turn @ (segment - wp.dot(n, segment) * n)
            slide = wp.dot(n + change, segment) / wp.max(wp.dot(segment, across), 1.0e-12)
            slide = wp.clamp(t + slide, -1.0, 1.0) - t
            t += slide
            change -= slide * across
        length = wp.length(change)
        n = wp.normalize(n + change * wp.min(1.0, 0.5 / wp.max(length, 1.0e-9)))
        found = length < 1.0e-6  # of float32's resolution; gap and reach follow in the next pass
    gap -= radius
    return gap, n, geom2.pos - reach2 - 0.5 * gap * n, found


@wp.func
def _gjk_phase_exact(  # noqa: ANN202
    tolerance: float,
    cutoff: float,
    gjk_iterations: int,
    geom1: Geom,
    geom2: Geom,
    geomtype1: int,
    geomtype2: int,
    x_1: wp.vec3,
    x_2: wp.vec3,
):
    # GJK in float32 cannot reach its tolerance with rounded shapes and ends anywhere: foot on toes up to 1.6 mm too
    # deep and 1.5 degrees askew. An ellipsoid against an ellipsoid or a capsule has a smooth equation to solve instead.
    # Where one lies so deep in the other that Newton's method does not settle, GJK and EPA decide as before.
    if geomtype2 == _ELLIPSOID and (geomtype1 == _CAPSULE or geomtype1 == _ELLIPSOID):
        gap, n, middle, found = _ellipsoid_gap(geom1, geomtype1 == _CAPSULE, geom2)
        if found:
            dist = gap - geom1.margin  # each shape is thought inflated by half of the margin
            # the caller reads the mean of the witness points and the direction between them; this far apart, it is n
            apart = wp.where(dist > 0.0, -0.5, 0.5) * n
            return False, dist, 1, middle + apart, middle - apart, GJKResult(), geom1, geom2
    needs_epa, dist, ncontact, x1, x2, result, geom1, geom2 = _gjk_phase(
        tolerance, cutoff, gjk_iterations, geom1, geom2, geomtype1, geomtype2, x_1, x_2
    )
    return needs_epa, dist, ncontact, x1, x2, result, geom1, geom2


collision_primitive.plane_capsule = _plane_capsule_like_mujoco
collision_convex.gjk_phase = _gjk_phase_exact
