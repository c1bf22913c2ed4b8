#!/usr/bin/env bash
# Stops the Ceph that start.sh DIR started; the gateway first, so that nothing is cut short in the store.
for f in "$1"/run/client.rgw.pid "$1"/run/osd.0.pid "$1"/run/mon.a.pid; do
  if [ -f "$f" ]; then kill "$(cat "$f")" 2>/dev/null; fi
done
true
