# A start-up file for an interactive bash whose standard input is what is typed.
# ctrl-T prints the line and clears it; meta-* inserts all completions.
unset HISTFILE
if [[ -n $LIBRARY ]]; then
    source "$LIBRARY"
else
    source "$SHARE/bash-completion/completions/bryo"
fi
bind 'set bell-style none'
bind -x '"\C-t": printf "%s\n" "$READLINE_LINE"; READLINE_LINE= READLINE_POINT=0'
