"""The digit's page by LiteRT.js: a bundle's LiteRT file, the page, and the runtime from npm, in one folder.

Run it: ``python digits.py --out digits --to litert web --batch 1``, then ``python litert_page.py digits page``, where
``npm install @litertjs/core@2.5.3`` was run.
"""

import argparse
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNTIME = ("litert_wasm_internal", "litert_wasm_compat_internal")  # with SIMD, and for browsers that have none


def write_page(bundle: Path, modules: Path, out: Path) -> None:
    """Write the page of a bundle of the formats litert and web, with the packages of a folder ``node_modules``."""
    out.mkdir(parents=True)
    for path in [*(HERE / "litert").iterdir(), *(bundle / name for name in ("page.js", "bundle.json", "model.tflite"))]:
        shutil.copyfile(path, out / path.name)
    core, shared = modules / "@litertjs" / "core", modules / "@litertjs" / "wasm-utils"
    text = (core / "dist" / "index.js").read_text("utf-8")
    (out / "litert.js").write_text(text.replace('"@litertjs/wasm-utils"', '"./wasm-utils.js"'), "utf-8")
    shutil.copyfile(shared / "dist" / "index.js", out / "wasm-utils.js")
    for name in RUNTIME:
        for ending in ("js", "wasm"):
            shutil.copyfile(core / "wasm" / f"{name}.{ending}", out / f"{name}.{ending}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--modules", type=Path, default=Path("node_modules"))
    options = parser.parse_args()
    write_page(options.bundle, options.modules, options.out)
