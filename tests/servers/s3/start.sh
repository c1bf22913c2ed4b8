#!/usr/bin/env bash
# One-node Ceph (1 mon, 1 osd in memory, radosgw): a full production S3 on 127.0.0.1:$PORT.  usage: start.sh DIR
# All state lives in DIR; stop with stop.sh DIR.  PORT, MON_PORT and OSD_PORT move the ports.
set -euo pipefail
D=${1:?}; P=${PORT:-5106}; MP=${MON_PORT:-16789}; mkdir -p "$D"/{mon,osd,rgw,log,run}; D=$(cd "$D"&&pwd)
F=$(cat /proc/sys/kernel/random/uuid); U=$(cat /proc/sys/kernel/random/uuid)
cat > $D/ceph.conf <<C
[global]
fsid = $F
mon host = [v2:127.0.0.1:$MP/0]
mon initial members = a
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind port min = ${OSD_PORT:-16800}
ms bind port max = $((${OSD_PORT:-16800}+15))
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = 2147483648
osd memory target = 939524096
run dir = $D/run
admin socket = $D/run/\$name.asok
log file = $D/log/\$name.log
pid file = $D/run/\$name.pid
mon data = $D/mon
osd data = $D/osd
keyring = $D/keyring
rgw data = $D/rgw
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$P
rgw thread pool size = 32
C
export CEPH_CONF=$D/ceph.conf; c() { ceph -c $D/ceph.conf "$@"; }
ceph-authtool --create-keyring $D/keyring --gen-key -n mon. --cap mon 'allow *' >/dev/null
for n in client.admin client.rgw; do ceph-authtool $D/keyring --gen-key -n $n --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null; done
monmaptool --create --clobber --addv a "[v2:127.0.0.1:$MP]" --fsid $F $D/monmap >/dev/null
ceph-mon -c $D/ceph.conf --mkfs -i a --monmap $D/monmap --keyring $D/keyring >/dev/null 2>&1
ceph-mon -c $D/ceph.conf -i a
c osd new $U 0 >/dev/null 2>&1
ceph-authtool $D/osd/keyring --create-keyring --gen-key -n osd.0 --cap mon 'allow *' --cap osd 'allow *' >/dev/null 2>&1 || { mkdir -p $D/osd; ceph-authtool $D/osd/keyring --create-keyring --gen-key -n osd.0 --cap mon 'allow *' --cap osd 'allow *' >/dev/null; }
c auth add osd.0 -i $D/osd/keyring >/dev/null 2>&1
ceph-osd -c $D/ceph.conf -i 0 --mkfs --osd-uuid $U --keyring $D/osd/keyring >/dev/null 2>&1
ceph-osd -c $D/ceph.conf -i 0 --keyring $D/osd/keyring >/dev/null
radosgw -c $D/ceph.conf -n client.rgw
radosgw-admin -c $D/ceph.conf user create --uid=ds --display-name=ds --access-key=deepsynth --secret-key=deepsynthsecret >/dev/null 2>&1
for _ in $(seq 300); do curl -s -o /dev/null http://127.0.0.1:$P && break; sleep 0.1; done
