#!/bin/sh
# Builds the distributions of the version, checks them, and makes its tag.
set -eu

usage() {
    cat <<'TEXT'
usage: release.sh [--dry-run] [PYTHON]

Checks that this checkout can be released, builds the sdist and the wheel into dist/, checks both,
and makes the annotated tag vVERSION. Needs no network.

  --dry-run  do everything but the tag
  PYTHON     the Python of a development environment (make setup); default: .venv/bin/python

Exit codes: 0 done; 1 a check failed; 2 usage.
TEXT
}

failed() { echo "release: $*" >&2; exit 1; }

dry_run=no
case ${1:-} in
    -h | --help) usage && exit 0 ;;
    --dry-run) dry_run=yes && shift ;;
    -*) echo "release: unknown option '$1'. Try --help" >&2; exit 2 ;;
esac
[ $# -le 1 ] || { echo "release: too many arguments. Try --help" >&2; exit 2; }
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
python=$(command -v "$python") || failed "no such program: ${1:-.venv/bin/python}; run make setup"
case $python in /*) ;; *) python=$PWD/$python ;; esac
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

echo "» check the checkout"
version=$("$python" -I -m hatchling version)
tag=v$version
changed=$(git status --porcelain)
[ -z "$changed" ] || failed "the checkout has changes; commit or remove them:
$changed"
"$python" deploy/release_checks.py "$version"
if git rev-parse --quiet --verify "refs/tags/$tag" >"$scratch/tag"; then
    [ "$(git rev-parse "$tag^{commit}")" = "$(git rev-parse HEAD)" ] ||
        failed "tag $tag exists at another commit; raise VERSION in core/fleetmark_core/version.py"
fi

echo "» build version $version"
# Times of files in the distributions, so that two builds of one commit are equal.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
build() {
    "$python" -I -m hatchling build -t "$1" -d "$scratch/dist" >"$scratch/log" 2>&1 || {
        cat "$scratch/log" >&2
        failed "cannot build the $1"
    }
}
build sdist
# The wheel is built from the sdist, which proves that the sdist is complete.
mkdir "$scratch/sdist"
tar -xzf "$scratch/dist/fleetmark-$version.tar.gz" -C "$scratch/sdist" --strip-components 1
(cd "$scratch/sdist" && build wheel)

echo "» check the distributions"
"$python" deploy/release_checks.py "$version" "$scratch"/dist/*
# The dependencies come from the development environment; Fleetmark itself does not, because Python
# reads no .pth files in a folder of PYTHONPATH.
"$python" -I -m venv "$scratch/venv"
"$scratch/venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input \
    --no-deps --no-index "$scratch"/dist/*.whl
PYTHONPATH=$("$python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
export PYTHONPATH
for package in agent controller; do
    answer=$(cd "$scratch" && "venv/bin/$package" --version)
    case " $answer" in
        *" $version") echo "  $package --version: $answer" ;;
        *) failed "$package --version answers '$answer', expected $version" ;;
    esac
    imported=$(cd "$scratch" && venv/bin/python -c "import fleetmark_$package as p; print(p.__file__)")
    case $imported in
        "$scratch"/venv/*) ;;
        *) failed "fleetmark_$package is imported from $imported, not from the wheel" ;;
    esac
done
unset PYTHONPATH

mkdir -p dist
for file in "$scratch"/dist/*; do
    mv -f "$file" dist/
    echo "  dist/$(basename "$file")"
done
if [ -s "$scratch/tag" ]; then
    echo "Tag $tag exists already at this commit."
elif [ "$dry_run" = yes ]; then
    echo "Version $version can be released; no tag was made (--dry-run)."
else
    git tag --annotate "$tag" --message "Fleetmark $version"
    echo "Made tag $tag. Publish it: git push origin $tag"
fi
