"""One JupyterLab, with Voila as its extension, in folders of its own, and how it ends."""

import dataclasses
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from ..conftest import REPOSITORY

START_S = 90  # on a busy machine; an idle one takes three
END_S = 10
# What would ask the user, or somebody in the internet, about news.
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server; ``home`` is its ``DISPERSE_HOME``, and it shows ``home/notebooks``."""

    process: subprocess.Popen
    home: Path
    url: str
    token: str
    log: Path

    def ask(self, path: str, method: str = "GET") -> str:
        """The answer to a request of the REST interface."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}api/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def end_kernels(self) -> None:
        """End every kernel: a notebook that is opened again must find none of its name."""
        for session in json.loads(self.ask("sessions")):
            self.ask(f"sessions/{session['id']}", "DELETE")
        for kernel in json.loads(self.ask("kernels")):  # Voila's have no session
            with suppress(urllib.error.HTTPError):  # it has just ended by itself
                self.ask(f"kernels/{kernel['id']}", "DELETE")

    def end(self) -> None:
        """End the server and all that it started; a kernel whose server is gone ends itself too."""
        with suppress(OSError):
            self.end_kernels()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(END_S)


def start(folder: Path) -> Server:
    """Start a server on a free port, with copies of the repository's notebooks."""
    home = folder / "home"
    shutil.copytree(REPOSITORY / "notebooks", home / "notebooks")
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    token, log, runtime = secrets.token_hex(), folder / "server.log", folder / "runtime"
    own = {
        "HOME": folder / "user", "IPYTHONDIR": folder / "ipython", "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_DATA_DIR": folder / "data", "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings", "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
        "DISPERSE_HOME": home, "JUPYTER_TOKEN": token,
    }  # fmt: skip
    (folder / "user").mkdir()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
        f"--ServerApp.root_dir={home / 'notebooks'}", "--LabApp.expose_app_in_browser=True",
        # If nobody comes to end it, as when the tests were killed, it ends itself.
        "--MappingKernelManager.cull_idle_timeout=600", "--ServerApp.shutdown_no_activity_timeout=600",
    ]  # fmt: skip
    environment = os.environ | {name: str(value) for name, value in own.items()}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError, ValueError):  # not there yet, or half written
            url = json.loads((runtime / f"jpserver-{process.pid}.json").read_text())["url"]
            server = Server(process, home, url, token, log)
            server.ask("status")
            return server
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_S)
    raise RuntimeError(
        f"JupyterLab doesn't answer, exit status {process.returncode}:\n{log.read_text()[-3000:]}"
    )
