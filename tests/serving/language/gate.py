"""A constraint that allows everything, and holds its engine up before a second token until it is opened."""

import threading

import numpy as np


class Gate:
    done = False

    def __init__(self):
        self.asked, self._open = 0, threading.Event()

    def mask(self):
        self.asked += 1
        assert self.asked < 2 or self._open.wait(600)
        return np.ones(40, bool)

    def take(self, token):
        pass

    def open(self):
        self._open.set()
