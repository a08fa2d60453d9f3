"""The training loop: every model, one way to train it, to stop it and to go on.

A run is a function of (config, data, seed, epochs): the order of the images depends on (seed, epoch) alone, the
noise on the model's counter, so that a run stopped after any step and resumed is bitwise the uninterrupted one.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from .. import program
from ..data import Dataset, Loader, Pipeline, SentenceDataset, TextDataset
from ..errors import DivergedError, OutOfMemoryError, UsageError
from . import artifacts, sentence_artifacts, text_artifacts
from .checks import ADVICE, Data, as_dataset, not_finite, require_finite_state
from .diverged import Recall
from .feedback import Controller, Feedback, KeepBest
from .folder import RunFolder
from .history import History, Row
from .interrupt import Interrupt
from .memory import advice, attempt, largest_batch
from .model import Trainable
from .record import identity, make_record, surroundings_changed
from .report import Interrupted, Plan, Reporter, Silent, StepReport
from .state import LoopState
from .watch import Watch

__all__ = ["train"]

CHECKPOINT_SECONDS = 30.0
_TOLD = 10  # times that a run on sentences, whose epochs are short, tells what it makes by now


def train(
    model: Trainable,
    images: np.ndarray | Data,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    test_images: np.ndarray | Data | None = None,
    test_labels: np.ndarray | None = None,
    pipeline: Pipeline | None = None,
    resume: bool = False,
    report: Reporter | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    device: str | None = None,
    compile: bool = False,
    feedback: Sequence[Controller] = (),
    doctor: bool = True,
) -> History:
    """Train `model` on `images` and return what happened, a row an epoch.

    images, test_images: (N, H, W), uint8 or floats in [0, 1], or a `minigen.data.Dataset`; for a language model the
        two parts of `minigen.data.split_text`, for a text VAE of `split_sentences`. With test
        images the model is evaluated on them after every epoch; they, or else the training images, are reconstructed.
    pipeline: changes each training image anew in each epoch (`minigen.data.Pipeline`, all but its `Clean`); kept in the
        run's record. The test images stay as they are. The models of minigen want pixels in [0, 1] and scale them
        themselves: no `Normalise` for these.
    seed: of the order of the images and of the noise of the sample pictures. The model has its own.
    out: the run folder (`folder.py`); None leaves nothing on disk.
    resume: go on with the run in `out`, whose state is loaded into `model`. `epochs` may be larger than it was.
    report: told of every step; `PlainReporter()` prints lines. None is silent.
    checkpoint_seconds: how often the state is saved within an epoch; 0 saves after every step.
    device: where to train, "cpu" or "gpu": the model is moved there and stays there. None trains it where it is.

    compile: run `model.train_step` as a program (`minigen.compile`): the same losses but for rounding, sooner on the
        cpu; on the gpu, where it becomes a CUDA graph, no speed has been measured yet.
    feedback: controllers (`minigen.feedback`), each of which moves a setting of the run by what is measured. What they
        did is in `feedback.csv` and drawn in `losses.png`; after the run the model has its own settings again.
    doctor: beside a GAN, look every 1000 steps for what goes wrong with GANs, tell the reporter and write it into the
        run folder (`watch.py`). It changes nothing in the run.

    Ctrl-C finishes the step, saves, and raises Interrupted (a KeyboardInterrupt). The first loss that is not
    finite raises DivergedError and leaves the last checkpoint as it was. Where the GPU's memory does not suffice, the
    state before the step is saved and OutOfMemoryError says which batch size would fit. Bad arguments raise UsageError,
    bad images DataError, a folder that cannot be written OutputError, all before the first step.
    """
    _require_kinds(model, images, out, pipeline, report, feedback)
    epochs, batch_size, seed = _whole("epochs", epochs), _whole("batch_size", batch_size), _whole("seed", seed)
    data = as_dataset(images, model, "images")
    if pipeline is not None:
        if not isinstance(data, Dataset):
            raise UsageError("pipeline is for images, and this is a text: leave it out")
        data = replace(data, pipeline=pipeline)
        data.batch(np.arange(1), 0)  # refuses now what does not fit the images
    test = None if test_images is None else as_dataset(test_images, model, "test_images", test_labels)
    loader = Loader(len(data), batch_size, seed)
    if epochs < 1:
        raise UsageError(f"epochs = {epochs}: expected at least 1")
    if resume and out is None:
        raise UsageError("resume needs the folder of the run to go on with: give out")
    if out is None and any(isinstance(controller, KeepBest) for controller in feedback):
        raise UsageError("KeepBest keeps a file in the run folder: give out")
    _move(model, device)
    controllers = Feedback(feedback, model, data, test)
    reporter = report if report is not None else Silent()
    state = LoopState(batches=len(loader))
    run = _Run(model, data, test, loader, epochs, seed, reporter, checkpoint_seconds, state, controllers, compile,
               doctor)
    try:
        with ExitStack() as stack:
            if out is not None:
                folder = RunFolder(Path(out))
                if not resume:
                    folder.require_free()
                stack.enter_context(folder.held())
                run.open(folder, resume)
            # A diverging run says so itself, and in one line.
            with Interrupt() as interrupt, np.errstate(all="ignore"):
                return run.go(interrupt)
    finally:
        controllers.detach()
        reporter.end()


def _move(model: Trainable, device: str | None) -> None:
    if device is None or device == getattr(model, "device", "cpu"):
        return
    if not hasattr(model, "to"):
        raise UsageError(f"device = {device!r}: a {model.kind} has no method `to(device)`; leave device out")
    model.to(device)


def _require_kinds(model: Any, images: Any, out: Any, pipeline: Any, report: Any, feedback: Any) -> None:
    """UsageError for what is easily given in place of these."""
    if isinstance(model, type) or not hasattr(model, "config"):
        raise UsageError(f"model = {model!r}: expected a model, such as mg.models.VAE()")
    if isinstance(images, tuple):
        raise UsageError(f"images is a tuple of {len(images)}: give the images alone (mnist gives images and labels)")
    if out is not None and not isinstance(out, str | os.PathLike):
        raise UsageError(f"out = {out!r}: expected the path of a folder")
    if pipeline is not None and not isinstance(pipeline, Pipeline):
        raise UsageError(f"pipeline = {pipeline!r}: expected a Pipeline, such as Pipeline(Shift(1), seed=0)")
    if report is not None and not hasattr(report, "end"):
        raise UsageError(f"report = {report!r}: expected a Reporter, such as PlainReporter()")
    if not isinstance(feedback, Sequence):
        raise UsageError(f"feedback is a {type(feedback).__name__}: expected a list of controllers")


def _whole(name: str, value: SupportsIndex) -> int:
    """Also of NumPy's integers, as Python's, which can be written down."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise UsageError(f"{name} = {value!r}: expected a whole number, such as 10") from error


@dataclass
class _Run:
    """One call of `train`: what its parts share."""

    model: Trainable
    data: Data
    test: Data | None
    loader: Loader
    epochs: int
    seed: int
    reporter: Reporter
    checkpoint_seconds: float
    state: LoopState
    feedback: Feedback
    compile: bool = False
    doctor: bool = False
    history: History = field(default_factory=History)
    folder: RunFolder | None = None
    watch: Watch | None = None
    recall: Recall = field(init=False)
    saved_step: int = -1
    saved_at: float = 0.0

    def __post_init__(self) -> None:
        self.recall = Recall(self.model, self.feedback)
        self.train_step = program.compile(self.model.train_step) if self.compile else self.model.train_step

    def open(self, folder: RunFolder, resume: bool) -> None:
        """Take possession of the run folder, and of the state in it."""
        batch_size, epochs = self.loader.batch_size, self.epochs
        record = make_record(
            self.model, self.data, self.test, epochs=epochs, batch_size=batch_size, seed=self.seed,
            compiled=self.compile, feedback=self.feedback.settings(),
        )
        self.folder = folder
        if not resume:
            folder.write_record(record)
            self.state.run = identity(record)
            return
        before = folder.read_record()
        self.state, self.history, notice = folder.restore(self.model, record)
        self.feedback.resume(self.state.feedback, folder.feedback, self.state.step)
        self.saved_step = self.history.begun = self.state.step
        if self.state.step > epochs * len(self.loader):
            raise UsageError(
                f"{folder.path} has been trained for {self.state.step / len(self.loader):g} epochs already, more than "
                f"the {epochs} asked for: give more epochs"
            )
        folder.require_writable()
        folder.write_record({**before, "training": record["training"]})
        for line in (notice, surroundings_changed(before, record)):
            if line:
                self.reporter.notice(line)

    def go(self, interrupt: Interrupt) -> History:
        """All steps that are left, then the last checkpoint and the pictures."""
        self._begin()
        total = self.epochs * len(self.loader)
        while self.state.step < total and not self.feedback.stopped:
            self._step()
            if self.state.step % len(self.loader) == 0:
                self._end_epoch()
            if interrupt.requested:
                break
            if self._due():
                self._save()
        self._finish()
        if self.state.step < total and not self.feedback.stopped:
            raise Interrupted(self.state.step, self.folder.path if self.folder else None)
        return self.history

    def _begin(self) -> None:
        self.saved_at = time.monotonic()
        self.reporter.begin(
            Plan(
                kind=self.model.kind,
                images=len(self.data),
                unit=self.data.unit,
                epochs=self.epochs,
                batches=len(self.loader),
                batch_size=self.loader.batch_size,
                first_step=self.state.step,
                out=self.folder.path if self.folder else None,
            )
        )
        if self.feedback.stopped:
            self.reporter.notice("a controller has ended this run (stop_early in feedback.csv): nothing is left to do")
        if self.doctor:
            run = (self.model, self.data, self.test, len(self.loader), self.reporter, self.folder)
            self.watch = Watch.beside(*run, step=self.state.step)
        if self.folder and self.state.step == 0:
            self._draw_epoch(self.folder, 0)

    def _step(self) -> None:
        self.recall.keep(self.state.step)
        epoch, _ = self.loader.position(self.state.step)
        batch = self._batch(self.state.step)
        start = time.perf_counter()
        failure: OutOfMemoryError | None = None
        try:
            losses = attempt(self.train_step, batch)
        except OutOfMemoryError as error:
            failure = error.with_traceback(None)  # its frames hold all arrays of the step that failed
        if failure is not None:
            raise self._out_of_memory(failure, batch)
        seconds = time.perf_counter() - start
        if name := not_finite(losses):
            raise self._diverged(name, losses[name])
        self.state.add(losses, len(batch), seconds)
        self.feedback.after_step(self.state.step, losses, len(batch))
        if self.watch:
            self.watch.step(self.state.step, losses)
        means, speed = self.state.means(), self.state.speed()
        self.reporter.step(StepReport(self.state.step, epoch + 1, means, speed))

    def _batch(self, step: int) -> np.ndarray:
        epoch, index = self.loader.position(step)
        return self.data.batch(self.loader.batch(epoch, index), epoch)

    def _diverged(self, loss: str, value: float) -> DivergedError:
        step = self.state.step
        where = self.recall.first_broken(self._batch(i) for i in range(self.recall.step, step + 1))
        return DivergedError(f"diverged at step {step + 1}: {loss} is {value}; {where}; {ADVICE}")

    def _out_of_memory(self, error: OutOfMemoryError, batch: np.ndarray) -> OutOfMemoryError:
        """Save the state before the step that failed, then find a batch that fits."""
        step = self.state.step
        try:
            self.recall.go_back(self._batch(i) for i in range(self.recall.step, step))
            self._save()
            fits = largest_batch(self.model, batch)
        except OutOfMemoryError:  # another process took memory since
            return OutOfMemoryError(f"step {step + 1}: {error}; the last checkpoint stays as it was")
        saved = str(self.folder.path) if self.folder else None
        return OutOfMemoryError(f"step {step + 1}: {error}; {advice(len(batch), fits, saved)}")

    def _end_epoch(self) -> None:
        """The history is written before the checkpoint: a crash in between leaves a row too many, not too few."""
        require_finite_state(self.model.training_state(), self.state.step)
        tested = self.model.evaluate(self.test.items) if self.test is not None else {}
        row = {
            "epoch": self.state.step // len(self.loader),
            "step": self.state.step,
            **self.state.means(),
            **{f"test_{name}": value for name, value in tested.items()},
            **self.feedback.measure(),
            "images_per_second": self.state.speed(),
            "seconds": self.state.seconds,
        }
        self.history.rows.append(row)
        self.state.end_epoch()
        said = self._controlled(row)
        if self.folder:
            self.history.write_csv(self.folder.history)
        self.reporter.epoch(row)
        for line in said:
            self.reporter.notice(line)
        if self.folder:
            self._draw_epoch(self.folder, int(row["epoch"]))

    def _controlled(self, row: Row) -> list[str]:
        """What the controllers make of an epoch; lines to tell."""
        if not self.feedback:
            return []
        said = self.feedback.after_epoch(row)
        self.recall.forget()
        if self.folder:
            self.feedback.log.append_to(self.folder.feedback)
            if self.feedback.improved(int(row["epoch"])):
                self.model.save(self.folder.best)
        return said

    def _draw_epoch(self, folder: RunFolder, epoch: int) -> None:
        """What the model makes by now: pictures go into the folder, text is told as well."""
        if isinstance(self.data, TextDataset):
            self.reporter.notice(text_artifacts.write_epoch(self.model, folder, epoch, self.seed))
        elif isinstance(self.shown, SentenceDataset):
            if epoch % max(1, self.epochs // _TOLD) == 0:
                self.reporter.notice(sentence_artifacts.write_epoch(self.model, folder, epoch, self.seed, self.shown))
        else:
            artifacts.draw_epoch(self.model, folder, epoch, self.seed)

    def _due(self) -> bool:
        """Whether it is time for a checkpoint: at the end of an epoch ten times as soon as within one."""
        patience = self.checkpoint_seconds
        if self.state.step % len(self.loader) == 0:
            patience /= 10
        return time.monotonic() - self.saved_at >= patience

    def _save(self) -> None:
        """A checkpoint, unless the state is broken: then the last good one stays."""
        if self.folder is None or self.saved_step == self.state.step:
            return
        require_finite_state(self.model.training_state(), self.state.step)
        self.state.feedback = self.feedback.state()
        if self.feedback:
            self.feedback.log.append_to(self.folder.feedback)
        self.folder.save(self.model, self.state)
        self.saved_step = self.state.step
        self.saved_at = time.monotonic()

    @property
    def shown(self) -> Data:
        """What is reconstructed."""
        return self.test if self.test is not None else self.data

    def _finish(self) -> None:
        self._save()
        if self.folder:
            draw: Any = _DRAW_RUN[self.data.unit]
            draw(self.model, self.folder, self.history, self.shown, self.seed, self.feedback)


_DRAW_RUN = {Dataset.unit: artifacts.draw_run, TextDataset.unit: text_artifacts.draw_run,
             SentenceDataset.unit: sentence_artifacts.draw_run}
