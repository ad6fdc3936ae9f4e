# fish completion for bryo(1). bryo itself says what can follow.

function __bryo_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l bryo (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l reply ($bryo complete line $words[2..] "$word" 2> /dev/null)

    # What is offered takes the place of the value in --flag=value.
    set -l flag (string match -r -- '^--[^=]*=' "$word")
    set -l value (string replace -- "$flag" '' "$word")
    for line in $reply[2..]
        echo "$flag$line"
    end

    switch "$reply[1]"
        case files
            for path in (__fish_complete_path "$value")
                echo "$flag$path"
            end
        case directories
            for path in (__fish_complete_directories "$value")
                echo "$flag$path"
            end
        case 'program *'
            set -l start (string split ' ' $reply[1])[2]
            set -l program (string escape -- $words[(math $start + 1)..])
            complete -C (string join -- ' ' $program "$word")
    end
end

complete -c bryo -f -a '(__bryo_complete)'
