"""Several processes of one program: files change only where all meet, and process 0 alone changes them."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from filelock import Timeout

from datapruning.errors import DataPruningError, DiskFull
from datapruning.io.atomic import write_text
from datapruning.io.json import write_json
from datapruning.io.locks import exclusive_lock, file_lock
from datapruning.io.memmap import create_memmap
from datapruning.io.npz import write_npz
from datapruning.io.tensors import save_tensors
from datapruning.io.trial_store import TrialStore
from datapruning.utils.processes import agree, error_prefix, is_main, main_first, main_only, meet, write_by_main
from tests.helpers.pretended_processes import in_processes, pretended


def test_one_process_waits_for_nobody() -> None:
    meet("here")
    assert agree([1, "a"]) == [1, "a"]
    assert error_prefix(1) == ""
    assert is_main()


@pytest.mark.parametrize("size", [2, 3])
def test_one_process_writes_and_all_find_the_file(tmp_path: Path, size: int) -> None:
    path, written = tmp_path / "file.txt", list[int]()

    def program(rank: int) -> list[object]:
        @main_only
        def write() -> None:
            time.sleep(0.05)
            written.append(rank)
            write_text(path, "text")  # which waits for nobody inside

        observed: list[object] = [path.exists()]
        time.sleep(0.02 * rank)
        write()
        return [*observed, path.read_text()]

    assert in_processes(size, program) == [[False, "text"]] * size
    assert written == [0]


@pytest.mark.parametrize(("error", "kind"), [(DiskFull("no room"), DiskFull), (OSError("no room"), DataPruningError)])
def test_a_failed_write_fails_in_every_process(error: Exception, kind: type[Exception]) -> None:
    @main_only
    def write() -> None:
        raise error

    results = in_processes(2, lambda rank: write())
    assert results[0] is error
    assert type(results[1]) is kind
    assert str(results[1]) == str(error)


def test_process_0_decides() -> None:
    assert in_processes(3, lambda rank: agree({"rank": rank, "due": rank > 0})) == [{"rank": 0, "due": False}] * 3


def test_processes_at_different_points_say_so() -> None:
    results = in_processes(2, lambda rank: meet(f"point {rank}"))
    for error in results:
        assert isinstance(error, DataPruningError)
        assert "are at different points (point" in str(error)


def test_what_all_compute_one_writes(tmp_path: Path) -> None:
    computed = list[tuple[int, int]]()

    def program(rank: int) -> str:
        def items() -> Iterable[int]:
            for number in range(3):
                computed.append((rank, number))
                yield number

        def write(numbers: Iterable[int]) -> None:
            write_json(tmp_path / "numbers.json", {"numbers": list(numbers)})

        write_by_main(items(), write)
        return (tmp_path / "numbers.json").read_text()

    texts = in_processes(2, program)
    assert len(set(map(str, texts))) == 1
    assert json.loads(str(texts[0]))["numbers"] == [0, 1, 2]
    assert sorted(computed) == [(rank, number) for rank in (0, 1) for number in range(3)]


def test_process_0_goes_first() -> None:
    order = list[int]()

    def program(rank: int) -> None:
        with main_first():
            time.sleep(0.05 if rank == 0 else 0)
            order.append(rank)

    in_processes(3, program)
    assert order[0] == 0


def test_a_memory_map_is_made_once_and_shared(tmp_path: Path) -> None:
    def program(rank: int) -> list[int]:
        array = create_memmap(tmp_path / "map.npy", np.int64, (2,))
        array[rank] = rank + 1  # its own row
        meet("written")
        return [int(value) for value in array]

    assert in_processes(2, program) == [[1, 2], [1, 2]]


def test_a_lock_is_held_by_one_process_for_all(tmp_path: Path) -> None:
    def program(rank: int) -> list[bool]:
        with exclusive_lock(tmp_path / "work", "busy"):
            inside = agree(is_free(tmp_path / "work"))
        return [inside, agree(is_free(tmp_path / "work"))]

    assert in_processes(2, program) == [[False, True], [False, True]]


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock of `path`."""
    lock = file_lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def test_a_trial_is_run_by_all_together_and_written_once(tmp_path: Path) -> None:
    runs = list[int]()

    def program(rank: int) -> tuple[object, float]:
        store = TrialStore(tmp_path / "store", {"about": "a test"})

        def work(config: object) -> dict[str, object]:
            runs.append(rank)
            return {"value": [1.5]}

        trial = store.run({"k": 1}, work)
        again = store.run({"k": 1}, work)
        assert trial is not None
        assert again == trial
        return trial.result, trial.seconds

    first, second = in_processes(2, program)
    assert first == second
    assert sorted(runs) == [0, 1]


def test_the_error_line_names_the_process() -> None:
    with pretended(0, 2):
        assert error_prefix(2) == ""
        assert error_prefix(1) == "process 0 of 2: "
    with pretended(1, 2):
        assert error_prefix(2) == "process 1 of 2: ", "what process 0 does not report is of this one alone"


def test_another_process_than_0_writes_nothing(tmp_path: Path) -> None:
    writers: list[Callable[[Path], None]] = [
        lambda path: write_text(path, "text"),
        lambda path: write_json(path, {}),
        lambda path: write_npz(path, {"a": np.zeros(1)}, {}),
        lambda path: save_tensors(path, {}),
    ]
    with pretended(1, 2):
        for write in writers:
            write(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
