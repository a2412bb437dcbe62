#!/bin/sh
# What ViZDoom's library starts instead of its engine; engine.py says why. It is started through a link, and beside that
# link, in a folder of this engine's own, is another one called "vizdoom", which leads to the engine.
trap '' HUP INT TERM # Ctrl-C is Python's to answer.
cd "${0%/*}" && {
    printf '%s\n' "$@" >arguments
    # The number is written before the engine exists, so that no engine is ever unknown.
    sh -c 'echo $$ >pid && exec ./vizdoom "$@"' vizdoom "$@" &
    wait $!
} </dev/null >"${DREAM_DOOM_ENGINE_LOG:-${0%/*}/log}" 2>&1
exec </dev/null >/dev/null 2>&1
echo ended >ended
# The library crashes Python when its engine ends before it has started: keep the end from it, as long as there is Python.
while [ ! -e started ] && kill -0 $PPID 2>/dev/null; do
    sleep 1
done
