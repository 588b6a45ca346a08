"""The digit's page by LiteRT.js: the numbers are the model's."""

import numpy as np
import pytest

import phlox as px
from areas.browser.strokes import DIGITS, moved
from areas.browser.watching import drawn, seen


@pytest.mark.skipif("litert" not in px.interchange.targets(), reason="this Phlox does not write LiteRT files")
def test_digits_are_read_by_litert_too(chrome, digits, read, example, web, packages, tmp_path):
    model, _ = digits
    example("digits").export(model, tmp_path / "bundle", ["litert", web()], batch=1)
    example("litert_page").write_page(tmp_path / "bundle", packages, tmp_path / "page")
    with example("chrome").served(tmp_path / "page") as address:
        chrome.requests.clear()
        chrome.open(address + "index.html")
        for digit, place in {2: (0.0, 0.0, 1.0), 5: (0.1, 0.1, 0.6), 0: (-0.1, 0.0, 0.8)}.items():
            found = drawn(chrome, moved(DIGITS[digit], *place))
            assert next(iter(found)) == str(digit)
            [wanted] = read(model, seen(chrome))
            np.testing.assert_allclose([found[str(d)] for d in range(10)], wanted, atol=1e-5)
        names = {request.removeprefix(address) for request in chrome.requests if not request.startswith("data:")}
    runtime = {"litert.js", "wasm-utils.js", "litert_wasm_internal.js", "litert_wasm_internal.wasm"}
    assert names == {"index.html", "run.js", "page.js", "bundle.json", "model.tflite", *runtime}
