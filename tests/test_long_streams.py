"""What long runs must keep to: memory that does not grow, and a Ctrl-C that is answered."""

import signal
import subprocess
import sys
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent / "bench"

ENDLESS = """
import signal, torch, rnnmem
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests behind may ignore it
torch.set_num_threads(1)
torch.manual_seed(0)
model, sample = torch.nn.GRU(8, 64), torch.randn(3000, 4, 8)
meter = rnnmem.MemoryMeter(model, rnnmem.fit_recall(model, sample, lags=16))
chunk = torch.randn(200_000, 4, 8)
print("measuring", flush=True)
while True:
    meter.update(chunk)
"""


def test_peak_memory_does_not_grow_with_the_stream():
    peaks = []
    for steps in (10_000, 150_000):
        command = [sys.executable, str(BENCH / "memory.py"), "--steps", str(steps), "--hidden", "16"]
        run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        peaks.append(float(run.stdout))
    assert peaks[1] - peaks[0] < 30


def test_an_interrupt_ends_a_measurement():
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().strip() == "measuring"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
