#!/usr/bin/env bash
# The Python counterparts among themselves, and the keys that `tapdoor init` writes against the page's derivations.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need_peers

check 'every Python phone with every Python lock, and the vectors' peer run_pair.py
make_site --phones 3 --usim
check 'tapdoor init writes the keys that the page derives' peer site.py "$SITE" --check
