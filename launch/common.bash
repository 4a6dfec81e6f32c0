# What the scripts beside this file share: their options, and running a command or only printing it.
# shellcheck shell=bash disable=SC2154 # here, python: of who reads this file

dry=
root=$(cd "$here/.." && pwd)
settings=() # NAME=VALUE for the environment of `zsi run`
rest=()     # what follows the script's own options: CONFIG and the options of `zsi run`

die() {
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

usage() { # the comment at the head of the script
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
  cat << 'END'
Options of all: --dry-run prints the commands and runs nothing; --python PYTHON; --data DIR
(ZSI_DATA_DIR); --cache DIR (ZSI_CACHE_DIR); --env NAME=VALUE, as often as needed; --help.
The script's own options come before CONFIG; what follows CONFIG is for `zsi run`.
END
  exit 0
}

verbs() { # verbs "A B ..." "$@": the first word is one of them, or asks for help
  local known=${1// /, } word=${2:-}
  [[ $word != --help && $word != -h ]] || usage
  [[ -n $word && " $1 " == *" $word "* ]] || die "${word:-nothing} is none of $known; --help explains them"
}

options() { # options "VALUED ..." "SWITCHES ..." "$@": fills variables of these names, and rest
  local _valued=" python data cache env $1 " _switches=" $2 " _name _value
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h) usage ;;
      --dry-run) dry=1 ;;
      --*)
        _name=${1#--} _name=${_name%%=*}
        if [[ $_switches == *" $_name "* && $1 != *=* ]]; then
          printf -v "${_name//-/_}" 1
        elif [[ $_valued != *" $_name "* ]]; then
          die "there is no option --$_name here; --help lists them"
        else
          if [[ $1 == *=* ]]; then
            _value=${1#*=}
          else
            shift
            [ $# -gt 0 ] || die "--$_name needs a value"
            _value=$1
          fi
          [ -n "$_value" ] || die "--$_name needs a value"
          setting "$_name" "$_value"
        fi
        ;;
      *) break ;;
    esac
    shift
  done
  rest=("$@")
}

setting() {
  case $1 in
    data) settings+=("ZSI_DATA_DIR=$2") ;;
    cache) settings+=("ZSI_CACHE_DIR=$2") ;;
    env)
      [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || die "--env $2 is not NAME=VALUE"
      settings+=("$2")
      ;;
    *) printf -v "${1//-/_}" '%s' "$2" ;;
  esac
}

required() { # required NAME ...: options that have to be given
  local _name _variable
  for _name in "$@"; do
    _variable=${_name//-/_}
    [ -n "${!_variable:-}" ] || die "--$_name is missing; --help shows an example"
  done
}

whole() { # whole NAME: a number above 0
  local _variable=${1//-/_}
  [[ ${!_variable} =~ ^[1-9][0-9]*$ ]] || die "--$1 ${!_variable} is no number above 0"
}

checked() { # rest is something that `zsi run` takes
  [ ${#rest[@]} -gt 0 ] || die 'CONFIG is missing, such as configs/zsi/circles.py:tiny'
  local word
  for word in "${rest[@]}"; do
    [[ $word == -- ]] && break
    [[ $word == --workdir || $word == --workdir=* ]] && return
  done
  die '--workdir=DIR is missing after CONFIG'
}

find_python() { # fills python: that of the checkout, unless another is given
  if [ -z "$python" ]; then
    python=python3
    [ ! -x "$root/.venv/bin/python" ] || python=$root/.venv/bin/python
  fi
  need "$python" 'make env in the checkout, or give --python'
}

need() { # need TOOL WHERE-FROM
  [ -n "$dry" ] || command -v "$1" > /dev/null || die "$1 is not installed: $2"
}

quoted() { # words as a shell reads them back
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=\'${word//\'/\'\\\'\'}\'
    line+=${line:+ }$word
  done
  printf '%s\n' "$line"
}

run() {
  if [ -n "$dry" ]; then quoted "$@"; else "$@"; fi
}

become() { # the last command: signals go to it
  if [ -n "$dry" ]; then quoted "$@"; else exec "$@"; fi
}
