# Shared by .ci/run and .ci/full: a fresh virtual environment with the project and all its extras, as a new user makes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

fresh_environment() {
    step "install"
    "${PYTHON:-python3.11}" -m venv "$scratch/env"
    . "$scratch/env/bin/activate"
    pip install -q -c .ci/constraints.txt -e '.[test,atari,tensorboard,stats,dashboard,trackio,video,browser,hub,slurm,search]'
}

# The browser that the player of report.html is tested in; its tests skip without one.
chromium() {
    [ -x /usr/bin/chromium ] && return
    step "chromium"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
    fi
    [ -x /usr/bin/chromium ] || echo "no /usr/bin/chromium: the player's tests skip; as root, apt-get install chromium"
}

# smoke NAME ARGUMENTS...: one run of the main command at its smallest size
smoke() {
    local name=$1
    shift
    step "smoke: $name"
    python -m benchmarks.transfer --preset smoke --no-baseline --out "$scratch/smoke-$name" "$@" >"$scratch/log" 2>&1 || {
        tail -40 "$scratch/log"
        return 1
    }
}
