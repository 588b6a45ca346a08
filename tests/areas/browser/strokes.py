"""Digits as a person draws them with a mouse: strokes of points, shares of the canvas."""

import math


def arc(x, y, width, height, start, end, steps=16):
    """Points of an ellipse from one angle to another, in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


def moved(strokes, dx, dy, scale=1.0):
    """The same elsewhere, and larger or smaller, about the middle."""
    return [[(0.5 + scale * (x - 0.5) + dx, 0.5 + scale * (y - 0.5) + dy) for x, y in stroke] for stroke in strokes]


DIGITS = {
    0: [arc(0.5, 0.5, 0.2, 0.32, -90, 270, 32)],
    1: [[(0.42, 0.32), (0.54, 0.18), (0.52, 0.5), (0.5, 0.84)]],
    2: [arc(0.5, 0.33, 0.18, 0.16, 190, 380, 16) + [(0.58, 0.5), (0.32, 0.8), (0.5, 0.79), (0.72, 0.8)]],
    3: [arc(0.46, 0.34, 0.19, 0.16, 220, 440) + arc(0.46, 0.66, 0.22, 0.17, -80, 140)],
    4: [[(0.45, 0.16), (0.3, 0.55), (0.72, 0.55)], [(0.6, 0.36), (0.57, 0.86)]],
    5: [[(0.68, 0.18), (0.38, 0.18), (0.36, 0.46)] + arc(0.47, 0.63, 0.22, 0.2, -110, 140)],
    6: [[(0.62, 0.16), (0.46, 0.3), (0.36, 0.52)] + arc(0.5, 0.65, 0.16, 0.17, 180, -180, 24)],
    7: [[(0.3, 0.2), (0.7, 0.2), (0.6, 0.45), (0.46, 0.84)]],
    8: [arc(0.5, 0.33, 0.15, 0.15, 90, -270, 24) + arc(0.5, 0.66, 0.18, 0.18, -90, 270, 24)],
    9: [arc(0.48, 0.36, 0.17, 0.17, 0, -360, 24) + [(0.65, 0.36), (0.62, 0.6), (0.56, 0.86)]],
}
