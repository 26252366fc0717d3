"""Event files for TensorBoard, in a folder next to the result file, written round by round.

They hold only what follows from the result file and the data set, and they do not affect the run. A run that resumes
writes them anew from its result file; a run that cannot write them logs one warning, and continues without them.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.cases import case_folder, record_in
from fedmeta_flwr.records.drops import DropReason
from fedmeta_flwr.records.entries import TRAIN_LOSS
from fedmeta_flwr.records.persistence import COLORS, LABELS, Persistence, persistence_of
from fedmeta_flwr.records.results import CURVES, RoundRecord, at_steps, step_curves_of

FOLDER_NAME = "tensorboard"

_LOG = logging.getLogger("flwr.tensorboard")
_EVENT_FILES = "events.out.tfevents.*"
_FLUSH_SECONDS = 3600  # long, because every round ends with a flush
_MAX_CLIENTS = 32

Scalar = tuple[str, float, int]
"""Tag, value and step."""

Pictures = Callable[[], Mapping[str, np.ndarray]]


class TensorBoardWriter:
    """Writes the event files of one run.

    Parameters
    ----------
    results_dir : Path
        The run's folder; the event files are in `FOLDER_NAME` in it. Event files of an interrupted run are replaced.
    config : RunConfig
        The run configuration.
    pictures : callable
        Returns pictures of the attack by tag, uint8, shape (images, channels, height, width). It is called only if
        there is an attack.
    earlier : iterable of RoundRecord
        The rounds in the result file of a run that resumes.
    """

    def __init__(
        self, results_dir: Path, config: RunConfig, pictures: Pictures, earlier: Iterable[RoundRecord] = ()
    ) -> None:
        self._config = config
        self._accuracies: dict[int, Mapping[str, float]] = {}
        self._events: Any = None
        if config.tensorboard:
            self._try(lambda: self._begin(results_dir / FOLDER_NAME, pictures))
        for record in earlier:
            self.write(record)

    def write(self, record: RoundRecord) -> None:
        """Write the numbers of a round; after the last round, also the persistence figure."""
        if self._events is not None:
            self._try(lambda: self._write(record))

    def _begin(self, folder: Path, pictures: Pictures) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # takes time and memory, so only the server imports it
        except ModuleNotFoundError as error:
            _LOG.warning(
                "no event files for TensorBoard: expected the package %s, found none; install the extra 'tools', "
                "or set tensorboard to false",
                error.name,
            )
            return
        for file in folder.glob(_EVENT_FILES):
            file.unlink()
        self._events = SummaryWriter(str(folder), flush_secs=_FLUSH_SECONDS)
        if self._config.attack_round:
            for tag, images in pictures().items():
                self._events.add_images(tag, images, 0)
        self._events.flush()

    def _write(self, record: RoundRecord) -> None:
        for tag, value, step in scalars(record):
            self._events.add_scalar(tag, value, step)
        if accuracies := record.accuracies():
            self._accuracies[record.server_round] = accuracies
        if record.server_round == self._config.num_server_rounds and self._accuracies:
            config = self._config
            length = max(1, len(config.first_attack))
            shown = persistence_of(sorted(self._accuracies), config.attack_round, config.attack_interval, length)
            picture = persistence_picture(self._accuracies, shown)
            self._events.add_image("persistence", picture, record.server_round, dataformats="HWC")
        self._events.flush()

    def _try(self, write: Callable[[], None]) -> None:
        """Write, or stop writing event files on an error, such as a full disk; the run continues."""
        try:
            write()
        except Exception as error:
            _LOG.warning("no more event files for TensorBoard, the run continues: %s: %s", type(error).__name__, error)
            self._close()

    def _close(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            try:
                events.close()
            except Exception as error:
                _LOG.debug("event files for TensorBoard were not closed: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


@contextmanager
def event_files(
    folder: Path, config: RunConfig, pictures: Pictures, earlier: Sequence[RoundRecord] = ()
) -> Iterator[Callable[[RoundRecord], None]]:
    """Write the event files of a run, for each of its cases; yield a function that writes a round.

    The parameters are as in `TensorBoardWriter`.
    """
    cases = config.case
    with ExitStack() as stack:
        writers = {
            case: stack.enter_context(
                TensorBoardWriter(
                    case_folder(folder, case, cases),
                    config,
                    pictures,
                    (record_in(record, case, cases) for record in earlier),
                )
            )
            for case in cases
        }

        def write(record: RoundRecord) -> None:
            for case, writer in writers.items():
                writer.write(record_in(record, case, cases))

        yield write


def scalars(record: RoundRecord) -> Iterator[Scalar]:
    """Yield the numbers of a round. The step is the round; for curves along local steps, it is the local step.

    Only the first 32 clients have separate numbers.
    """
    number = record.server_round
    for arrival in record.arrivals:
        client = arrival.partition_id
        if client < _MAX_CLIENTS:
            yield f"update_norm/client_{client}", arrival.update_norm, number
            if TRAIN_LOSS in arrival.metrics:
                yield f"train_loss/client_{client}", arrival.metrics[TRAIN_LOSS], number
    yield "federation/arrivals", len(record.arrivals), number
    reasons = Counter(drop.reason for drop in record.dropped if not drop.in_evaluation)
    for reason in DropReason:
        yield f"federation/{reason}", reasons[reason], number
    yield "federation/evaluation_failed", sum(drop.in_evaluation for drop in record.dropped), number
    yield "federation/seconds", record.seconds, number
    yield from _accuracies("accuracy", record, number)
    for step_curve in step_curves_of(record.evaluation or []):
        for step, evaluation in at_steps(record.evaluation or [], step_curve).items():
            at_step = RoundRecord(number, record.phase, evaluation=evaluation)
            yield from _accuracies(f"{step_curve}_after_round_{number}", at_step, step)


def _accuracies(group: str, record: RoundRecord, step: int) -> Iterator[Scalar]:
    for curve, accuracy in (record.accuracies() or {}).items():
        yield f"{group}/{curve}", accuracy, step


def persistence_picture(accuracies: Mapping[int, Mapping[str, float]], shown: Persistence) -> np.ndarray:
    """Draw the four curves over the rounds; returns uint8 of shape (height, width, 3).

    Parameters
    ----------
    accuracies : mapping of int to mapping of str to float
        Accuracies in 0..1, by evaluated round, then by curve.
    shown : Persistence
        Which of these rounds are drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 4.1), layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for curve in CURVES:
        percent = [100 * accuracies[number][curve] for number in shown.rounds.values()]
        axes.plot(list(shown.rounds), percent, marker=".", color=COLORS[curve], label=LABELS[curve])
        if shown.baseline is not None:
            axes.axhline(100 * accuracies[shown.baseline][curve], color=COLORS[curve], linewidth=0.8, alpha=0.45)
    for x in shown.attacks:
        axes.axvline(x, color="0.45", linewidth=0.9, label="attack" if x == shown.attacks[0] else None)
    axes.set(xlabel=shown.x_label, ylabel="accuracy, %", ylim=(-2, 102))
    axes.grid(axis="y", color="0.9")
    axes.legend(frameon=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
