"""The packaged applications; `apps` of the configuration adds others and overrides keys of these.

In Python and not in defaults.yaml: parsing and merging them would take four times as long as all other keys.
"""

from __future__ import annotations

from typing import Any

_RSERVER = """\
umask 077
if ! rserver --help | grep -q -e --www-socket; then
  echo 'This rserver has no option --www-socket: RStudio Server 2024.12 or newer is needed.'
  exit 1
fi
printf 'provider=sqlite\\ndirectory=%s\\n' "$1" >"$1/database.conf"
exec rserver --www-socket="$2" --www-root-path="$3/" --server-data-dir="$1" --server-user="$(id -un)" \\
  --database-config-file="$1/database.conf" --secure-cookie-key-file="$1/cookie-key" --auth-none=1 \\
  --www-frame-origin=same --www-verify-user-agent=0
"""
_CLUSTER = """\
import distributed, signal, sys
address, prefix = "127.0.0.1:" + sys.argv[1], sys.argv[2]
cluster = distributed.LocalCluster(
    security=True, dashboard_address=address, scheduler_kwargs={"http_prefix": prefix}
)
print(cluster, flush=True)
signal.pause()
"""

PACKAGED: dict[str, dict[str, Any]] = {
    # The variables are those from which frameworks read their address and port.
    "command": {
        "title": "Command",
        "command": ["{arguments}"],
        "usage": "a command: rps start -s command -- streamlit run app.py",
        "environment": {
            "HOST": "127.0.0.1",
            "PORT": "{port}",
            "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
            "STREAMLIT_SERVER_PORT": "{port}",
            "STREAMLIT_SERVER_HEADLESS": "true",
            "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        },
    },
    "vscode": {
        "title": "VS Code",
        "command": [
            "code-server",
            "--socket={unix_socket}",
            "--socket-mode=600",
            "--auth=none",
            "--disable-telemetry",
            "--disable-update-check",
            "{directory}",
        ],
        "programs": ["code-server"],
        "install": "npm install --global code-server",
        "health": "/healthz",
    },
    # rserver reads the place of its database from a file.
    "rstudio": {
        "title": "RStudio",
        "command": [
            "sh",
            "-c",
            _RSERVER,
            "rserver",
            "{data}",
            "{unix_socket}",
            "{prefix}",
        ],
        "programs": ["rserver"],
        "install": "ask the cluster's support for RStudio Server, 2024.12 or newer; its programs may be in "
        "/usr/lib/rstudio-server/bin, not on the PATH",
    },
    "tensorboard": {
        "title": "TensorBoard",
        "command": [
            "tensorboard",
            "--host=127.0.0.1",
            "--port={port}",
            "--path_prefix={prefix}",
            "--logdir={directory}",
            "{arguments}",
        ],
        "keeps_prefix": True,
        "programs": ["tensorboard"],
        "install": "pip install tensorboard",
    },
    # Over TCP each user of the node could read what a kernel prints (docs/kernels.md).
    "voila": {
        "title": "Voilà",
        "command": [
            "voila",
            "--no-browser",
            "--Voila.ip=127.0.0.1",
            "--port={port}",
            "--base_url={prefix}/",
            "--KernelManager.transport=ipc",
            "{arguments}",
        ],
        "keeps_prefix": True,
        "environment": {"JUPYTER_TOKEN": "{secret}"},
        "headers": {"Authorization": "token {secret}"},
        "programs": ["voila"],
        "install": "pip install voila",
    },
    "marimo": {
        "title": "marimo",
        "command": [
            "marimo",
            "edit",
            "--headless",
            "--skip-update-check",
            "--host=127.0.0.1",
            "--port={port}",
            "--base-url={prefix}",
            "--token-password-file={secret_file}",
            "{arguments}",
        ],
        "keeps_prefix": True,
        "headers": {"Authorization": "Bearer {secret}"},
        "programs": ["marimo"],
        "install": "pip install marimo",
        "health": "/health",
    },
    # A port: Streamlit 1.67 says that it does not support Unix sockets with Starlette, which serves it.
    "streamlit": {
        "title": "Streamlit",
        "command": [
            "streamlit",
            "run",
            "--server.address=127.0.0.1",
            "--server.port={port}",
            "--server.headless=true",
            "--server.baseUrlPath={prefix}",
            "--browser.gatherUsageStats=false",
            "{arguments}",
        ],
        "usage": "the application's file: rps start -s streamlit -- app.py",
        "keeps_prefix": True,
        "programs": ["streamlit"],
        "install": "pip install streamlit",
        "health": "/_stcore/health",
    },
    "panel": {
        "title": "Panel",
        "command": [
            "panel",
            "serve",
            "--unix-socket={unix_socket}",
            "--prefix={prefix}",
            "{arguments}",
        ],
        "usage": "the application's file: rps start -s panel -- app.py",
        "keeps_prefix": True,
        "programs": ["panel"],
        "install": "pip install panel",
    },
    "dash": {
        "title": "Dash",
        "command": ["python3", "{arguments}"],
        "usage": "the application's file, which calls `app.run()`: rps start -s dash -- app.py",
        "keeps_prefix": True,
        "environment": {
            "HOST": "unix://{unix_socket}",
            "PORT": "8050",
            "DASH_URL_BASE_PATHNAME": "{prefix}/",
        },
        "programs": ["python3"],
        "packages": ["dash"],
        "install": "pip install dash",
    },
    "mlflow": {
        "title": "MLflow",
        "command": [
            "mlflow",
            "server",
            "--workers=1",
            "--static-prefix={prefix}",
            "--uvicorn-opts=--uds={unix_socket}",
            "--allowed-hosts={host}*",
            "--cors-allowed-origins=https://{host}*",
            "{arguments}",
        ],
        "keeps_prefix": True,
        "programs": ["mlflow"],
        "install": "pip install mlflow",
        "health": "/health",
    },
    # TLS with a certificate of its own: a scheduler runs what a client sends, and others reach its port.
    "dask": {
        "title": "Dask",
        "command": [
            "python3",
            "-c",
            _CLUSTER,
            "{port}",
            "{prefix}",
        ],
        "path": "status",
        "keeps_prefix": True,
        "programs": [
            "python3",
            "dask",
        ],  # every node has a python3; JupyterLab offers what is there
        "packages": ["distributed", "bokeh"],
        "install": 'pip install "dask[distributed]" bokeh',
    },
}
