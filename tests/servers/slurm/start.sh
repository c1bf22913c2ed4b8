#!/usr/bin/env bash
# Real Slurm (Debian 22.05) on loopback: no systemd, no cgroups, no docker.  usage: [VARS] start.sh DIR
# All state lives in DIR; a client needs only SLURM_CONF=DIR/slurm.conf.  Stop with stop.sh DIR.
# SLURM_GRACE, SLURM_PREEMPT (REQUEUE or CANCEL) and SLURM_SIGNAL=0 choose how the partition publicgpu preempts.
# SLURM_DBD=1 adds slurmdbd + a private MariaDB (unix socket), needed for sacct.  SLURM_BASE_PORT moves the ports.
set -euo pipefail
D=${1:?dir}; mkdir -p "$D"/{state,spool,log,run}; D=$(cd "$D" && pwd); chmod 755 "$D" "$D/run"
BASE=${SLURM_BASE_PORT:-16817}; H=$(hostname -s); CPUS=${SLURM_FAKE_CPUS:-8}
wait_for() { for _ in $(seq 150); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; echo "timeout: $*" >&2; return 1; }

head -c 128 /dev/urandom > "$D/munge.key"; chmod 600 "$D/munge.key"
munged --force --key-file="$D/munge.key" --socket="$D/run/munge.sock" --pid-file="$D/run/munged.pid" \
  --seed-file="$D/run/munged.seed" --log-file="$D/log/munged.log" --num-threads=4
printf '#!/bin/sh\n{ echo "ARGS $*"; env | grep ^SLURM_ | sort; echo; } >> %s/log/mail.log\n' "$D" > "$D/mail.sh"; chmod +x "$D/mail.sh"
if [ "${SLURM_DBD:-0}" = 1 ]; then ACCT="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$((BASE+8))
AccountingStoragePass=$D/run/munge.sock
AccountingStorageTRES=gres/gpu"; else ACCT=AccountingStorageType=accounting_storage/none; fi

SIGNAL=; [ "${SLURM_SIGNAL:-1}" = 0 ] || SIGNAL="SlurmctldParameters=preempt_send_user_signal
"
cat > "$D/slurm.conf" <<C
ClusterName=loop
SlurmctldHost=$H(127.0.0.1)
SlurmctldPort=$BASE
SlurmdPort=$((BASE+1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire: a requeued job waits this long +1 s (default 120, minimum 5)
AuthInfo=socket=$D/run/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
MailProg=$D/mail.sh
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
${SIGNAL}JobRequeue=1
ReturnToService=2
KillWait=${SLURM_KILLWAIT:-3}
MinJobAge=600
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
$ACCT
JobCompType=jobcomp/filetxt
JobCompLoc=$D/log/jobcomp.log
NodeName=n1 NodeHostname=$H NodeAddr=127.0.0.1 Port=$((BASE+1)) CPUs=$CPUS RealMemory=4000 Gres=gpu:2 Feature=gputc,v100
NodeName=n2 NodeHostname=$H NodeAddr=127.0.0.1 Port=$((BASE+2)) CPUs=$CPUS RealMemory=4000 Feature=cpu
PartitionName=cpu       Nodes=n2 Default=YES MaxTime=1:00:00 State=UP
PartitionName=publicgpu Nodes=n1 MaxTime=24:00:00 PriorityTier=1  PreemptMode=${SLURM_PREEMPT:-REQUEUE} GraceTime=${SLURM_GRACE:-0} State=UP
PartitionName=grantgpu  Nodes=n1 MaxTime=24:00:00 PriorityTier=10 PreemptMode=OFF State=UP
C
printf 'NodeName=n1 Name=gpu File=/dev/null\nNodeName=n1 Name=gpu File=/dev/zero\n' > "$D/gres.conf"
export SLURM_CONF="$D/slurm.conf"

if [ "${SLURM_DBD:-0}" = 1 ]; then
  mkdir -p "$D/db"
  mariadb-install-db --no-defaults --datadir="$D/db" --auth-root-authentication-method=normal --skip-test-db --user=root >"$D/log/db-install.log" 2>&1
  mariadbd --no-defaults --user=root --datadir="$D/db" --socket="$D/run/db.sock" --skip-networking --pid-file="$D/run/mariadb.pid" \
    --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 >"$D/log/mariadb.log" 2>&1 &
  wait_for mariadb-admin --no-defaults -uroot -S "$D/run/db.sock" ping
  cat > "$D/slurmdbd.conf" <<B
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock
DbdHost=localhost
DbdPort=$((BASE+8))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
PidFile=$D/run/slurmdbd.pid
LogFile=$D/log/slurmdbd.log
B
  chmod 600 "$D/slurmdbd.conf"
  MYSQL_UNIX_PORT="$D/run/db.sock" slurmdbd
  wait_for bash -c "exec 3<>/dev/tcp/127.0.0.1/$((BASE+8))"
  sacctmgr -i add cluster loop >/dev/null; sacctmgr -i add account lab >/dev/null; sacctmgr -i add user root account=lab >/dev/null
fi
slurmctld -c; slurmd -N n1; slurmd -N n2
wait_for bash -c '[ "$(sinfo -h -o %T | sort -u)" = idle ]'
sinfo -N -o "%N %P %T %c %G %f"
