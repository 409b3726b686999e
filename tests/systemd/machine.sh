#!/bin/bash
# The first process of a machine, until it becomes systemd; in namespaces of its own for everything.
#
#   machine.sh DISK    DISK: its root directory, see machine.py
set -e
read -r pid _ </proc/self/stat # as the host numbers it: /proc is not the machine's own yet
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"

mount --rbind /usr usr
mount -o remount,bind,ro usr
mount -t proc proc proc
# Of the kernel, which is the host's, it may change nothing.
for path in sys irq bus fs sysrq-trigger; do
  if [ -e "proc/$path" ]; then
    mount --bind "proc/$path" "proc/$path"
    mount -o remount,bind,ro "proc/$path"
  fi
done
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup # begins at the group that this process is in
mount -t tmpfs -o mode=755 dev dev
for device in full null random tty urandom zero; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp

mkdir -p mnt
pivot_root . mnt
umount -l /mnt
cd /
echo "$pid"
# What systemd needs to know that it is in a container; and none of the privileges that reach out of one.
exec env -i container=rps-tests LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-mac_admin,-mac_override,-sys_module,-sys_rawio,-sys_time,-syslog,-wake_alarm \
  /lib/systemd/systemd
