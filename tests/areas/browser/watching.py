"""What a page shows, and what it was given."""

import numpy as np

STATE = 'document.getElementById("state")'


def answers(chrome):
    """Shares by class, as the page shows them, best first; once it has answered."""
    chrome.wait(f'{STATE}.dataset.state === "answered"')
    rows = "[...document.querySelectorAll('#answers li')].map((row) => [row.dataset.class, Number(row.dataset.share)])"
    return dict(chrome.value(rows))


def asked_again(chrome):
    """Forget the last answer, so that the next one is waited for."""
    chrome.value(f'{STATE}.dataset.state = "waiting"')


def submitted(chrome):
    asked_again(chrome)
    chrome.value("document.forms[0].requestSubmit()")


def drawn(chrome, strokes):
    asked_again(chrome)
    chrome.value("document.querySelector('fieldset button').click()")
    answers(chrome)
    asked_again(chrome)
    chrome.draw(strokes)
    return answers(chrome)


def seen(chrome):
    """The picture that the model is given, as the page makes it of its canvas: uint8 (1, 112, 112, 1)."""
    script = """import("./page.js").then(({ resized, channelsOf }) => {
        const canvas = document.querySelector("canvas"), { width, height } = canvas;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
        return Array.from(resized(channelsOf(data, 1), [height, width, 1], [112, 112]), Math.round);
    })"""
    return np.array(chrome.value(script), np.uint8).reshape(1, 112, 112, 1)
