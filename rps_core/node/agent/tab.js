/* rps in one tab of a session: shows how long the session lives, and saves what is open before it ends.
 *
 * A plugin of JupyterLab and Notebook 7, by hand in the form of a federated extension ("container" of
 * webpack's module federation), so that nothing has to be built. `tabs.py` is its counterpart in Jupyter's
 * server, and documents the messages. An application without the commands used here shows nothing.
 */
"use strict";

(function () {
  const AGAIN = 5000; // milliseconds until a lost connection is tried again

  function clock(seconds) {
    const moment = new Date(Date.now() + seconds * 1000);
    return moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }

  function span(seconds) {
    if (seconds < 90) {
      return Math.round(seconds) + " seconds";
    }
    return Math.round(seconds / 60) + " minutes";
  }

  function words(notice) {
    switch (notice.kind) {
      case "time":
        if (notice.left === null) {
          return "The time of this session is nearly up.";
        }
        return (
          "The time of this session is up at " + clock(notice.left) + ", in " + span(notice.left) +
          ". Open documents are saved then; what kernels hold in memory is lost."
        );
      case "idle":
        return (
          "Nothing has run here for " + span(notice.idle) + ". This session ends at " + clock(notice.left) +
          ", in " + span(notice.left) + ", unless something does."
        );
      default:
        return notice.text;
    }
  }

  function activate(app) {
    const shown = new Map(); // kind -> promise of the notification's id
    let socket = null;
    let left = false; // the page was left, and the browser keeps it for a return to it
    let over = false; // the session has ended, and no connection will come of it any more

    function say(message) {
      if (socket !== null && socket.readyState === WebSocket.OPEN) {
        socket.send(JSON.stringify(message));
      }
    }

    async function withdraw(kind) {
      const id = await shown.get(kind);
      shown.delete(kind);
      if (id) {
        await app.commands.execute("apputils:dismiss-notification", { id });
      }
    }

    async function show(notice) {
      if (!app.commands.hasCommand("apputils:notify")) {
        return;
      }
      // Once the session is over, all that was said before is of no use.
      await Promise.all((notice.kind === "end" ? [...shown.keys()] : [notice.kind]).map(withdraw));
      const stay = { label: "Keep it", commandId: "rps:stay", args: {}, displayType: "accent" };
      shown.set(
        notice.kind,
        app.commands.execute("apputils:notify", {
          message: words(notice),
          type: "warning",
          options: { autoClose: false, actions: notice.kind === "idle" ? [stay] : [] },
        }),
      );
    }

    function unsaved() {
      const paths = new Set();
      for (const widget of app.shell.widgets("main")) {
        const context = widget.context;
        if (context && context.model && context.model.dirty) {
          paths.add(context.path);
        }
      }
      return [...paths];
    }

    async function save(number, seconds) {
      // Where a document changed on the disk too, JupyterLab asks which one is meant, and waits.
      const enough = new Promise((resolve) => setTimeout(resolve, Math.max(500, seconds * 1000 - 1000)));
      if (unsaved().length > 0) {
        const saved = app.commands.execute("docmanager:save-all").catch((error) => console.error(error));
        await Promise.race([saved, enough]);
      }
      say({ saved: number, left: unsaved() });
    }

    function connect() {
      socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/api/rps/tab");
      socket.onmessage = (event) => {
        const said = JSON.parse(event.data);
        if (said.show) {
          over = over || said.show.kind === "end";
          show(said.show);
        }
        if (said.withdraw) {
          withdraw(said.withdraw);
        }
        if (said.save) {
          save(said.save, said.seconds);
        }
      };
      socket.onclose = () => {
        if (!over && !left) {
          setTimeout(connect, AGAIN);
        }
      };
    }

    app.commands.addCommand("rps:stay", {
      label: "Keep the session although nothing runs",
      execute: () => say({ stay: true }),
    });
    window.addEventListener("pagehide", () => {
      left = true;
      socket.close(); // it would be waited for when all tabs are to save
    });
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) {
        left = false;
        connect();
      }
    });
    connect();
  }

  const plugin = { id: "rps-session:tab", autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["rps-session"] = {
    init: () => undefined,
    get: () => Promise.resolve(() => ({ __esModule: true, default: plugin })),
  };
})();
