#!/usr/bin/env bash
# Runs a real Ceph (a monitor, one OSD in memory, the S3 gateway) on loopback, in the foreground: stop it by its pid.
#
#   tests/services/ceph.sh [PORT]        default 7480; PORT + 1 is the monitor's, the OSD takes free ones from PORT + 2 on
#
# The store that must be refused: Ceph 16, as Debian 12 has it, ignores If-None-Match in versioned buckets. It checks
# signatures and evaluates bucket policies, which LocalStack does not. The user's keys are test and test. Needs the
# packages radosgw, ceph-mon and ceph-osd; no root, no systemd. Data is in memory and in the folder below, and goes with it.
# CEPH_HOME      another folder; default target/services/ceph-PORT. A file `ready` appears in it when the user can be used
set -euo pipefail

port=${1:-7480}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${CEPH_HOME:-$(cd "$here/../.." && pwd)/target/services/ceph-$port}
rm -rf "$home"
mkdir -p "$home"/{mon,osd,run,log}
# a path of a Unix socket has 107 characters at most
sockets=$(mktemp -d "${TMPDIR:-/tmp}/authseal-ceph.XXXXXX")
uuid() { cat /proc/sys/kernel/random/uuid; }
fsid=$(uuid)

cat > "$home/ceph.conf" << CONF
[global]
fsid = $fsid
mon_initial_members = a
mon_host = [v1:127.0.0.1:$((port + 1))]
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
ms_bind_ipv6 = false
ms_bind_msgr2 = false
ms_bind_port_min = $((port + 2))
ms_bind_port_max = $((port + 200))
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
mon_warn_on_insecure_global_id_reclaim_allowed = false
# one of everything
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
osd_crush_chooseleaf_type = 0
# a full disk of the machine is not its business: data is in memory
osd_failsafe_full_ratio = .99
mon_osd_full_ratio = .98
mon_osd_nearfull_ratio = .96
mon_osd_backfillfull_ratio = .97
mon_data_avail_warn = 1
mon_data_avail_crit = 1
run_dir = $sockets
admin_socket = $sockets/\$name.asok
pid_file = $home/run/\$name.pid
crash_dir = $home/run
log_file = $home/log/\$name.log
debug_ms = 0
log_max_recent = 10
[mon]
mon_data = $home/mon
mon_cluster_log_file = $home/log/cluster.log
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
[osd]
osd_data = $home/osd
osd_objectstore = memstore
memstore_device_bytes = 1073741824
osd_class_default_list = *
osd_class_load_list = *
osd_crush_initial_weight = 1
[client]
rgw_frontends = beast endpoint=127.0.0.1:$port
rgw_data = $home/run
rgw_run_sync_thread = false
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 1
CONF
export CEPH_ARGS="--conf $home/ceph.conf"

daemons=()
finish() {
  trap '' TERM INT HUP
  # at once: an OSD without its monitor waits for a long time, and nothing is to be kept
  ((${#daemons[@]} == 0)) || kill -KILL "${daemons[@]}" 2> /dev/null || true
  wait || true
  rm -rf "$sockets"
}
trap finish EXIT
trap 'exit 143' TERM INT HUP

# Repeats a command until it succeeds, for half a minute.
until_done() {
  local tries=150
  until "$@" > /dev/null 2>> "$home/log/start.log"; do
    ((tries-- > 0)) || { echo "ceph: $* still fails; see $home/log" >&2; exit 1; }
    sleep 0.2
  done
}
osd_is_up() { ceph osd stat 2> /dev/null | grep -q '1 up'; }

monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$((port + 1))]" "$home/monmap" > /dev/null
ceph-mon --mkfs -i a --monmap "$home/monmap" --fsid "$fsid"
ceph-mon -i a -f & daemons+=($!)
uuid > "$home/osd.uuid"
until_done timeout 10 ceph osd new "$(< "$home/osd.uuid")"
ceph-osd -i 0 --mkfs --osd-uuid "$(< "$home/osd.uuid")" > "$home/log/mkfs.log" 2>&1
ceph-osd -i 0 -f & daemons+=($!)
until_done osd_is_up
radosgw -n client.rgw.a -f & daemons+=($!)
until_done timeout 20 radosgw-admin user create --uid=test --display-name=test --access-key=test --secret-key=test
touch "$home/ready"
# ends when the first of them does, which is an error unless we were told to
wait -n
