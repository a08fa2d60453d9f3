"""What is installed is what git tracks."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_holds_what_git_tracks(tmp_path):
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path),
                    str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    committed = subprocess.run(["git", "ls-tree", "-r", "--name-only", "HEAD", "minigen", "kernels"], cwd=ROOT,
                               capture_output=True, text=True, check=True).stdout.splitlines()
    expected = {f"minigen/{name}" if name.startswith("kernels/") else name for name in committed
                if name != "minigen/kernels" and not name.endswith("README.md")
                and not name.startswith("kernels/pictures/")}
    assert packed == expected


def test_every_file_that_a_readme_names_exists():
    for readme in [path for folder in (".", "examples", "kernels", "tests") for path in ROOT.glob(f"{folder}/*.md")]:
        text = readme.read_text()
        assert "@@" not in text, readme
        for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text):
            assert (readme.parent / link).exists(), f"{readme.name} links to {link}"
