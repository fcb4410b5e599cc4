"""run_notebook.py NOTEBOOK KERNEL: runs its cells in a kernel of Jupyter, and prints what they print."""

import json
import queue
import sys

from jupyter_client.manager import start_new_kernel

# Deno's kernel may say that a cell is done before its last line is out (2.9.6), which nbclient then leaves out.
LATE = 1.0

manager, client = start_new_kernel(kernel_name=sys.argv[2])
try:
    with open(sys.argv[1]) as file:
        cells = json.load(file)["cells"]
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        request = client.execute("".join(cell["source"]))
        timeout = 120.0
        while True:
            try:
                message = client.get_iopub_msg(timeout=timeout)
            except queue.Empty:
                if timeout == LATE:
                    break
                sys.exit("the kernel does not answer")
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != request:
                continue
            if kind == "stream":
                sys.stdout.write(content["text"])
            if kind == "error":
                sys.exit("\n".join(content["traceback"]))
            if kind == "status" and content["execution_state"] == "idle":
                timeout = LATE
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
