# Prints for each line of standard input the line with all completions of its
# last word.
while read -l line
    set -l words (complete -C "$line" | string replace -r '\t.*' '' | string escape)
    string join -- ' ' (string replace -r '[^ ]*$' '' -- "$line" | string trim -r) $words
end
