"""What a run was made of: the content of config.json, and what may differ when a run goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from ..errors import CheckpointError, DataError, UsageError
from ..threads import get_threads, processors
from .checks import Data
from .model import Trainable

__all__ = [
    "Record", "checked_record", "identity", "make_record", "require_same_kind", "require_same_run",
    "surroundings_changed",
]  # fmt: skip

Record = dict[str, Any]


def make_record(
    model: Trainable, data: Data, test: Data | None, *, epochs: int, batch_size: int, seed: int, compiled: bool,
    feedback: list[dict[str, Any]],
) -> Record:
    """All that decides the result, ready for JSON. No paths and no names of machines or users."""
    record = {
        "model": {"kind": model.kind, "config": _listed(dataclasses.asdict(model.config))},
        "training": {"epochs": epochs, "batch_size": batch_size, "seed": seed, "compiled": compiled},
        "data": _data(data),
        "test_data": _data(test) if test is not None else None,
        "versions": {name: _version(name) for name in ("minigen", "numpy", "numba")},
        "machine": {**_machine(), "device": getattr(model, "device", "cpu")},
    }
    return {**record, "feedback": feedback} if feedback else record


def identity(record: Record) -> str:
    """SHA-256 (hex) of what a run keeps when it goes on: the model, the order of the images, and the images."""
    training = record["training"]
    kept = [record["model"], training["batch_size"], training["seed"], record["data"]["sha256"]]
    kept += [record["data"]["pipeline"]] if "pipeline" in record["data"] else []
    kept += [record["feedback"]] if "feedback" in record else []
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def checked_record(value: Any) -> Record:
    """`value`, if it has the form of what `make_record` gives; ValueError otherwise."""
    record: Record = _checked(value, _FORM, "the record")
    if record.get("test_data") is not None:
        _checked(record["test_data"], _DATA_FORM, "test_data")
    return record


_DATA_FORM: Record = {"name": str, "source": str, "count": int, "sha256": str}
_FORM: Record = {
    "model": {"kind": str, "config": dict},
    "training": {"epochs": int, "batch_size": int, "seed": int},
    "data": _DATA_FORM,
    "versions": dict,
    "machine": dict,
}


def _checked(value: Any, form: Any, name: str) -> Any:
    """`value`, if it is of the type `form`, or has all the keys of the dict `form` with values of these forms."""
    kind = dict if isinstance(form, dict) else form
    if type(value) is not kind:
        raise ValueError(f"{name} is {value!r}, expected {_WORDS[kind]}")
    least = 0 if name == "seed" else 1
    if isinstance(value, int) and value < least:
        raise ValueError(f"{name} is {value}, expected {least} or more")
    for key, part in form.items() if isinstance(form, dict) else ():
        if key not in value:
            raise ValueError(f"{name} lacks {key!r}")
        _checked(value[key], part, key)
    return value


_WORDS = {str: "text", int: "a whole number", dict: "names with values"}


def _listed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, which is how they come back from JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}


def _data(data: Data) -> Record:
    return {**data.record(), "unit": data.unit, "shape": list(data.items.shape[1:])}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout


def _machine() -> Record:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": processors(),
        "threads": get_threads(),
    }


def require_same_run(saved: Record, new: Record, where: str) -> None:
    """Raise unless `new` continues the run `saved`: the same model, seed, batches and data; epochs may differ."""
    require_same_kind(saved, new["model"]["kind"], where)
    _require_same_training(saved, new, where)
    _require_same_settings(saved["model"]["config"], new["model"]["config"], where)
    _require_same_data(saved, new, where)
    _require_same_pipeline(saved, new, where)


def _require_same_training(saved: Record, new: Record, where: str) -> None:
    for name in ("batch_size", "seed"):
        there, here = saved["training"][name], new["training"][name]
        if there != here:
            what = name.replace("_", " ")
            raise UsageError(
                f"{where} was trained with {what} {there}, this call has {here}: go on with {there}, or start a new "
                f"run in another folder"
            )
    there, here = saved.get("feedback", []), new.get("feedback", [])
    if there != here:
        raise UsageError(
            f"{where} was trained with the feedback {_spelled(there)}, this call has {_spelled(here)}: give the same, "
            f"or start a new run in another folder"
        )


def _require_same_data(saved: Record, new: Record, where: str) -> None:
    for key, what in (("data", "training"), ("test_data", "test")):
        there, here = saved.get(key), new[key]
        if (there and there["sha256"]) != (here and here["sha256"]):
            raise DataError(
                f"{where} has as its {what} data {_named(there)}, this call {_named(here)}: go on with the same, or "
                f"start a new run in another folder"
            )


def _require_same_pipeline(saved: Record, new: Record, where: str) -> None:
    there, here = saved["data"].get("pipeline"), new["data"].get("pipeline")
    if there != here:
        raise DataError(
            f"{where} was trained through the pipeline {_spelled(there)}, this call has {_spelled(here)}: give the "
            f"same (minigen.data.Pipeline.of what its config.json has there, or no --augment), or start a new run in "
            f"another folder"
        )


def _spelled(record: Any) -> str:
    """A part of a record in words."""
    if isinstance(record, dict):
        return f"({', '.join(f'{name} {_spelled(value)}' for name, value in record.items())})"
    if isinstance(record, list) and record:
        return f"[{', '.join(map(_spelled, record))}]"
    return "none" if record in (None, []) else str(record)


def _named(data: Record | None) -> str:
    if not data:
        return "none"
    count = f"{data['count']} {data.get('unit', 'images')}"
    return f"{data['name']} ({count}, {data['source']}, SHA-256 {data['sha256'][:8]}...)"


def require_same_kind(saved: Record, kind: str, where: str) -> None:
    """Raise CheckpointError unless the run `saved` is of a model of this kind."""
    if saved["model"]["kind"] != kind:
        raise CheckpointError(f"{where} holds a {saved['model']['kind']}, not a {kind}: name another folder")


def _require_same_settings(there: Record, here: Record, where: str) -> None:
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            values = [shorten(str(settings.get(name)), 40) for settings in (there, here)]
            raise CheckpointError(
                f"{where} holds another architecture or setting: {name} is {values[0]} there, "
                f"{values[1]} in this call: go on without changing it, or start a new run in another folder"
            )


def surroundings_changed(saved: Record, new: Record) -> str | None:
    """A line for the user where the continuation need not be bitwise that of the uninterrupted run."""
    changeable = (("versions", ("minigen", "numpy", "numba")), ("machine", ("platform", "device")),
                  ("training", ("compiled",)))  # fmt: skip
    for part, names in changeable:
        for name in names:
            there, here = saved[part].get(name, new[part].get(name)), new[part].get(name)
            if there != here:
                return (
                    f"note: the run began with {name} {there}, goes on with {here}: it continues, but need not be "
                    f"bitwise what it would have been"
                )
    return None
