"""Run Jupyter in a job, and keep the session's route: the node agent.

    python agent.pyz SESSION_DIR --app lab|notebook

The launcher puts all that lies here into one archive, in the session's directory (`rps_core.node.archive`),
and the first interpreter that the compute node offers runs it: Python 3.6 or newer, standard library only.

`__main__` is where it begins, and `life` reads from top to bottom:

- `session`: what the launcher says of the session; `files`, `trusted_path`: reading that with care;
  `run_directory`, `sockets`: what is made for its time; `events`, `words`, `job_log`: what is reported of it.
- `route`: the way from the service to the notebook, by a `lease`, or a satellite's (`satellite_route`);
  `service` and `satellite` are the clients of their calls, `calls` the ways that these take.
- `made`: the environment that the job builds; `activation`, `program`, `container`, `kernelspec`: what of an
  environment runs the notebook.
- `notebook`: Jupyter as this session's server, until it answers; `jupyter`: one run of it; `jupyter_api`:
  what it is asked; `application`: what the URL opens behind its login.
- In Jupyter's process: `jupyter_config` and `session_config`, which load `login_link`, `login_page` and
  `jupyter_login`, `kernel_start` and `kernel_transport`, `apps`, and `tabs`; `tab.js` is in the browser.
- `watch`: waiting, with an eye on all that may end the session, and on two cares: `time_care`, by the
  `time_limit`, and `idle_care` (with `gpus`). `wake` and `processes` are what it waits for.

The launcher, the local scheduler and the service import parts of it, so importing those is cheap:
http.client, ssl and the like are imported where they are used.
"""
