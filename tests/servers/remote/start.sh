#!/usr/bin/env bash
# Plays a remote HPC login node on this box: own hostname, network, pids, and a copy-on-write view of /
# (its /home, /tmp, /etc are its own), running the real sshd and the real Slurm.  usage: remote/start.sh DIR [NAME]
# READABLE="PATH..." lets alice read those paths of this machine.
# Leaves DIR/ssh_config : ssh -F DIR/ssh_config hpc   (user alice, key only; no port is opened on the outer machine),
# and the host `behind`, another sshd that is reached by a jump over hpc.
set -euo pipefail
D=${1:?dir}; NAME=${2:-hpc-login}; mkdir -p "$D"; D=$(cd "$D" && pwd); HERE=$(cd "$(dirname "$0")" && pwd)
[ -f "$D/id" ] || ssh-keygen -q -t ed25519 -N '' -f "$D/id"
mkdir -p "$D"/lower "$D"/cow "$D"/root
cp "$HERE/../slurm/start.sh" "$D/start_slurm.sh"
cat > "$D/inside.sh" <<I
set -e
mount --make-rprivate /
mount -t tmpfs cow "$D/cow"; mkdir "$D/cow/up" "$D/cow/wk"
mount -t overlay overlay -o lowerdir=/,upperdir="$D/cow/up",workdir="$D/cow/wk" "$D/root"
R="$D/root"
mount --rbind /dev "\$R/dev"; mount -t proc proc "\$R/proc"; mount --rbind /sys "\$R/sys"
mount -t tmpfs tmp "\$R/tmp"; chmod 1777 "\$R/tmp"; mount -t tmpfs run "\$R/run"; mount -t tmpfs home "\$R/home"
mkdir -p "\$R/opt/boot"; cp "$D/start_slurm.sh" "$D/id.pub" "\$R/opt/boot/"
for path in ${READABLE:-}; do
  case "\$path" in /tmp/*|/home/*|/run/*)  # its own folders hide what this machine has there
    mkdir -p "\$R\$path"; mount --bind "\$path" "\$R\$path"; mount -o remount,bind,ro "\$path" "\$R\$path"; continue ;;
  esac
  while [ "\$path" != / ]; do chmod o+rx "\$R\$path" || true; path=\$(dirname "\$path"); done
done
hostname $NAME; echo "127.0.0.1 localhost $NAME" > "\$R/etc/hosts"
cat > "\$R/opt/boot/go.sh" <<'G'
set -e
/usr/sbin/ip link set lo up
# AI_ADDRCONFIG in Slurm ignores loopback: it needs one other address in this namespace
/usr/sbin/ip link add eth0 type veth peer name eth1; /usr/sbin/ip addr add 192.0.2.10/24 dev eth0; /usr/sbin/ip link set eth0 up
useradd -m -s /bin/bash alice 2>/dev/null || true
install -d -m 700 -o alice /home/alice/.ssh; install -m 600 -o alice /opt/boot/id.pub /home/alice/.ssh/authorized_keys
echo 'export SLURM_CONF=/opt/slurm/slurm.conf' > /etc/profile.d/slurm.sh; echo 'SLURM_CONF=/opt/slurm/slurm.conf' >> /etc/environment
# a module command like the centre's: module load NAME puts /opt/NAME/bin first
printf 'module() { echo "module \$*" >&2; [ "\$1" != load ] || PATH=/opt/\$2/bin:\$PATH; }\nexport -f module\n' > /etc/profile.d/modules.sh
mkdir -p /run/sshd; ssh-keygen -A >/dev/null
# the login node on port 22; on 2222 a second one that is only reached by a jump over the first
for port in 22 2222; do
  /usr/sbin/sshd -o ListenAddress=127.0.0.1 -o Port=\$port -o PidFile=/run/sshd-\$port.pid -o PasswordAuthentication=no -o UsePAM=yes -o SetEnv=SLURM_CONF=/opt/slurm/slurm.conf
done
bash /opt/boot/start_slurm.sh /opt/slurm
exec sleep infinity
G
echo ready-chroot > "$D/stage"
exec chroot "\$R" /bin/bash /opt/boot/go.sh
I
unshare --net --uts --mount --pid --ipc --fork --kill-child bash "$D/inside.sh" > "$D/boot.log" 2>&1 &
echo $! > "$D/unshare.pid"
for _ in $(seq 300); do INNER=$(pgrep -P "$(cat "$D/unshare.pid")" || true); [ -n "$INNER" ] && grep -q "^n1.*idle\|^n1.*gpu" "$D/boot.log" && break; sleep 0.1; done
echo "$INNER" > "$D/inner.pid"
cat > "$D/ssh_config" <<S
Host hpc
  HostName hpc
  User alice
  IdentityFile $D/id
  IdentitiesOnly yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile $D/known_hosts
  ProxyCommand nsenter -t $INNER -n socat - TCP:127.0.0.1:22
  ControlMaster auto
  ControlPath $D/cm-%n
  ControlPersist 30
Host behind
  HostName 127.0.0.1
  Port 2222
  User alice
  ProxyJump hpc
  IdentityFile $D/id
  IdentitiesOnly yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile $D/known_hosts
S
