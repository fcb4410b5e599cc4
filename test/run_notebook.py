"""run_notebook.py NOTEBOOK KERNEL: runs its cells in a kernel, as Jupyter does, and prints what they print."""

import sys

import nbclient
import nbformat

notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=120, kernel_name=sys.argv[2]).execute()
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        sys.stdout.write(output.get("text") or "".join(output.get("traceback", [])))
