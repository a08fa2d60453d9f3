"""minigen data inspect: what is said, drawn, saved and refused."""

import numpy as np
import pytest
from PIL import Image

from minigen.cli import main
from minigen.data import load_images
from minigen.errors import DataError


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """command("inspect", ...) -> (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIGEN_TRACEBACK", raising=False)

    def run(*words):
        capsys.readouterr()
        code = main(["data", *map(str, words)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err

    return run


@pytest.fixture
def dirty(tmp_path, rng):
    """Floats in [-1, 1], one image with NaN, one constant, one twice, one label missing its class."""
    images = rng.uniform(-1, 1, (30, 6, 7))
    images[3, 0, 0], images[4], images[6] = np.nan, 0.5, images[5]
    np.savez(tmp_path / "dirty.npz", images=images, labels=np.arange(30) % 5)
    return tmp_path / "dirty.npz"


def test_inspect_says_what_is_wrong_and_saves_what_is_right(command, dirty, tmp_path):
    with pytest.raises(DataError, match="NaN or infinite"):
        load_images(dirty)
    code, out, err = command("inspect", "dirty.npz", "--classes", 4, "--clean", "clean.npz")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("dirty.npz: 30 images of 6 x 7, float64, -0.99") and "mean" in lines[0]
    assert lines[1:] == [
        "the scale is taken to be [-1, 1]", "labels: 0: 6, 1: 6, 2: 6, 3: 6, 4: 6", "22 of 30 images kept",
        "1 dropped, not finite: image 3", "1 dropped, constant: image 4",
        "5 dropped, mislabelled: image 9, 14, 19, 24, 29", "1 dropped, duplicate: image 6",
        "picture in dirty-inspection.png", "22 images in clean.npz",
    ]  # fmt: skip
    with Image.open(tmp_path / "dirty-inspection.png") as picture:
        assert picture.size == (1560, 1020)
    cleaned = load_images("clean.npz")
    with np.load(dirty) as came:
        images, labels = came["images"], came["labels"]
    rows = [i for i in range(30) if i not in (3, 4, 6) and i % 5 != 4]
    assert np.allclose(cleaned.images, (images[rows] + 1) / 2, atol=1e-6)
    assert np.array_equal(cleaned.labels, labels[rows])


def test_clean_overwrites_no_file(command, dirty, tmp_path):
    before = dirty.read_bytes()
    for name in ("dirty.npz", "../" + tmp_path.name + "/dirty.npz"):
        code, out, err = command("inspect", "dirty.npz", "--clean", name)
        assert code == 2 and out == ""
        assert f"--clean {name}: is the file that is inspected, and what is dropped would be lost: give another" in err
    (tmp_path / "other.npz").write_text("kept")
    code, _, err = command("inspect", "dirty.npz", "--clean", "other.npz")
    assert code == 2 and "--clean other.npz: exists, and what it holds would be lost: give another name" in err
    assert dirty.read_bytes() == before and (tmp_path / "other.npz").read_text() == "kept"


def test_inspect_bytes_without_labels(command, tmp_path, rng):
    np.save(tmp_path / "bytes.npy", rng.integers(0, 256, (12, 5, 5)).astype(np.uint8))
    code, out, _ = command("inspect", "bytes.npy", "--out", "picture.png", "--clean", "clean.npz")
    assert code == 0 and "12 images of 5 x 5, uint8, " in out and "labels: none" in out
    assert "12 of 12 images kept" in out
    assert (tmp_path / "picture.png").exists() and "scale" not in out
    assert np.array_equal(load_images("clean.npz").images, np.load(tmp_path / "bytes.npy"))


def test_inspect_labels_that_are_text(command, tmp_path, rng):
    np.savez(tmp_path / "a.npz", images=rng.uniform(0, 1, (5, 4, 4)), labels=np.array(list("abcde")))
    code, _, err = command("inspect", "a.npz")
    assert code == 3 and "cleaning leaves no image: 0 of 5 images kept; 5 dropped, mislabelled" in err


@pytest.mark.parametrize("change, message", [
    (lambda x: x, "elements are int64, expected uint8 in 0..255 or floats in [0, 1] or [-1, 1]; convert with .astype"),
    (lambda x: x > 128, "elements are bool, expected uint8"),
    (lambda x: (x > 128).astype(np.uint8), "uint8 but only 0 and 1; multiply by 255, or save as float32"),
    (lambda x: x + 0.5, "floats from 0.5 to 255.5, expected [0, 1] or [-1, 1]; divide by 255, or save as uint8"),
    (lambda x: np.where(x < 256, np.nan, x), "240 values are NaN or infinite; expected finite numbers: make the"),
    (lambda x: np.full(x.shape, 0.25), "every pixel is 0.25, nothing to learn"),
])
def test_inspect_describes_what_could_mean_two_things_and_saves_none_of_it(command, tmp_path, rng, change, message):
    images = rng.integers(0, 256, (15, 4, 4))
    images[0, 0, :2] = 0, 255
    np.save(tmp_path / "a.npy", change(images))
    code, out, err = command("inspect", "a.npy", "--clean", "clean.npz")
    assert code == 3 and err.startswith(f"minigen: error: a.npy: {message}") and err.count("\n") == 1, err
    assert out.startswith("a.npy: 15 images of 4 x 4, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy"]


def test_inspect_saves_labels_that_training_can_use(command, tmp_path, rng):
    labels = np.array([0, 1, np.nan, 2, 1.5])
    np.savez(tmp_path / "a.npz", images=rng.uniform(0, 1, (5, 4, 4)), labels=labels)
    code, out, _ = command("inspect", "a.npz", "--clean", "clean.npz")
    assert code == 0 and "2 dropped, mislabelled: image 2, 4" in out
    assert load_images("clean.npz").labels.tolist() == [0, 1, 2]
    np.savez(tmp_path / "b.npz", images=np.ones((5, 4, 4)), labels=np.eye(5))
    code, _, err = command("inspect", "b.npz")
    assert code == 3 and "b.npz, key 'labels': labels of shape (5, 5), expected (5,), one for each image" in err


def test_inspect_mnist_from_the_sample(command, tmp_path, monkeypatch):
    from minigen.data import Dataset
    from minigen.data.mnist import SAMPLE_FOLDER, read_split

    images, labels = read_split(SAMPLE_FOLDER, "test", sample=True)
    monkeypatch.setattr("minigen.data.load_mnist", lambda *_, **__: Dataset(images, labels, "mnist", "sample", "", ""))
    code, out, err = command("inspect", "mnist")
    assert (code, err) == (0, "") and "mnist: 2000 images of 28 x 28, uint8, 0 to 255" in out
    assert "2000 of 2000 images kept" in out and (tmp_path / "mnist-inspection.png").exists()


@pytest.mark.parametrize("code, message, words", [
    (3, "nope.npz: cannot be read", "inspect nope.npz"),
    (2, "neither 'mnist' nor a .npy or .npz file; did you mean 'mnist'?", "inspect mnits"),
    (2, "a.jpg: expected a name that ends in .png", "inspect dirty.npz --out a.jpg"),
    (2, "a.npy: expected a name that ends in .npz", "inspect dirty.npz --clean a.npy"),
    (2, "no such command 'inspekt'; did you mean 'inspect'?", "inspekt dirty.npz"),
    (2, "'0' is not a whole number, 1 or more", "inspect dirty.npz --classes 0"),
    (2, "missing argument 'mnist|FILE'", "inspect"),
    (6, "cannot be written", "inspect dirty.npz --out file/a.png"),
])
def test_what_inspect_refuses(command, dirty, tmp_path, code, message, words):
    (tmp_path / "file").write_text("in the way")
    came, _, err = command(*words.split())
    assert came == code and err.startswith("minigen: error: ") and message in err and err.count("\n") == 1, err
