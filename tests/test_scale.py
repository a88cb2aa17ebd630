"""Many processes: sums over torch.distributed, and runs that were killed and taken up again."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import distributed, nn

import rnnmem
from rnnmem import RnnMemError

STREAMS, STEPS = 36, 700


def made():
    torch.manual_seed(0)
    model, table = nn.GRU(3, 6).double(), torch.randn(9, 3, dtype=torch.float64)
    read = torch.randint(0, 9, (STEPS, STREAMS))
    maps = rnnmem.fit_recall(model, read[:300], embedding=table, lags=4, washout=20)
    return model, table, read[300:], maps


def shares(ranks):
    """Streams of each rank, of different numbers; the last has none to measure."""
    ends = np.linspace(0, STREAMS, ranks).round().astype(int)
    return [*(slice(a, b) for a, b in pairwise(ends)), slice(STREAMS, STREAMS)]


def on_rank(rank, ranks, place, others):
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{place}/store", ranks)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=ranks, timeout=timedelta(seconds=60)
    )
    model, table, read, maps = made()
    if others == "maps" and rank == 1:
        maps = rnnmem.fit_recall(model, read[:300], embedding=table, lags=3, washout=20)
    if others == "weights" and rank == 1:
        model.weight_hh_l0.data[0, 0] += 1e-3
    meter = rnnmem.MemoryMeter(model, maps, embedding=table)
    mine = read[:, shares(ranks)[rank]]
    for chunk in mine.split(130) if mine.shape[1] else ():
        meter.update(chunk)
    try:
        total = meter.sync()
        report = total.compute()
        again = meter.sync().compute()
        own = meter.measurement.tally
        torch.save(
            {
                "report": report.to_dict(),
                "again": again.to_dict(),
                "own": 0 if own is None else int(own.groups[:, 2 * own.maps_counted].sum()),
            },
            f"{place}/{rank}.pt",
        )
    except RnnMemError as error:
        torch.save({"error": str(error)}, f"{place}/{rank}.pt")
    distributed.destroy_process_group()


def run(ranks, place, others=None):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=on_rank, args=(r, ranks, str(place), others)) for r in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(place / f"{rank}.pt", weights_only=False) for rank in range(ranks)]


@pytest.mark.parametrize("ranks", [2, 5])
def test_many_processes_are_one(ranks, tmp_path):
    found = run(ranks, tmp_path)
    model, table, read, maps = made()
    meter = rnnmem.MemoryMeter(model, maps, embedding=table)
    meter.update(read)
    whole = meter.compute()
    for each in found:
        assert each["report"] == found[0]["report"]
        assert each["again"] == each["report"]
    total = rnnmem.MemoryReport.from_dict(found[0]["report"])
    assert total.rows == whole.rows
    for name in ("retention", "own_retention", "distance", "bits", "retention_se", "own_retention_se"):
        torch.testing.assert_close(getattr(total, name), getattr(whole, name), rtol=1e-9, atol=1e-12)
    assert found[-1]["own"] == 0  # each meter's own sums stay
    assert sum(each["own"] for each in found) == whole.rows["measured"]


@pytest.mark.parametrize("others", ["maps", "weights"])
def test_meters_of_other_maps_or_weights_are_refused_on_every_rank(others, tmp_path):
    for each in run(2, tmp_path, others):
        assert each["error"].startswith("group: expected meters of the same model and maps on every rank")
        assert f"rank 1 with another {others} than rank 0" in each["error"]


def test_without_a_group_the_call_to_make_is_told():
    model, table, _, maps = made()
    meter = rnnmem.MemoryMeter(model, maps, embedding=table)
    with pytest.raises(RnnMemError, match="group: expected a process group: call torch"):
        meter.sync()


def test_what_is_no_group_is_refused(tmp_path):
    model, table, read, maps = made()
    meter = rnnmem.MemoryMeter(model, maps, embedding=table)
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(f"{tmp_path}/s", 1), rank=0, world_size=1
    )
    try:
        for wrong in ("all", 0, [0, 1]):
            with pytest.raises(RnnMemError, match=r"group: expected a group of torch\.distributed"):
                meter.sync(wrong)
        with pytest.raises(RnnMemError, match="meter: expected at least one update"):
            meter.sync().compute()
        meter.update(read)
        assert meter.sync().compute().to_dict() == meter.compute().to_dict()
    finally:
        distributed.destroy_process_group()


WORKER = """
import os, sys, torch, rnnmem
sys.path.insert(0, sys.argv[1])
from test_scale import made
place, chunks = sys.argv[2], int(sys.argv[3])
model, table, read, maps = made()
meter = rnnmem.MemoryMeter(model, maps, embedding=table)
done = 0
if os.path.exists(place):
    saved = torch.load(place)
    meter.load_state_dict(saved["meter"])
    done = saved["done"]
for index, chunk in enumerate(read.split(20)):
    if index < done or index >= chunks:
        continue
    meter.update(chunk)
    torch.save({"meter": meter.state_dict(), "done": index + 1}, place + ".new")
    os.replace(place + ".new", place)
    print(index + 1, flush=True)
"""


def test_a_killed_run_loses_no_more_than_its_chunk(tmp_path):
    saved, here = tmp_path / "meter.pt", os.path.dirname(__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(here), here])}

    def worker(chunks):
        command = [sys.executable, "-c", WORKER, here, str(saved), str(chunks)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    first = worker(10**6)
    while int(first.stdout.readline()) < 3:
        time.sleep(0)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    done = torch.load(saved)["done"]
    assert done >= 3
    second = worker(10**6)
    assert int(second.stdout.readline()) == done + 1
    second.communicate()
    model, table, read, maps = made()
    meter, whole = (rnnmem.MemoryMeter(model, maps, embedding=table) for _ in range(2))
    meter.load_state_dict(torch.load(saved)["meter"])
    whole.update(read)
    for name in ("retention", "own_retention", "retention_se"):
        torch.testing.assert_close(
            getattr(meter.compute(), name), getattr(whole.compute(), name), rtol=1e-9, atol=1e-12
        )
