"""The notebook view, in the DOM of a real browser. Skipped where there is no Chromium."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import jax.numpy as jnp
import pytest

import phlox as px

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Block(px.Module):
    def __init__(self, width, label):
        self.label = label
        self.mlp = px.Chain(px.Dense(width, width), px.Dropout(0.5))


class Net(px.Module):
    def __init__(self):
        self.blocks = [Block(4, "<script>document.title='hit'</script>&amp;") for _ in range(3)]
        self.deep = px.Chain(*[px.Dense(i + 1, i + 2) for i in range(20)])
        self.head = px.Dense(4, 2)
        self.head.weight = self.head.weight.at[0, 0].set(jnp.nan)


@pytest.fixture(scope="module")
def net():
    with px.seed(0):
        return Net()


# What the script sees before and after clicking: rows that are visible, by their text.
SCRIPT = """
<script>
function shown() {
  return [...document.querySelectorAll('.phlox .row')].filter(r => r.checkVisibility())
    .map(r => r.textContent).join('\\n');
}
const out = (id, text) => {
  const pre = document.createElement('pre'); pre.id = id; pre.textContent = text; document.body.append(pre);
};
window.addEventListener('load', () => {
  out('start', shown());
  const deep = [...document.querySelectorAll('.phlox summary')].find(s => s.textContent.includes('deep='));
  deep.click();
  out('unfolded', shown());
  document.querySelector('.phlox summary').click();
  out('folded', shown());
  const box = document.querySelector('.phlox').getBoundingClientRect();
  const style = e => getComputedStyle(document.querySelector(e));
  out('style', [box.width > 100, style('.phlox').color, style('.phlox .counts').color,
    style('.phlox').backgroundColor, document.title].join('|'));
});
</script>
"""


def dom(body, folder, style=""):
    assert BROWSER is not None
    page = folder / "page.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><title>calm</title><body style="{style}">{body}{SCRIPT}', "utf-8"
    )
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    found = {}
    for name in ("start", "unfolded", "folded", "style"):
        match = re.search(rf'<pre id="{name}">(.*?)</pre>', done.stdout, re.DOTALL)
        assert match is not None, done.stdout[-2000:]
        found[name] = match[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").splitlines()
    return found


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_it_folds_in_a_browser(net, tmp_path):
    found = dom(net._repr_html_(), tmp_path)
    deep = sum((i + 1) * (i + 2) + i + 2 for i in range(20))
    start, unfolded = "\n".join(found["start"]), "\n".join(found["unfolded"])
    assert f"deep=Chain{deep:_} parameters" in start
    assert "Dense(20, 21)" not in start  # a long part starts folded
    assert "blocks[0:3]=3 × Block" in start
    assert "60 parameters (3 × 20) + 3 state" in start
    assert "head=Dense(4, 2)NaN in weight10 parameters" in start
    assert "Dense(20, 21)441 parameters" in unfolded
    assert len(found["unfolded"]) == len(found["start"]) + 20
    assert found["folded"] == [f"Net{deep + 70:_} parameters + 3 state"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(
    ("paper", "ink"), [("rgb(255, 255, 255)", "rgb(31, 35, 40)"), ("rgb(17, 19, 24)", "rgb(227, 230, 234)")]
)
def test_it_takes_the_colours_of_the_page_and_runs_no_text(net, tmp_path, paper, ink):
    found = dom(net._repr_html_(), tmp_path, f"background:{paper};color:{ink}")
    assert found["style"] == [f"true|{ink}|{ink}|rgba(0, 0, 0, 0)|calm"]  # the argument's script did not run


class Balance(HTMLParser):
    """Every tag that opens closes, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_it_is_well_formed_and_holds_what_the_text_holds(net):
    parser = Balance()
    parser.feed(net._repr_html_())
    assert parser.open == []
    words = "".join(parser.texts)
    text = repr(net)
    for number in re.findall(r"[\d_]+ (?:parameters?|state)", text):
        assert number in words
    for remark in ("NaN in weight", text.splitlines()[-1].partition("# ")[2]):
        assert remark in words
    assert "<script>document" not in net._repr_html_()
    assert "<script>document" in words


def test_one_layer():
    html = px.Dense.of(jnp.zeros((2, 2)), None)._repr_html_()
    assert "details" not in html.partition("</style>")[2]
    assert 'class="warning">all zero' in html
    assert 'class="counts">4 parameters' in html
