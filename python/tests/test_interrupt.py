"""Ctrl-C, callbacks that raise, and the GIL."""

import _thread
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import qx


@pytest.fixture(autouse=True)
def ctrl_c_interrupts():
    """Where the tests run in the background of a shell, SIGINT is ignored, and Python leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_callback_that_raises_stops_the_work(tiny, tmp_path):
    class Enough(Exception):
        pass

    def enough(progress):
        raise Enough(progress.title)

    with pytest.raises(Enough, match="eval"):
        qx.evaluate(tiny, "arc_easy", tmp_path, limit=50, progress=enough)
    # The request to stop is over.
    assert qx.evaluate(tiny, "arc_easy", tmp_path / "others", limit=2)["models"]["base"]["n-samples"]


def test_ctrl_c_stops_an_evaluation_and_keeps_its_answers(tiny, tmp_path):
    def interrupt(progress):
        if progress.done > 0:
            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        qx.evaluate(tiny, "arc_easy,piqa,boolq,hellaswag", tmp_path, chat=False, progress=interrupt)
    kept = sum(len(file.read_text().splitlines()) for file in tmp_path.glob("base/answers-*.jsonl"))
    assert kept > 0
    heard = []
    qx.evaluate(tiny, "arc_easy", tmp_path, limit=2, chat=False, force=True, progress=heard.append)


def test_ctrl_c_ends_a_text(tiny):
    """In a process of its own: the signal comes while the model computes, not between two steps."""
    code = f"""
        import os, signal, threading, time
        import qx
        signal.signal(signal.SIGINT, signal.default_int_handler)
        model, tokenizer = qx.load({str(tiny)!r}, threads=1)
        cache = qx.make_prompt_cache(model)
        try:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            while True:
                qx.generate(model, tokenizer, "ab", max_tokens=-1, prompt_cache=cache)
        except KeyboardInterrupt:
            print("stopped", qx.generate(model, tokenizer, "ab", max_tokens=3, prompt_cache=cache)
                  == qx.generate(model, tokenizer, "ab", max_tokens=3))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "stopped True", done.stderr


def test_signal_handlers_of_python_run_during_work(tiny, tmp_path):
    seen, came_meanwhile = threading.Event(), []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.set())
    try:
        def poke(progress):
            if not came_meanwhile:
                signal.raise_signal(signal.SIGUSR1)
                # The work waits here, in its own thread; the main thread looks for signals every 50 ms.
                came_meanwhile.append(seen.wait(300))

        qx.evaluate(tiny, "arc_easy", tmp_path, limit=20, chat=False, progress=poke)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came_meanwhile == [True]


def test_other_threads_run_during_work(loaded):
    """The GIL is given up: a thread counts on while the model computes.

    The main thread gives the GIL up at no other place while the interval of switches is that long, so that one count is enough; the
    system may let the thread wait for some calls.
    """
    model, _ = loaded
    count, stop = [0], threading.Event()

    def counting():
        while not stop.is_set():
            count[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=counting)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        before, deadline = count[0], time.monotonic() + 300
        while count[0] == before and time.monotonic() < deadline:
            model.logits([1] * 500)
        assert count[0] > before
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
