#!/bin/sh
# The demo: one run in simulation on an embedded store of its own, then what the store remembers.
set -eu
cd "$(dirname "$0")/.."
orchestra=.venv/bin/orchestra
export ORCHESTRA_CXDB_PATH=.demo/cxdb

echo "== A pipeline with a failing branch, in simulation: no key, no network, no Docker."
"$orchestra" run examples/plan-build-review.dot --simulate examples/plan-build-review.yaml
echo
echo "== And a loop that ends when the reviewer approves."
"$orchestra" run examples/review-loop.dot --simulate examples/review-loop.yaml
echo
echo "== What the store remembers"
"$orchestra" status
cat <<'END'

Try next (the demo's store is .demo/cxdb; . .venv/bin/activate puts orchestra on your PATH):
  orchestra status --store .demo/cxdb last --detail    every node, and why each edge was taken
  orchestra log --store .demo/cxdb last                every recorded event
  orchestra compile examples/plan-build-review.dot     what the checker says about a pipeline
  orchestra explain unbounded_loop                     what a diagnostic means
END
