"""The feature net: what it was trained to, what is shipped, and what is refused."""

import json

import numpy as np
import pytest

from minigen import Tensor, checkpoint, gradcheck, metrics
from minigen.data import load_mnist
from minigen.data.mnist import SAMPLE_FOLDER, read_split
from minigen.errors import CheckpointError, DataError, ShapeError, UsageError
from minigen.metrics import Classifier, ClassifierConfig, fit_classifier, load_classifier, save_classifier, shipped
from minigen.metrics.fit import accuracy, cross_entropy


@pytest.fixture(scope="module")
def digits():
    """The embedded sample's test images, every fifth of MNIST's."""
    return read_split(SAMPLE_FOLDER, "test", sample=True)


def test_the_shipped_net_knows_digits(digits):
    """99.19 % of the full test set (`minigen features`); two thousand of its images here, each worth 0.05 %."""
    net = metrics.mnist_classifier()
    assert accuracy(net, *digits) > 0.985
    features, probabilities = net.describe_images(digits[0])
    assert features.shape == (2000, 128) and features.dtype == np.float32 and features.min() >= 0
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert net is metrics.mnist_classifier(), "loaded once"


def test_the_whole_test_set_where_it_is():
    """Skipped where the full set is not in MINIGEN_DATA or the cache."""
    test = load_mnist("test", download=False)
    if len(test) < 10_000:
        pytest.skip("the full MNIST test set is not here")
    assert accuracy(metrics.mnist_classifier(), test.images, test.labels) >= 0.985


def test_features_do_not_depend_on_the_batch_and_bytes_equal_floats(digits, monkeypatch):
    net = metrics.mnist_classifier()
    images = digits[0][:150]
    features, probabilities = net.describe_images(images)
    monkeypatch.setattr("minigen.metrics.classifier.CHUNK", 40)
    again = net.describe_images(images.astype(np.float32) / np.float32(255))
    assert np.allclose(features, again[0], atol=1e-4) and np.allclose(probabilities, again[1], atol=1e-4)


@pytest.mark.parametrize("change", [lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), lambda raw: raw[:500]])
def test_a_damaged_shipped_net_is_refused(tmp_path, monkeypatch, change):
    path = tmp_path / "mnist.safetensors"
    path.write_bytes(change(shipped.MNIST_FILE.read_bytes()))
    monkeypatch.setattr(shipped, "MNIST_FILE", path)
    with pytest.raises(CheckpointError, match="damaged, its SHA-256 is .*, expected .*; install minigen anew"):
        shipped.mnist_classifier.__wrapped__()
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        shipped.mnist_classifier.__wrapped__()


def stripes(rng, count):
    """Images whose class is the row that is bright."""
    labels = rng.integers(0, 3, count).astype(np.uint8)
    images = rng.integers(0, 90, (count, 9, 7)).astype(np.uint8)
    for row in range(3):
        images[labels == row, 3 * row:3 * row + 3] += 130
    return images, labels


def test_a_net_can_be_trained_on_any_labelled_set(rng, tmp_path):
    told = []
    held_out = stripes(rng, 200)
    net = fit_classifier(*stripes(rng, 600), held_out, hidden=(32, 8), epochs=20, report=told.append)
    assert [p.epoch for p in told] == list(range(1, 21)) and told[-1].loss < 0.7 * told[0].loss
    assert told[-1].accuracy == accuracy(net, *held_out) > 0.9
    save_classifier(tmp_path / "net.safetensors", net, {"data": "stripes"})
    again, notes = load_classifier(tmp_path / "net.safetensors")
    assert notes == {"data": "stripes"} and again.config == net.config
    for got, right in zip(again.describe_images(held_out[0]), net.describe_images(held_out[0]), strict=True):
        assert got.tobytes() == right.tobytes(), "the net was rounded as it was saved"


def test_training_is_a_function_of_the_seed(rng):
    data = stripes(rng, 60)
    first, same, other = (fit_classifier(*data, data, hidden=(8,), epochs=1, seed=s).state_dict() for s in (0, 0, 1))
    assert all(first[name].tobytes() == same[name].tobytes() for name in first)
    assert first["head.weight"].tobytes() != other["head.weight"].tobytes()


def test_cross_entropy_and_its_gradient(rng):
    logits, labels = rng.standard_normal((6, 4)), np.array([0, 3, 1, 1, 2, 0])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert cross_entropy(Tensor(logits), labels).item() == pytest.approx(-np.log(p[np.arange(6), labels]).mean())
    gradcheck(lambda t: cross_entropy(t, labels), logits)


@pytest.mark.parametrize("labels, message", [
    (np.zeros(12, np.uint8), "labels are 0: a feature net needs two classes"),
    (np.arange(12) % 3 + 1, "numbered 0, 1, 2 ... without a gap"),
    (np.arange(12) * 0.5, "one whole number for each"),
    (np.arange(11) % 2, "for 12 images"),
])
def test_labels_that_make_no_classes(rng, labels, message):
    images = np.zeros((12, 4, 4), np.uint8)
    with pytest.raises(DataError, match=message):
        fit_classifier(images, labels, (images, labels))


def test_settings_and_images_that_fit_nothing():
    with pytest.raises(UsageError, match="epochs = 0"):
        fit_classifier(np.zeros((4, 2, 2), np.uint8), np.arange(4) % 2, (None, None), epochs=0)
    for config in (ClassifierConfig(classes=1), ClassifierConfig(hidden=()), ClassifierConfig(hidden=(0,))):
        with pytest.raises(UsageError, match="a classifier needs two classes"):
            Classifier(config)
    net = metrics.mnist_classifier()
    assert [part.shape for part in net.describe_images(np.zeros((0, 28, 28), np.uint8))] == [(0, 128), (0, 10)]
    with pytest.raises(ShapeError, match="was trained on .N, 28, 28.; train one for your images with `minigen feat"):
        net.describe_images(np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(DataError, match="1 pixels are NaN or infinite"):
        net.describe_images(np.where(np.arange(784).reshape(1, 28, 28) == 5, np.nan, 0).astype(np.float32))


def test_files_that_hold_no_feature_net(tmp_path):
    path = tmp_path / "net.safetensors"
    net = Classifier(ClassifierConfig((2, 3), 2, (4,)))
    net.head.bias.data[0] = 1e6
    with pytest.raises(DataError, match="head.bias has values beyond float16"):
        save_classifier(path, net, {})
    checkpoint.save(path, {"a": np.zeros(3)}, {"kind": "vae"})
    with pytest.raises(CheckpointError, match="holds no feature net: its kind is 'vae'"):
        load_classifier(path)
    for config in ("{", "[]", "3", json.dumps({"colour": 1}), json.dumps({"hidden": []}), json.dumps({"hidden": "ab"})):
        checkpoint.save(path, {"a": np.zeros(3, np.float16)}, {"kind": "classifier", "config": config})
        with pytest.raises(CheckpointError):
            load_classifier(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_classifier(tmp_path / "nowhere.safetensors")
