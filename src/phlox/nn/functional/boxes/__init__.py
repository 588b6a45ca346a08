"""Boxes of detection: (..., boxes, 4), corners (x1, y1, x2, y2) unless said otherwise.

_boxes    formats, areas
_iou      how much boxes overlap, each with each
_nms      the best of those that overlap, into arrays of a fixed size
"""
