"""A run through a pipeline: recorded, resumed bitwise, and not mistaken for one without."""

import json

import numpy as np
import pytest
from fake_model import FakeModel, pictures

from minigen.data import Noise, Pipeline, Shift, permutation
from minigen.errors import DataError
from minigen.training import train

PIPELINE = Pipeline(Shift(1), Noise(0.2), seed=4)


class Seen(FakeModel):
    """Remembers its batches."""

    def train_step(self, images):
        self.__dict__.setdefault("batches", []).append(images)
        return super().train_step(images)


def test_each_epoch_sees_each_image_changed_anew():
    images, model = pictures(), Seen()
    train(model, images, epochs=2, batch_size=len(images), pipeline=PIPELINE)
    for epoch, batch in enumerate(model.batches):
        order = permutation(len(images), 0, epoch)
        assert batch.tobytes() == PIPELINE(images[order], order, epoch).tobytes()
    assert not np.array_equal(np.sort(model.batches[0], axis=None), np.sort(model.batches[1], axis=None))


def test_a_resumed_run_is_the_uninterrupted_one_and_the_record_rebuilds_the_pipeline(tmp_path):
    options = {"batch_size": 16, "pipeline": PIPELINE}
    train(whole := FakeModel(), pictures(), epochs=4, out=tmp_path / "whole", **options)
    train(FakeModel(), pictures(), epochs=2, out=tmp_path / "run", **options)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    again = Pipeline.of(record["data"]["pipeline"])
    options["pipeline"] = again
    train(resumed := FakeModel(), pictures(), epochs=4, out=tmp_path / "run", resume=True, **options)
    assert resumed.mean.tobytes() == whole.mean.tobytes()


def test_another_pipeline_is_not_resumed_on(tmp_path):
    train(FakeModel(), pictures(), epochs=1, batch_size=16, out=tmp_path / "with", pipeline=PIPELINE)
    train(FakeModel(), pictures(), epochs=1, batch_size=16, out=tmp_path / "without")
    for folder, other in (("with", None), ("with", Pipeline(Shift(2), seed=4)), ("without", PIPELINE)):
        with pytest.raises(DataError, match="was trained through the pipeline .*, this call has"):
            train(FakeModel(), pictures(), epochs=2, batch_size=16, out=tmp_path / folder, resume=True, pipeline=other)
