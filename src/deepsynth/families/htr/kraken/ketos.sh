# Arguments: the run (as $0), the folder of the files the lists name (empty: they are there), ketos and its options.
# Known already: major (version of ketos), passes (after which the training ends), step (as the run calls it).
mkdir -p "$0/steps/${step:=ketos}/work"
cd "$0/steps/$step/work" || exit

# ketos unpickles checkpoints: what came with a run folder from elsewhere is not gone on from.
own() { stat -c '%d %i %W' models 2>/dev/null || true; }
if [ -e models ] && [ "$(own)" != "$(cat models.own 2>/dev/null)" ]; then
  echo "The models here were not made here: the training begins anew."
  rm -rf models
fi
if [ ! -d models ]; then
  rm -rf passes.log hpc_ckpt_*.ckpt
  mkdir models
  own >models.own
fi

if [ -n "$1" ]; then
  for split in train validation; do
    while IFS= read -r name; do echo "$1/$name"; done <"$0/data/$split.txt" >"$split.txt"
  done
fi
shift

device=cpu
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then # as Slurm says it: the GPUs of this job, or none
  [[ $CUDA_VISIBLE_DEVICES =~ ^(-1|NoDevFiles)?$ ]] || device=cuda:0
elif nvidia-smi -L 2>/dev/null | grep -q GPU; then
  device=cuda:0
fi
[[ " $* " != *" AUTO_DEVICE "* ]] || [ "$device" != cpu ] ||
  echo "There is no GPU here for this job: ketos trains on the CPU."
set -- "${@/#AUTO_DEVICE/$device}"

go_on() { # CHECKPOINT: sets argv to what goes on from it, in place of the base model
  local given=("${argv[@]}")
  argv=()
  while [ "${#given[@]}" -gt 0 ]; do
    if [ "${given[0]}" = -i ] || { [ "$major" = 7 ] && [ "${given[0]}" = --resize ]; }; then
      given=("${given[@]:2}")
    else
      argv+=("${given[0]}")
      given=("${given[@]:1}")
    fi
  done
  if [ "$major" = 7 ]; then argv+=(--resume "$1"); else argv+=(-i "$1"); fi
}

newest() { # shellcheck disable=SC2012 # ketos chooses the names
  ls -t models/checkpoint_*.ckpt models/model_*.mlmodel hpc_ckpt_*.ckpt 2>/dev/null | head -n 1
}

# With early stopping, or when it goes on from a model, ketos does not end at `-N` passes in all.
counts=
[[ " $* " != *" -q early "* ]] || counts=yes
argv=("$@")
last=$(newest)
if [[ $last == models/* ]]; then
  [ "$major" = 7 ] || counts=yes
  rm -f hpc_ckpt_*.ckpt # an older one would be taken instead
  echo "It goes on from $last."
  go_on "$last"
fi

export COLUMNS=200 NO_COLOR=1 # its log is read: no line may be broken
touch passes.log
"${argv[@]}" > >(trap '' TERM USR1 INT; exec tee -a passes.log) 2>&1 &
ketos=$!
asked='' full=''
trap 'asked=yes; kill -USR1 "$ketos"' USR1 # it saves what it has, and goes on there the next time
trap 'asked=yes; kill -TERM "$ketos"' TERM
while kill -0 "$ketos" 2>/dev/null; do
  if [ -n "$counts" ] && [ -z "$full" ] && [ "$(grep -c "validation run" passes.log)" -ge "$passes" ]; then
    full=yes
    kill -TERM "$ketos" 2>/dev/null || true
  fi
  sleep 0.5 &
  wait $! || true
done
code=0
wait "$ketos" || code=$?
if [ -n "$full" ] && [ -z "$asked" ]; then
  if [ "$major" = 7 ] && { [ "$code" -ne 0 ] || ! ls models/best_* >/dev/null 2>&1; }; then
    # It was ended, and names its best model only where it ends by itself.
    code=0
    rm -f models/best_*
    argv=("$@")
    go_on "$(newest)"
    "${argv[@]/#early/fixed}" || code=$?
  else
    code=0
  fi
fi
[ "$code" -eq 0 ] && [ -z "$asked" ] && [ "$step" = ketos ] || exit "$code"
mkdir -p "$0/ketos"
cp models/*best* "$0/ketos/" 2>/dev/null || cp models/* "$0/ketos/"
