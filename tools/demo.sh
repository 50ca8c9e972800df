#!/bin/sh
# The demo: a team of simulated agents on a scratch repository, and an adversarial review of a change.
set -eu
cd "$(dirname "$0")/.."
orchestra="$PWD/.venv/bin/orchestra"
rm -rf .demo
mkdir .demo
"$orchestra" demo .demo/team

echo
echo "== A review of a change: three reviewers, a critic who sends them back, a person who decides."
cp -RL examples/pr-review .demo/review
cd .demo/review
git init -q -b main
printf 'def find(db, name):\n    return None\n' > app.py
git add -A
git -c user.name=You -c user.email=you@localhost commit -qm "A shop that finds nobody"
git checkout -qb change
printf 'def find(db, name):\n    return db.execute("select * from users where name = " + name).fetchone()[0]\n' > app.py
git -c user.name=You -c user.email=you@localhost commit -qam "Look users up"
"$orchestra" run pr-review.dot --simulate simulation.yaml --answers answers.yaml
echo
cat review.md
cat <<'END'

Try next (. .venv/bin/activate puts orchestra on your PATH):
  cd .demo/team; orchestra status last --detail        every node, and why each edge was taken
  cd .demo/review; orchestra export last --html run.html   the review as a page: graph, timeline, conversations
  orchestra compile examples/plan-build-review.dot     what the checker says about a pipeline
  orchestra explain unbounded_loop                     what a diagnostic means
END
