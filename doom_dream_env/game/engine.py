"""The process that ViZDoom plays in: its folder, its start, its faults, its end.

Left to itself, ViZDoom 1.3 starts its engine as a child that

* goes on for ever when Python is killed, deaf to SIGTERM, and holds Python's standard output open;
* writes `_vizdoom.ini` and `_vizdoom/` into the working folder;
* crashes Python when it fails to start, and hangs it when it no longer answers.

So the library is given `engine.sh` to start, which runs the engine in a temporary folder of its own, away from standard
input and output. A small shell process, one for each Python process that plays, waits until Python is gone, however it
went, and then ends the engines and removes their files. A thread ends an engine that has not answered for a minute.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import signal
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from doom_dream_env.game.janitor import home
from doom_dream_env.game.locks import SHARED_MEMORY, open_locks, remove_shared_memory

LAUNCHER = Path(__file__).with_name("engine.sh")
LOG_VARIABLE = "DREAM_DOOM_ENGINE_LOG"  # environment variable: a file for the engine's words, which are many then
PATIENCE = 60  # seconds that an engine may take to start, or to answer
LOOK = 0.25  # seconds between two looks at the engines that are at work
SHARED_BYTES = 8 * 2**20  # of shared memory that must be free; an engine takes 1.3 MB
FILE_BYTES = 2**20  # of the temporary folder; an engine takes 60 kB
WORDS = 200  # characters of the engine's last line that are shown

T = TypeVar("T")


class EngineError(ChildProcessError):
    """ViZDoom's engine did not start, ended by itself, or no longer answered."""


class Engine:
    """The engine behind one `DoomGame`, started.

    It belongs to the process that started it and ends with that at the latest.

    Args:
        game: a `vizdoom.DoomGame` with all its settings, not yet started; its files must have absolute paths.

    Attributes:
        pid: number of the engine's process.
        calls: calls begun and ended; odd while the engine is at work.
        looks: how often in a row, every `LOOK` seconds, it was found at work on the same call (which is `seen`).

    Raises:
        EngineError: if it does not start.
        OSError: if there is no room for its files.
    """

    _closed = True  # until there is something to close

    def __init__(self, game: Any) -> None:
        import vizdoom as vzd

        _check_room(home(), FILE_BYTES, "or name another folder with TMPDIR")
        _check_room(SHARED_MEMORY, SHARED_BYTES, "or give a container more (docker run --shm-size=1g)")
        if not os.access(LAUNCHER, os.X_OK):
            raise PermissionError(f"{LAUNCHER} cannot be executed: install the package again, or chmod +x it")
        self._owner = os.getpid()
        self._game = game
        self._folder = Path(tempfile.mkdtemp(dir=home()))
        self._identifier = ""
        self._hung = False
        self._closed = False
        self.pid = 0
        self.calls = 0
        self.seen = 0
        self.looks = 0
        (self._folder / "launch").symlink_to(LAUNCHER)
        (self._folder / "vizdoom").symlink_to(vzd.exe_path)
        game.set_vizdoom_path(str(self._folder / "launch"))
        game.set_doom_config_path(str(self._folder / "_vizdoom.ini"))
        self._start()
        _watch(self)

    # ---- start -------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the engine in a thread, which is given up if nothing comes of it: see `engine.sh`."""
        faults: list[Exception] = []
        done = threading.Event()

        def start() -> None:
            try:
                self._game.init()
            except Exception as error:  # ViZDoom's exceptions share no base class but this
                faults.append(error)
            finally:
                done.set()

        thread = threading.Thread(target=start, daemon=True, name="start of ViZDoom")
        thread.start()
        try:
            reason = self._await(done)
            if not reason and faults:
                reason = str(faults[0])
            if not reason:
                (self._folder / "started").touch()
                if self._has_ended():  # between its first answer and now: nothing that it is asked comes back
                    reason = "it ended at once"
        except BaseException:
            self._give_up()
            raise
        if reason:
            words = self._last_words()
            self._give_up()
            raise EngineError(f"ViZDoom's engine did not start: {reason}{words}")
        self.pid = self._read_pid()
        self._identifier = self._read_identifier()

    def _await(self, done: threading.Event) -> str:
        """Wait for the start; returns what went wrong, if something did."""
        step = 0.05
        # Waits are counted, not seconds: a machine or process that was suspended meanwhile has not waited.
        for _ in range(int(PATIENCE / step)):
            if done.wait(step):
                return ""
            if self._has_ended():
                return "it ended at once"
        return f"it was not ready after {PATIENCE} seconds"

    def _has_ended(self) -> bool:
        return (self._folder / "ended").exists()

    def _read_pid(self) -> int:
        try:
            return int((self._folder / "pid").read_text())
        except (OSError, ValueError):
            return 0

    def _last_words(self) -> str:
        """What the engine said last, as the end of a sentence."""
        try:
            text = Path(os.environ.get(LOG_VARIABLE, self._folder / "log")).read_text(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f" (it said: {lines[-1][:WORDS]})" if lines else ""

    def _give_up(self) -> None:
        """End the engine and leave its `DoomGame`, which may wait for it for ever, where it is."""
        self._closed = True
        self.pid = self.pid or self._read_pid()
        self._identifier = self._identifier or self._read_identifier()
        self.kill()
        _make_immortal(self._game)  # its destructor would wait, too, or crash
        remove_shared_memory(self._identifier)

    # ---- work --------------------------------------------------------------------------------------------------------

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)`, a method of the `DoomGame` that asks the engine for something.

        Raises:
            EngineError: if the engine has ended, or does not answer.
        """
        self._check()
        self.calls += 1
        try:
            return function(*arguments)
        except Exception as error:
            if _is_vizdooms(error):
                raise self._fault(str(error)) from error
            raise
        finally:
            self.calls += 1

    def _check(self) -> None:
        if not self.is_ours():
            raise EngineError(
                f"this game belongs to process {self._owner}, not to this one ({os.getpid()}): "
                "make an environment in each process"
            )
        if self._closed:
            raise EngineError("the game is closed")
        if not self.alive():
            raise self._fault("its process has gone")

    def _fault(self, reason: str) -> EngineError:
        if self._hung:
            reason = f"it did not answer for {PATIENCE} seconds and was ended"
        error = EngineError(
            f"ViZDoom's engine (process {self.pid}) failed: {reason}{self._last_words()}; reset() starts a new one"
        )
        self._give_up()
        shutil.rmtree(self._folder, ignore_errors=True)
        return error

    def is_ours(self) -> bool:
        """Is this the process that started it, not one forked from that?"""
        return os.getpid() == self._owner

    def alive(self) -> bool:
        """Can it be asked?"""
        return not self._closed and self._exists()

    def _exists(self) -> bool:
        if not self.pid:
            return False
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return True

    # ---- end ---------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the engine's process at once."""
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def look(self) -> None:
        """Help the library out where it waits for an engine that is dead, or for one that does not answer."""
        if self.calls % 2 and self.calls == self.seen:
            self.looks += 1
        else:
            self.seen = self.calls
            self.looks = 0
        if self.looks * LOOK >= PATIENCE and not self._hung:
            self._hung = True
            self.kill()
        elif self.looks > 1 and not self._exists():
            open_locks(self._identifier, self.pid)

    def close(self) -> None:
        """End the engine and remove its files. In a process that was forked from its owner: do nothing."""
        if self._closed or not self.is_ours():
            return
        if self.calls % 2:  # in another thread: the call ends in an error
            self._give_up()
        else:
            self.kill()  # It has nothing to save, and the library would wait for an engine that hangs.
            for _ in range(1000):
                if not self._exists():
                    break
                time.sleep(0.001)
            open_locks(self._identifier, self.pid)
            self._closed = True
            self._game.close()
            remove_shared_memory(self._identifier)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __del__(self) -> None:
        self.close()

    def disown(self) -> None:
        """In a process that was forked from its owner: leave the engine, and what the library knows of it, alone."""
        _make_immortal(self._game)

    def _read_identifier(self) -> str:
        """What the library calls this engine; empty if it had not come so far."""
        try:
            arguments = (self._folder / "arguments").read_text().splitlines()
            return arguments[arguments.index("+viz_instance_id") + 1]
        except (OSError, ValueError, IndexError):
            return ""


def _is_vizdooms(error: Exception) -> bool:
    return type(error).__module__.startswith("vizdoom")


def _check_room(folder: Path, wanted: int, hint: str) -> None:
    """Refuse to start where the engine would be killed for want of room, and Python with it."""
    if folder.is_dir() and (free := shutil.disk_usage(folder).free) < wanted:
        left = f"{free / 2**20:.1f} MB left and a game needs {wanted >> 20}"
        raise OSError(f"{folder} has {left}: remove what is left there, {hint}")


def _make_immortal(thing: object) -> None:
    """Keep something from being destroyed, even when Python ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_lock = threading.Lock()


def _after_fork() -> None:
    """Let go, in a forked process, of what belongs to its parent."""
    global _lock
    _lock = threading.Lock()
    for engine in list(_engines):
        engine.disown()
    _engines.clear()
    _watcher.clear()


os.register_at_fork(after_in_child=_after_fork)


@atexit.register  # after the janitor's, so it runs before that
def _close_all() -> None:
    for engine in list(_engines):
        engine.close()


# ---- engines that do not answer --------------------------------------------------------------------------------------

_watcher: list[threading.Thread] = []


def _watch(engine: Engine) -> None:
    with _lock:
        _engines.add(engine)
        if not _watcher:
            _watcher.append(threading.Thread(target=_watch_all, daemon=True, name="watch over ViZDoom"))
            _watcher[0].start()


def _watch_all() -> None:
    while True:
        time.sleep(LOOK)
        _look()


def _look() -> None:
    with _lock:
        engines = list(_engines)
    for engine in engines:
        engine.look()
