# Types each line of standard input and a tab into a zsh on a terminal of its own,
# and prints what the line has become: all completions are inserted.
zmodload zsh/zpty
export LINE=$(mktemp)
zpty shell zsh -f -i
zpty -w shell '
    PROMPT= fpath=($SHARE/zsh/site-functions $fpath)
    autoload -Uz compinit && compinit -u -D
    zstyle ":completion:*" completer _all_matches _complete
    zstyle ":completion:*" insert yes
    show() { print -r -- "$BUFFER" > $LINE; BUFFER=; print -n "sho""wn" }
    zle -N show && bindkey "^T" show
    print "rea""dy"'
zpty -r shell seen '*ready*'
while IFS= read -r line; do
    zpty -w -n shell "$line"$'\t\x14'
    zpty -r shell seen '*shown*'
    cat $LINE
done
rm $LINE
