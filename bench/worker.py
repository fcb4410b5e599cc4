"""What the Python sides of the bench share: a loop over requests, one JSON object a line, and the clock.

A request is {"step": NAME, "calls": n, "clock": "wall" or "processor", ...arguments}. A step takes the request and returns (what is timed, what is told
of its result). What it works on is prepared first and kept for the next request; only the step itself is timed, here, so
that no message counts. The answer is {"ms": milliseconds per call, "result": ...} or {"error": text}.
"""
import json
import sys
import time
from functools import lru_cache


def work(steps, versions, lacking=()):
    """
    Serve until stdin ends. `steps` is a module's globals: its functions called step_NAME, of which the names `lacking` do
    not work here; `versions` go to people.
    """
    prefix = "step_"
    names = [name[len(prefix):] for name in steps if name.startswith(prefix)]
    able = [name for name in names if name not in lacking]

    @lru_cache(None)
    def prepared(request):
        """The step of a request's text; kept, so that later rounds find their inputs and outputs in place."""
        arguments = json.loads(request)
        return steps[prefix + arguments["step"]](arguments)

    def answer(request):
        calls = request.pop("calls")
        clock = {"wall": time.perf_counter, "processor": time.process_time}[request.pop("clock")]
        once, tell = prepared(json.dumps(request))
        start = clock()
        for _ in range(calls):
            result = once()
        ms = (clock() - start) * 1000 / calls
        return {"ms": ms, "result": tell(result)}

    print(json.dumps({"versions": {"Python": sys.version.split()[0], **versions}, "steps": able}), flush=True)
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # reported to the bench, which stops
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
