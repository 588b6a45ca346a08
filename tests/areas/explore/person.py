"""A person at the page: reads it, points, types, and waits until it has answered."""

import base64
import io
import json
import time

import numpy as np

READY = 'get("status").text.includes("ready")'
GET = """const get = (name) => Bokeh.documents[0].get_model_by_name(name);
const see = (name) => Bokeh.index.find_one(get(name));
const words = (name) => { const e = document.createElement("div"); e.innerHTML = get(name).text; return e.innerText; };
const columns = (name) => { const { data } = get(name);
    return Object.fromEntries([...Object.keys(data)].map((key) => [key, Array.from(data[key])])); };
const rect = (e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; };
const at = (name, x, y) => { const v = see(name), b = v.el.getBoundingClientRect();
    return [b.left + v.frame.x_scale.compute(x), b.top + v.frame.y_scale.compute(y)]; };
const pick = (name, value) => { const e = see(name).shadow_el.querySelector("select");
    e.value = value; e.dispatchEvent(new Event("change")); };
"""


class Person:
    """Somebody who looks at a page in a browser, by the names of its parts."""

    def __init__(self, chrome):
        self.chrome = chrome

    def open(self, url):
        """Load the page; gives the seconds until it had answered all that it asks at first."""
        self.chrome.requests.clear()
        self.chrome.call("Page.navigate", url="about:blank")
        began = time.perf_counter()
        self.chrome.call("Page.navigate", url=url)
        self.chrome.wait('window.Bokeh?.documents?.length && Bokeh.documents[0].get_model_by_name("status")')
        self.settled()
        return time.perf_counter() - began

    def js(self, expression):
        return self.chrome.value(f"(() => {{ {GET} return {expression}; }})()")

    def settled(self, condition="true"):
        """Wait until the page has answered, and a condition holds."""
        self.chrome.wait(f"(() => {{ {GET} return {READY} && ({condition}); }})()", seconds=30)

    def text(self, name):
        """The words of a part of the page."""
        return self.js(f'words("{name}")')

    def data(self, name):
        """The columns of a source; those that hold lists as lists."""
        nested = (list, dict)
        found = self.js(f'columns("{name}")').items()
        return {key: column if isinstance(next(iter(column), 0), nested) else np.array(column) for key, column in found}

    def cells(self, name):
        """What the cells of a table show, row by row."""
        return self.js(
            f'[...see("{name}").shadow_el.querySelectorAll(".slick-row")]'
            '.map((r) => [...r.querySelectorAll(".slick-cell")].map((c) => c.textContent))'
        )

    # --- hands -----------------------------------------------------------------------------------

    def box(self, name, inside=""):
        """Where a part of the page is: left, top, width, height; scrolled into view."""
        place = f'see("{name}").shadow_el.querySelector({json.dumps(inside)})' if inside else f'see("{name}").el'
        self.js(f'{place}.scrollIntoView({{block: "center"}})')
        return self.js(f"rect({place})")

    def click(self, point, times=1):
        for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            self._mouse(kind, point, buttons, times)

    def click_on(self, name, inside="", times=1):
        left, top, width, height = self.box(name, inside)
        self.click((left + width / 2, top + height / 2), times)

    def drag(self, start, end):
        self._mouse("mouseMoved", start, 0)
        self._mouse("mousePressed", start, 1)
        for share in (0.25, 0.5, 0.75, 1):
            self._mouse("mouseMoved", [a + share * (b - a) for a, b in zip(start, end, strict=True)], 1)
        self._mouse("mouseReleased", end, 0)

    def _mouse(self, kind, point, buttons, times=1):
        button = "none" if kind == "mouseMoved" else "left"
        options = {"button": button, "buttons": buttons, "clickCount": times}
        self.chrome.call("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], **options)

    def type(self, text):
        self.chrome.call("Input.insertText", text=text)

    def press(self, key, code):
        for kind in ("keyDown", "keyUp"):
            self.chrome.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def choose(self, name, value):
        """Take one of a list."""
        self.js(f'pick("{name}", {json.dumps(value)})')

    def type_cell(self, table, row, column, text):
        """Double-click a cell, type, and press Enter."""
        left, top, width, height = self.box(table, f".slick-row:nth-child({row + 1}) .slick-cell.l{column}")
        self.click((left + width / 2, top + height / 2))
        self.click((left + width / 2, top + height / 2), times=2)
        self.chrome.value("document.execCommand('selectAll')")
        self.type(text)
        self.press("Enter", 13)

    def point(self, x, y, name="scatter"):
        """Where a place in a figure's data is on the screen."""
        self.box(name)
        return self.js(f'at("{name}", {x}, {y})')


def pixels(png):
    """A PNG file as an array."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png if isinstance(png, bytes) else base64.b64decode(png))).convert("RGB"))
