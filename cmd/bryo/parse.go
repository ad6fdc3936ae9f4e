package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"bryo/fsroot"
)

// parse reads a command line. Its errors name the flag as it was written, and
// the one that was probably meant.
func parse(flags *pflag.FlagSet, args []string) error {
	err := flags.Parse(args)
	var value *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &value):
		return fmt.Errorf("%s: %w", spelled(value.GetFlag()), errors.Unwrap(value))
	case errors.As(err, &unknown):
		return fmt.Errorf("%w\nfix: %s", err, advice(flags, unknown.GetSpecifiedName()))
	}
	return err
}

func spelled(f *pflag.Flag) string { return "--" + f.Name }

// advice is what does the same, the flag with the same letters, or where to find all.
func advice(flags *pflag.FlagSet, name string) string {
	letters := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "") }
	if !flags.HasAvailableFlags() {
		return fmt.Sprintf("bryo %s has no flags; put -- before what begins with -", flags.Name())
	}
	if fix := otherFlag(flags.Name(), name); fix != "" {
		return fix
	}
	fix := fmt.Sprintf("bryo help %s lists the flags", flags.Name())
	flags.VisitAll(func(f *pflag.Flag) {
		if letters(f.Name) == letters(name) {
			fix = "write --" + f.Name
		}
	})
	return fix
}

// parseSize is for what counts bytes with a sign, as files do.
func parseSize(text string) (int64, error) {
	size, err := fsroot.ParseSize(text)
	return int64(size), err
}
