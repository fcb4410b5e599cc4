# What wrangler does for Cloudflare, for workerd alone: build.mjs writes the files, and
#   npx workerd serve examples/edge/config.capnp
# answers on port 8787.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  compatibilityDate = "2026-04-01",
  modules = [
    (name = "worker.js", esModule = embed "build/worker.js"),
    (name = "unitcell.wasm", wasm = embed "build/unitcell.wasm"),
    (name = "unitcell.relaxed.wasm", wasm = embed "build/unitcell.relaxed.wasm"),
    (name = "cgcnn_ionic_best.pt", data = embed "build/cgcnn_ionic_best.pt"),
  ],
);
