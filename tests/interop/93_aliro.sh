#!/usr/bin/env bash
# Aliro 1.0: the certification tool's checklist and more of its kind, by counterparts in Python, against our phone and our lock.
# The cases are those of tests/peers/aliro_ud*.py and aliro_rdr*.py. No pcscd: the counterparts speak vpcd's framing.
# Not in here: the step-up cases, and older numbers of the tool of which no more than the number is known.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need_peers

check 'Aliro counterparts: recorded transactions' peer aliro_vectors.py
check 'Aliro counterparts: every case among themselves, and each fails where it must' peer aliro_pair.py

make_site
peer aliro_check.py phone --tapdoor "$TAPDOOR" --site "$SITE"
peer aliro_check.py lock --tapdoor "$TAPDOOR" --site "$SITE"
cat "$SITE"/aliro-*.err >&2
