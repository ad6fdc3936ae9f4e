#compdef bryo
# zsh completion for bryo(1). bryo itself says what can follow.

_bryo() {
    local bryo=${${(Q)words[1]}/#\~\//$HOME/} line word text
    local -a before=("${(@Q)words[2,CURRENT-1]}") reply
    reply=("${(@f)$($bryo complete line "${before[@]}" "${(Q)PREFIX}" 2> /dev/null)}")

    if [[ $reply[1] == program* ]]; then
        shift ${reply[1]#* } words
        (( CURRENT -= ${reply[1]#* } ))
        _normal
        return
    fi

    # What is offered takes the place of the value in --flag=value.
    [[ $PREFIX != --*=* ]] || compset -P 1 '*='
    local -a closed open
    for line in "${(@)reply[2,-1]}"; do
        word=${line%%$'\t'*} text=${line#*$'\t'}
        text=${word//:/\\:}${text:+:$text}
        if [[ $word == *[=:] ]]; then
            open+=("$text")
        else
            closed+=("$text")
        fi
    done
    local ret=1
    _describe -t values value closed -- open -S '' && ret=0
    case $reply[1] in
        files) _files && ret=0 ;;
        directories) _files -/ && ret=0 ;;
    esac
    return ret
}

# Loaded as a function, or read in by the user's own set-up.
if [[ $funcstack[1] == _bryo ]]; then
    _bryo
else
    compdef _bryo bryo
fi
