"""Builds what a release consists of: wheel, sdist and the injection zip, the same bytes from the same tree.

`python -m tests.release.build [OUT]`. The zip is a door of its own: PYTHONPATH=dify-otel.zip. It has to fit into a
Kubernetes ConfigMap.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bootstrap/dify_otel", "instrumentors/dify_otel_instrumentors")
SITECUSTOMIZE = "bootstrap/dify_otel/inject/sitecustomize.py"
EPOCH = (2020, 1, 1, 0, 0, 0)
ZIP_MAX = 1_048_576
"""Bytes a ConfigMap may hold."""


def injection_zip(out: Path, root: Path = ROOT) -> Path:
    """`dify-otel.zip`: sitecustomize at its root, the two packages beside it. Times and order are fixed."""
    target = out / "dify-otel.zip"
    files = {"sitecustomize.py": root / SITECUSTOMIZE}
    for package in (root / name for name in PACKAGES):
        for path in sorted(package.rglob("*")):
            inside = path.relative_to(package.parent)
            if path.is_file() and "__pycache__" not in path.parts and "inject" not in inside.parts:
                files[str(inside)] = path
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name].read_bytes())
    size = target.stat().st_size
    if size >= ZIP_MAX:
        raise SystemExit(f"{target.name} has {size} bytes, more than a ConfigMap holds ({ZIP_MAX})")
    return target


def main(out: Path, root: Path = ROOT) -> None:
    """Build everything of the checkout `root` into `out` and say what was made."""
    out.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800"}
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(out)], cwd=root, env=environment, check=True)
    injection_zip(out, root)
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size:>9}  {path.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist")
