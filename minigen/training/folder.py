"""The run folder: what lies where, and who may write into it.

    config.json                       what the run was made of (`record.py`)
    history.csv                       a row an epoch (`history.py`)
    signs.csv, diagnosis.txt          of a GAN: what the doctor measured (`watch.py`) and found (`diagnosis.py`)
    model.safetensors                 weights and config: `minigen.load` reads it
    best.safetensors                  the same of the best epoch (`feedback.KeepBest`)
    feedback.csv                      a row for each action of a controller (`feedback/`)
    training.safetensors              all that an exact continuation needs; one previous is kept beside it
    samples/epoch_0001.png ...        the same noise after every epoch; 0000 is before training
    samples.png, samples.gif          the last of them; all of them in motion
    losses.png                        the history drawn
    samples.txt, attention.png,
    next_character.png                for a language model, whose samples/ are .txt as well
    reconstructions.txt,
    interpolations.txt                for a text VAE, whose samples/ are .txt too
    reconstructions.png               for a model that reconstructs
    manifold.png, latent.png          for a latent of two dimensions
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import checkpoint
from ..checkpoint import Recovered, atomic_file
from ..errors import CheckpointError, OutputError, UsageError
from .history import History
from .model import Trainable
from .record import Record, checked_record, identity, require_same_run
from .state import LoopState

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run, and the reading and writing of its state."""

    path: Path

    @property
    def config(self) -> Path:
        """What the run was made of."""
        return self.path / "config.json"

    @property
    def history(self) -> Path:
        """A row an epoch."""
        return self.path / "history.csv"

    @property
    def signs(self) -> Path:
        """A row a look of the doctor."""
        return self.path / "signs.csv"

    @property
    def diagnosis(self) -> Path:
        """What is the matter with the run, in words."""
        return self.path / "diagnosis.txt"

    @property
    def model(self) -> Path:
        """Weights and config."""
        return self.path / "model.safetensors"

    @property
    def best(self) -> Path:
        """Weights and config of the best epoch."""
        return self.path / "best.safetensors"

    @property
    def feedback(self) -> Path:
        """What controllers did."""
        return self.path / "feedback.csv"

    @property
    def training(self) -> Path:
        """The whole state."""
        return self.path / "training.safetensors"

    def sample(self, epoch: int) -> Path:
        """The samples after `epoch` epochs."""
        return self.path / "samples" / f"epoch_{epoch:04d}.png"

    def holds_run(self) -> bool:
        """Whether a run has begun here."""
        return any(path.exists() for path in (self.config, self.history, self.model, self.training))

    def holds_checkpoint(self) -> bool:
        """Whether there is something to resume."""
        return any(path.exists() for path in (self.training, checkpoint.previous_path(self.training)))

    def require_free(self) -> None:
        """Raise unless a new run can begin here: OutputError, or UsageError where there is one already."""
        if self.holds_run():
            what, resume = "holds a run already", "resume it (--resume), "
            if not self.holds_checkpoint():
                what, resume = "holds a run that stopped before its first checkpoint", ""
            raise UsageError(f"{self.path} {what}: {resume}name another folder (--out), or delete it")
        self.require_writable()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within it no other process may train in this folder, if it exists: two would overwrite each other's files.

        UsageError where another one does already. Where the system knows no such locks, nothing is asked.
        """
        with contextlib.ExitStack() as stack:
            if fcntl is not None and self.path.is_dir():
                handle = os.open(self.path, os.O_RDONLY)
                stack.callback(os.close, handle)  # which lets go as well
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UsageError(
                        f"{self.path}: another process trains in it; wait for its end, or name another folder (--out)"
                    ) from None
                except OSError:  # a file system without locks
                    pass
            yield

    def require_writable(self) -> None:
        """Raise OutputError unless files can be made here: known now, not after an hour of training."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b"x")
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written ({error.strerror or error}); name another folder with --out"
            ) from error

    def write_record(self, record: Record) -> None:
        """Write config.json."""
        with atomic_file(self.config) as stream:
            stream.write((json.dumps(record, indent=2) + "\n").encode())

    def read_record(self) -> Record:
        """Read config.json; CheckpointError where it is missing or damaged."""
        try:
            return checked_record(json.loads(self.config.read_text("utf-8")))
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: no run to be found, its config.json cannot be read ({error.strerror}); check the name"
            ) from error
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.config}: damaged ({error}); restore it, or train anew") from error

    def save(self, model: Trainable, state: LoopState) -> None:
        """A checkpoint: the training state first, since the model file can be made from it."""
        arrays = model.training_state()
        checkpoint.save(self.training, {**arrays, **state.arrays()}, state.metadata(), keep_previous=True)
        model.save(self.model)

    def restore(self, model: Trainable, record: Record) -> tuple[LoopState, History, str | None]:
        """Put `model` where the run stopped; also the loop's state, the history until there, perhaps a notice.

        Raises CheckpointError, UsageError or DataError unless `record` is that of the run.
        """
        saved = self.read_record()
        require_same_run(saved, record, str(self.path))
        recovered = self._recover()
        state = LoopState.from_checkpoint(recovered.arrays, recovered.metadata, self.training)
        if state.run != identity(saved):
            raise CheckpointError(
                f"{self.training}: the state of another run than the one in {self.config.name}, which has another "
                f"model, batch size, seed or data; put the right file back, or train anew"
            )
        model.load_training_state(LoopState.without(recovered.arrays))
        history = History.read_csv(self.history).until(state.step) if self.history.exists() else History()
        if len(history) != state.step // state.batches:
            raise CheckpointError(
                f"{self.history}: {len(history)} epochs until step {state.step}, expected "
                f"{state.step // state.batches}; restore the file, or train anew"
            )
        return state, history, recovered.notice

    def _recover(self) -> Recovered:
        if not self.holds_checkpoint():
            raise CheckpointError(
                f"{self.path}: stopped before its first checkpoint, nothing to resume; delete it and start anew"
            )
        return checkpoint.load_or_previous(self.training)
