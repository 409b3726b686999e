"""Run Jupyter in a job, and keep the session's route: the node agent.

    python agent.pyz SESSION_DIR --app lab|notebook

The launcher puts all that lies here into one archive, in the session's directory (`rps_core.node.archive`),
and the first interpreter that the compute node offers runs it: Python 3.6 or newer, standard library only.

`__main__` is where it begins, and `life` reads from top to bottom:

- `session`: what the launcher says of the session; `files`: reading that with care; `run_directory`,
  `sockets`: what is made for its time; `events`, `words`: what is reported of it.
- `route`: the way from the service to the notebook, by a `lease`, or a satellite's
  (`satellite_route`); `service` and `satellite` are the clients of their calls.
- `notebook`: Jupyter as this session's application, until it answers; `jupyter`: one run of it;
  `jupyter_api`: what it is asked. `jupyter_config.py`, `session_config.py`,
  `kernel_transport.py`, `tabs.py` and `tab.js` run in Jupyter and the browser.
- `watch`: waiting, with an eye on all that may end the session, and on two cares: `time_care`, by the
  `time_limit`, and `idle_care` (with `gpus`). `wake` and `processes` are what it waits for.

The launcher, the local scheduler and the service import parts of it, so importing those is cheap:
http.client, ssl and the like are imported where they are used.
"""
