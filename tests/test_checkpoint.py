"""Checkpoints: what is written is read back, damage is an error, and a crash leaves the old file valid."""

import contextlib
import json
import os

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigen import checkpoint
from minigen.errors import CheckpointError, OutputError, UsageError
from minigen.models import load as load_model

ARRAYS = {
    "generator.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "generator.0.bias": np.array([0.5, -0.0, np.inf]),
    "steps": np.array(7, dtype=np.int64),
    "seed": np.array([2**64 - 1], dtype=np.uint64),
    "frozen": np.array([True, False, True]),
    "nothing": np.zeros((0, 4), dtype=np.float32),
}
METADATA = {"config": json.dumps({"latent": 20}), "kind": "gan", "note": "Kärnten \u2028 ∂L/∂x"}
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype and one[name].shape == other[name].shape, name
        assert one[name].tobytes() == other[name].tobytes(), name


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, ARRAYS, METADATA)
    return path


def test_what_is_saved_comes_back_writable(path):
    arrays, metadata = checkpoint.load(path)
    same(arrays, ARRAYS)
    assert metadata == METADATA
    for array in arrays.values():
        assert array.flags.writeable and array.flags.owndata and array.flags.aligned


def test_it_is_an_ordinary_safetensors_file(path):
    same(safetensors.numpy.load_file(path), ARRAYS)
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert metadata.pop("minigen.format") == "1"
    assert len(metadata.pop("minigen.sha256")) == 64
    assert metadata == METADATA


def test_equal_content_gives_equal_bytes_in_any_order(path, tmp_path):
    turned = dict(reversed(ARRAYS.items()))
    checkpoint.save(tmp_path / "other", turned, dict(reversed(METADATA.items())))
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_strided_and_big_endian_arrays_are_stored_by_value(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    arrays = {"t": base.T, "s": base[::2, ::-3], "f": np.asfortranarray(base), "b": base.astype(">f4")}
    checkpoint.save(tmp_path / "a", arrays)
    loaded, _ = checkpoint.load(tmp_path / "a")
    for name, array in arrays.items():
        assert np.array_equal(loaded[name], array) and loaded[name].flags.c_contiguous


@pytest.fixture
def no_fsync(monkeypatch):
    """Hundreds of forced writes would take seconds on a slow disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@FUZZ
@given(
    arrays=st.dictionaries(
        st.text(max_size=8).filter(lambda t: t != "__metadata__" and t.isprintable()),
        hnp.arrays(
            st.sampled_from(["f4", "f8", "i8", "u1", "u8", "?"]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        ),
        max_size=4,
    ),
    metadata=st.dictionaries(st.text("aé\"\\\n€", max_size=4), st.text("aé\"\\\n€", max_size=9), max_size=3),
)
def test_round_trip_of_anything(no_fsync, tmp_path, arrays, metadata):
    checkpoint.save(tmp_path / "any", arrays, metadata)
    loaded, read = checkpoint.load(tmp_path / "any")
    same(loaded, arrays)
    assert read == metadata


@FUZZ
@given(data=st.data())
def test_any_changed_byte_is_an_error(path, data):
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    damaged = path.with_name("damaged")
    damaged.write_bytes(raw)
    with pytest.raises(CheckpointError, match="damaged"):  # the name, or the word in the message
        checkpoint.load(damaged)


def test_every_byte_of_the_header_matters(tmp_path):
    """Also those that leave the JSON equal: a tab for a space, \\u00E4 for \\u00e4."""
    path = tmp_path / "small"
    checkpoint.save(path, {"w": np.zeros(1, np.float32)}, {"m": "ä"})
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    assert raw[end - 1 : end] == b" " and rb"\u00e4" in raw
    for place in range(end):
        other = b"\t" if raw[place : place + 1] == b" " else bytes([raw[place] ^ 0x20])
        path.write_bytes(raw[:place] + other + raw[place + 1 :])
        with pytest.raises(CheckpointError):
            checkpoint.load(path)


@FUZZ
@given(part=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_an_error(path, part):
    raw = path.read_bytes()
    short = path.with_name("short")
    short.write_bytes(raw[: int(part * len(raw))])
    with pytest.raises(CheckpointError):
        checkpoint.load(short)


def test_bytes_at_the_end_are_an_error(path):
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="damaged checkpoint"):
        checkpoint.load(path)


def rewrite_header(path, change):
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = change(raw[8:end].decode())
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + raw[end:])


def test_duplicate_names_are_refused(path):
    rewrite_header(path, lambda text: text.replace('"nothing":', '"nothing":{"dtype":"F32","shape":[0],'
                                                   '"data_offsets":[0,0]},"nothing":'))  # fmt: skip
    with pytest.raises(CheckpointError, match="a name occurs twice"):
        checkpoint.load(path)


def test_a_forged_value_is_found_by_the_hash(path):
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="does not match the SHA-256"):
        checkpoint.load(path)


def test_files_of_others_are_refused(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(3, np.float32)}, foreign)
    with pytest.raises(CheckpointError, match="not a minigen checkpoint but a safetensors file without the tag"):
        checkpoint.load(foreign)
    for content in (b"", b"\x80\x04\x95pickle!", b"PK\x03\x04" + bytes(100), b"\xff" * 64):
        foreign.write_bytes(content)
        with pytest.raises(CheckpointError, match="do not begin like a safetensors file"):
            checkpoint.load(foreign)
    for header in (b"[1, 2]  ", b"not json", b'{"__metadata__": 3}', b'{"__metadata__":{"a":1}}', b"\xff" * 8):
        foreign.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(CheckpointError, match="damaged checkpoint"):
            checkpoint.load(foreign)


def test_a_deeply_nested_header_is_an_error_and_not_a_crash(tmp_path):
    header = b'{"a":' * 100_000
    (tmp_path / "deep").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="damaged checkpoint"):
        checkpoint.load(tmp_path / "deep")


def test_missing_files_and_folders_and_newer_formats(path, tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "none")
    with pytest.raises(CheckpointError, match="not a file|cannot be read"):
        checkpoint.load(tmp_path)
    rewrite_header(path, lambda text: text.replace('"minigen.format":"1"', '"minigen.format":"2"'))
    with pytest.raises(CheckpointError, match="format '2', this minigen reads '1'; install a newer one"):
        checkpoint.load(path)


def test_what_cannot_be_stored_is_refused(tmp_path):
    for arrays, metadata, message in (
        ({"o": np.array([object()])}, {}, "'o' has elements of object"),
        ({"c": np.zeros(2, complex)}, {}, "'c' has elements of complex128"),
        ({"__metadata__": np.zeros(1)}, {}, "cannot be the name"),
        ({}, {"minigen.format": "9"}, "expected strings"),
        ({}, {"epochs": 3}, "expected strings"),
        ({}, {"long": "x" * (1 << 24)}, "shorten the metadata"),
    ):
        with pytest.raises(UsageError, match=message):
            checkpoint.save(tmp_path / "bad", arrays, metadata)
    assert not list(tmp_path.iterdir())


def numbered(value):
    return {"w": np.full(3, value, np.float32)}


def test_one_previous_file_is_kept_and_serves_when_asked(tmp_path):
    path = tmp_path / "training.safetensors"
    for value in range(3):
        checkpoint.save(path, numbered(value), {}, keep_previous=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["training.previous.safetensors", "training.safetensors"]
    good = checkpoint.load_or_previous(path)
    assert good.notice is None and good.arrays["w"][0] == 2
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    recovered = checkpoint.load_or_previous(path)
    assert recovered.arrays["w"][0] == 1
    assert "damaged checkpoint" in recovered.notice
    assert recovered.notice.endswith("going on from the one before it, training.previous.safetensors")
    path.unlink()
    assert checkpoint.load_or_previous(path).arrays["w"][0] == 1
    checkpoint.previous_path(path).write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match="no such checkpoint.*neither does the one kept before it serve"):
        checkpoint.load_or_previous(path)
    checkpoint.previous_path(path).unlink()
    with pytest.raises(CheckpointError, match="no such checkpoint; check the name$"):
        checkpoint.load_or_previous(path)


@pytest.mark.parametrize("call", ["fsync", "replace", "link"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_crash_while_writing_leaves_a_valid_checkpoint(tmp_path, monkeypatch, call, keep):
    path = tmp_path / "training.safetensors"
    checkpoint.save(path, numbered(1), keep_previous=keep)
    real = getattr(os, call)
    for at in (1, 2):
        calls = iter([False] * (at - 1) + [True] + [False] * 9)

        def crash(*arguments, calls=calls, **options):
            if next(calls):
                raise KeyboardInterrupt  # what no `except OSError` catches, as a lost power supply
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, crash)
            with contextlib.suppress(KeyboardInterrupt):
                checkpoint.save(path, numbered(2), keep_previous=keep)
        arrays, _ = checkpoint.load(path)  # the old or the new one, whole
        assert arrays["w"][0] in (1, 2)
    checkpoint.save(path, numbered(3), keep_previous=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["training.previous.safetensors", "training.safetensors"]
    assert checkpoint.load(checkpoint.previous_path(path))[0]["w"][0] in (1, 2)


def test_a_full_disk_is_an_output_error_and_leaves_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, numbered(1))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\); free space"):
        checkpoint.save(path, numbered(2))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert checkpoint.load(path)[0]["w"][0] == 1


def test_without_hard_links_the_previous_one_is_kept_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, numbered(1), keep_previous=True)
    checkpoint.save(path, numbered(2), keep_previous=True)
    assert checkpoint.load(path)[0]["w"][0] == 2
    assert checkpoint.load(checkpoint.previous_path(path))[0]["w"][0] == 1


def test_the_folder_is_made_and_a_file_in_its_place_is_an_error(tmp_path):
    checkpoint.save(tmp_path / "new" / "deep" / "a.safetensors", ARRAYS)
    same(checkpoint.load(tmp_path / "new" / "deep" / "a.safetensors")[0], ARRAYS)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        checkpoint.save(tmp_path / "file" / "a.safetensors", ARRAYS)


@pytest.mark.parametrize(
    "metadata, message",
    [
        ({}, "holds no model: its kind is None"),
        ({"kind": "vae"}, "its config cannot be read .'config'."),
        ({"kind": "vae", "config": "{"}, "its config cannot be read .Expecting property name"),
        ({"kind": "vae", "config": "[]"}, "its config makes no vae"),
        ({"kind": "vae", "config": "[" * 100_000}, "its config cannot be read"),
        ({"kind": "vae", "config": '{"colour": 3}'}, "its config makes no vae .VAE has no setting 'colour'"),
        ({"kind": "gan", "config": '{"latent": "two"}'}, "its config makes no gan .latent = 'two'"),
        ({"kind": "gan", "config": '{"seed": -1}'}, "its config makes no gan"),
    ],
)
def test_a_sound_file_whose_config_makes_no_model(tmp_path, metadata, message):
    checkpoint.save(tmp_path / "m.safetensors", ARRAYS, metadata)
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "m.safetensors")
