"""The gallery as a page of its own, served by Voila."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import ConfigError, RunFailedError, StorageError, check_count
from ..experiments import dispersive_term, home, profile
from ..reproduce import with_parameters
from .export import exports
from .sources import has_network

NOTEBOOK = "02_gallery"


def serve(profile_name: str, *, seed: int = 0, port: int = 8866, browser: bool = True) -> None:
    """Serve the gallery until it is interrupted.

    Args:
        profile_name: row of the ladder.
        seed: of training, of the runs that are shown first; a page trains nothing.
        port: to listen on, 1 to 65535.
        browser: open one.

    Raises:
        ConfigError: unknown profile, or a port that can't be had.
        StorageError: the runs are neither trained here nor published.
        RunFailedError: the server failed.
    """
    row = profile(profile_name)
    check_count("port", port, 1, 65535)
    for variant, terms in (("none", ()), ("infonce-l2", (dispersive_term("infonce-l2"),))):
        spec = row.run(seed, *terms)
        if not has_network(spec):
            how = f"disperse train --profile {profile_name} --variant {variant} --seed {seed}"
            raise StorageError(f"{spec.run_id}: neither trained here nor published; train it with {how}")
    with tempfile.TemporaryDirectory() as folder:  # of this server's own: another may show another seed
        page = with_parameters(NOTEBOOK, {"profile": profile_name, "seed": seed}, Path(folder))
        server = [sys.executable, "-m", "voila", str(page), f"--port={port}", "--Voila.log_level=ERROR"]
        print(f"http://localhost:{port}/  (Ctrl-C ends it)", flush=True)
        try:
            code = subprocess.call(
                [*server, *([] if browser else ["--no-browser"])],
                env={**os.environ, "DISPERSE_HOME": str(home()), "DISPERSE_OUTPUT": str(exports())},
            )
        except OSError as error:
            raise ConfigError(f"voila: {error}") from None
    if code:
        raise RunFailedError(f"voila ended with code {code}; if port {port} is taken, choose another: --port")
