#!/bin/sh
# Build one virtual environment from its lock: sh requirements/setup.sh .venv requirements/main.txt
# Does nothing when the environment was built from the same lock; a failed build leaves no stamp, so the next run tries again.
set -eu
env=$1 lock=$2 python=${PYTHON:-python3}

stamp=$env/.built-from
if [ -f "$stamp" ] && cmp -s "$stamp" "$lock"; then exit 0; fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || {
    echo "error: $python does not run; install Python 3.11, or name another with make setup PYTHON=/path/to/python3.11" >&2
    exit 2
}
case $version in
3.11) ;;
2.* | 3.[0-9] | 3.10)
    echo "error: $python is Python $version, too old: the locks are for 3.11; name one with make setup PYTHON=/path/to/python3.11" >&2
    exit 2
    ;;
*)
    echo "error: $python is Python $version, too new: the locks are for 3.11; name one with make setup PYTHON=/path/to/python3.11" >&2
    exit 2
    ;;
esac

echo "building $env from $lock (several GB, some minutes)"
rm -rf "$env"
"$python" -m venv "$env" || {
    echo "error: $python -m venv failed; on Debian and Ubuntu: apt-get install python3.11-venv" >&2
    exit 2
}
log=$env/setup.log
if ! "$env/bin/pip" install --disable-pip-version-check -r "$lock" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "error: a package of $lock could not be had or built (whole log: $log); check the network and the package index, then run make setup again" >&2
    exit 2
fi
cp "$lock" "$stamp"
