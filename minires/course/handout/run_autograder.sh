#!/usr/bin/env bash
# Gradescope runs this for every submission. It ignores the exit status, and reads only the file with the results.
# The zip contains the minires that created it, so submissions are graded by the version that was released.
cd /autograder/source
chmod 600 {secret}
PYTHONPATH=/autograder/source /opt/grader/bin/python -m minires course grade /autograder/submission \
    --assignment {name} --secret {secret} --gradescope /autograder/results/results.json
exit 0
