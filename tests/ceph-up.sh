#!/usr/bin/env bash
# A Ceph of one machine with its S3 gateway, from Debian's packages, without systemd or containers, for tests.
# usage: ceph-up.sh FOLDER PORT up|down
# up: starts a monitor, one OSD on a sparse file and radosgw on 127.0.0.1:PORT, all data in FOLDER, which must not exist,
# and makes the bucket "engram" of the user test (secret test1234). down: stops them and deletes FOLDER.
# Needs ceph-mon ceph-osd ceph-common radosgw uuid-runtime curl, and the right to run daemons (root in a container).
set -euo pipefail
folder=${1:?folder} port=${2:?port} what=${3:?up or down}

if [ "$what" = down ]; then
  for pid in "$folder"/run/*.pid; do
    [ -e "$pid" ] || continue
    number=$(cat "$pid")
    kill "$number" || continue
    while kill -0 "$number" 2>/dev/null; do sleep 0.2; done
  done
  rm -rf "$folder"
  exit 0
fi

[ ! -e "$folder" ] || { echo "$folder exists" >&2; exit 1; }
mkdir -p "$folder"/{mon,osd,run,log}
export CEPH_CONF=$folder/ceph.conf
monitor=127.0.0.1:$((port + 1))
id=$(uuidgen)

# What matters: no authentication and one copy, which a cluster of one can have; no growing caches; and the gateway must
# not wait to fill packets, which costs a small read 40 ms.
cat >"$CEPH_CONF" <<END
[global]
fsid = $id
mon initial members = a
mon host = $monitor
mon allow pool size one = true
mon max pg per osd = 1000
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
public addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = bluestore
osd memory target = 939524096
osd op num shards = 2
bluestore block size = 10737418240
bluestore cache autotune = false
bluestore cache size = 134217728
mon data = $folder/mon
osd data = $folder/osd
rgw data = $folder/run
run dir = $folder/run
log file = $folder/log/\$name.log
admin socket = $folder/run/\$name.asok
pid file = $folder/run/\$name.pid
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw thread pool size = 32
END
for part in ms osd bluestore rocksdb rgw; do echo "debug $part = 0" >>"$CEPH_CONF"; done

# Waits up to a minute for a command to succeed.
until_ok() {
  for _ in $(seq 120); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.5
  done
  echo "did not come up: $*" >&2
  exit 1
}
osd_is_up() { ceph osd stat | grep -q '1 up'; }

monmaptool --create --add a "$monitor" --fsid "$id" "$folder/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$folder/monmap"
ceph-mon -i a --public-addr "$monitor"
osd=$(uuidgen)
until_ok ceph osd new "$osd"
ceph-osd -i 0 --mkfs --osd-uuid "$osd" 2>>"$folder/log/mkfs.log"
ceph-osd -i 0 2>>"$folder/log/osd.log"
until_ok osd_is_up
radosgw -n client.rgw.a
until_ok curl --silent "http://127.0.0.1:$port/"
until_ok radosgw-admin user create --uid=test --display-name=test --access-key=test --secret=test1234
nothing=$(sha256sum </dev/null | cut -d ' ' -f 1)
until_ok curl --silent --fail --aws-sigv4 aws:amz:us-east-1:s3 --user test:test1234 \
  -H "x-amz-content-sha256: $nothing" -X PUT "http://127.0.0.1:$port/engram"
echo "http://127.0.0.1:$port"
