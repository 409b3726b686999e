#!/bin/bash
# The first process of a host of the test cluster, in namespaces of its own; its end is the host's end.
#
#   host.sh NAME MOUNTS TEMPORARY    MOUNTS: a file of lines "SOURCE<tab>TARGET", mounted in this order
set -e
trap 'exit 0' TERM
read -r pid _ </proc/self/stat # as the machine numbers it: /proc is not the host's own yet
hostname "$1"
mount --make-rprivate /
mount -t tmpfs -o mode=755 run /run
mkdir -m 1777 /run/lock
install -d -o munge -g munge /run/munge
install -d -o mysql -g mysql /run/mysqld
while IFS=$'\t' read -r source target; do
  mount --rbind "$source" "$target"
done <"$2"
mount --rbind "$3" "${TMPDIR:-/tmp}" # last: most of the sources are in there
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for controller in $CGROUPS; do
  mkdir "/sys/fs/cgroup/$controller"
  mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
done
mount -t proc proc /proc
cat /proc/sys/kernel/random/uuid >/run/boot_id # a host that is started again has another
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
for program in node nodejs npm R Rscript; do # JupyterLab runs them at each start where a host has them; a cluster's have not
  if path=$(command -v "$program"); then
    mount --bind /dev/null "$path"
  fi
done
cd /
echo "$pid"
exec >/dev/null
while :; do # as a first process must, it waits for orphans as they end
  sleep 86400 &
  wait $!
done
