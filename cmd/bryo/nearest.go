package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// unknownVerb tells what does the same, the command that was probably meant, or all.
func unknownVerb(s streams, name string) int {
	why := fmt.Sprintf("there is no command %q", name)
	if fix := otherVerbs()[name]; fix != "" {
		return report(s, fmt.Errorf("%s\nfix: %s", why, fix))
	}
	if meant := nearest(name, names()); meant != "" {
		return report(s, fmt.Errorf("%s\nfix: bryo %s", why, meant))
	}
	return usage(s, why)
}

// nearest is the word with the fewest mistakes in it, "" if all have too many, which
// is more than one for three letters: a mistake is a letter too many, too few, wrong,
// or in the next one's place.
func nearest(text string, words []string) string {
	const most, share = 2, 3
	best, least := "", most+1
	const longest = 32 // no command is, and the table of mistakes grows with it
	if utf8.RuneCountInString(text) > longest {
		return best
	}
	for _, word := range words {
		n := mistakes([]rune(text), []rune(word))
		nearer := n < least || n == least && strings.HasPrefix(word, text) && !strings.HasPrefix(best, text)
		if nearer && n <= min(len(word), len(text))/share {
			best, least = word, n
		}
	}
	return best
}

// mistakes is the optimal string alignment distance.
func mistakes(a, b []rune) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			wrong := 1
			if a[i-1] == b[j-1] {
				wrong = 0
			}
			n := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+wrong)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, rows[i-2][j-2]+1)
			}
			rows[i][j] = n
		}
	}
	return rows[len(a)][len(b)]
}
