# bash completion for bryo(1). bryo itself says what can follow.

_bryo() {
    # readline parts words at = and :, too. words are those that bryo would get,
    # starts are their places among readline's.
    local line=${COMP_LINE:0:COMP_POINT} words=() starts=() word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if ((i == 0)) || [[ $line == [[:blank:]]* ]]; then
            line=${line#"${line%%[![:blank:]]*}"}
            words+=('') starts+=("$i")
        fi
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$line
        words[-1]+=$word
        line=${line#"$word"}
    done

    # What is offered takes the place of the value in --flag=value. readline is
    # given only what is behind its last break.
    local current=${words[-1]} breaks=${COMP_WORDBREAKS//[^=:]/} value broken=
    value=$current
    [[ $value != --*=* ]] || value=${value#*=}
    [[ -z $breaks ]] || broken=${current%"${current##*[$breaks]}"}

    local reply
    mapfile -t reply < <("${1/#~\//$HOME/}" complete line "${words[@]:1}" 2> /dev/null)
    COMPREPLY=()
    for word in "${reply[@]:1}"; do
        word=${current%"$value"}${word%%$'\t'*}
        [[ $word != "$current"* ]] || COMPREPLY+=("${word#"$broken"}")
    done
    [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *[=:] ]] || compopt -o nospace

    case ${reply[0]} in
        files) compopt -o default ;;
        directories) compopt -o plusdirs -o filenames ;;
        program*) _bryo_program "${starts[${reply[0]#* }]}" "$current" ;;
    esac
}

# The line from this word on is another program's, which bash-completion can
# complete where it is there.
_bryo_program() {
    if declare -F _comp_command_offset > /dev/null; then
        _comp_command_offset "$1"
    elif declare -F _command_offset > /dev/null; then
        _command_offset "$1"
    elif (($1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$2" | sort -u)
    else
        compopt -o default
    fi
}

complete -F _bryo bryo
