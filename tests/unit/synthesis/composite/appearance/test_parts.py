"""Parts of branching masks: cut at a junction, connected, and narrow towards the cut."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.synthesis.composite.appearance.parts import parts

SIDE = 100
#: A trunk from below to the middle, and two branches from there.
FORK = (((50, 92), (50, 50)), ((50, 50), (22, 14)), ((50, 50), (80, 18)))


def drawn(lines, width=5):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for start, end in lines:
        cv2.line(mask, start, end, 1, width)
    return mask > 0


def pieces(mask):
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1


def test_a_fork_gives_its_arms_and_what_is_left_without_each():
    fork = drawn(FORK)
    cut_pieces = parts(fork)
    assert len(cut_pieces) == 6
    arms = [drawn([line]) for line in FORK]
    for part in cut_pieces:
        assert not (part & ~fork).any()
        assert pieces(part) == 1
    for arm in arms:
        overlaps = sorted((part & arm).sum() / arm.sum() for part in cut_pieces)
        assert overlaps[0] < 0.25  # the fork without the arm
        assert overlaps[-1] > 0.75


def test_an_arm_narrows_to_a_point_at_the_cut():
    fork, trunk = drawn(FORK), drawn(FORK[:1])
    arm = max((part for part in parts(fork) if part.sum() < 0.5 * fork.sum()), key=lambda part: (part & trunk).sum())
    widths = arm.sum(axis=1)
    rows = np.flatnonzero(widths)
    assert widths[rows[0]] <= 3
    assert widths[(rows[0] + rows[-1]) // 2] == trunk[70].sum() > 3


def test_masks_without_a_junction_have_no_parts():
    disc = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (50, 50), 30, 1, -1) > 0
    ring = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (50, 50), 30, 1, 4) > 0
    for mask in (drawn(FORK[:1]), drawn(FORK[:2]), disc, ring, np.zeros((SIDE, SIDE), bool)):
        assert parts(mask) == []


def test_a_bump_of_a_line_is_no_arm():
    line = drawn([((10, 50), (90, 50))], width=7)
    line[44:47, 50:53] = True
    assert parts(line) == []


def test_an_arm_that_closes_a_ring_is_not_cut():
    """Of a ring on a stalk, only the stalk comes off."""
    circle = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (50, 40), 22, 1, 4) > 0
    cut_pieces = parts(circle | drawn([((50, 95), (50, 62))]))
    assert cut_pieces
    for part in cut_pieces:
        assert (part & circle).sum() > 0.9 * circle.sum() or not (part & circle)[:50].any()
