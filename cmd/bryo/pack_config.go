package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"bryo/fsroot/order"
)

// instruction is a thing that an image says about its containers: as a flag, and
// as a word of a Dockerfile.
type instruction struct {
	word, flag, short, kind, usage string
	set                            func(c *order.Config, text string) error
}

func instructions() []instruction {
	return []instruction{
		{"ENTRYPOINT", "entrypoint", "", "WORDS", "what its containers execute, with the command behind it: a JSON array, or words without quotes", func(c *order.Config, text string) (err error) {
			c.Entrypoint, err = parseWords(text)
			return err
		}},
		{"CMD", "cmd", "", "WORDS", "the command of its containers, if they are given none", func(c *order.Config, text string) (err error) {
			c.Cmd, err = parseWords(text)
			return err
		}},
		{"ENV", "env", "e", "KEY[=VALUE]", "set a variable, or pass it on", func(c *order.Config, text string) (err error) {
			c.Env, err = addEnv(c.Env, text)
			return err
		}},
		{"USER", "user", "u", "USER[:GROUP]", "who runs the command", func(c *order.Config, text string) (err error) {
			c.User, err = parseUser(text)
			return err
		}},
		{"WORKDIR", "workdir", "w", "DIR", "working directory", func(c *order.Config, text string) error {
			c.WorkingDir = text
			return absolute(text)
		}},
		{"LABEL", "label", "l", "KEY=VALUE", "attach a label", setLabel},
		{"STOPSIGNAL", "stop-signal", "", "SIGNAL", "what stops the command", func(c *order.Config, text string) error {
			name, err := parseSignal(text)
			c.StopSignal = "SIG" + name
			return err
		}},
		{"EXPOSE", "expose", "", "PORT[/PROTOCOL]", "a port that the command listens at", setExposed},
		{"VOLUME", "volume", "v", "DIR", "a directory whose content is not the image's", func(c *order.Config, text string) error {
			c.Volumes = append(c.Volumes, text)
			return absolute(text)
		}},
	}
}

// change reads an instruction as a Dockerfile has it.
func (o *packOptions) change(text string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	if key, value, found := strings.Cut(word, "="); found { // podman takes CMD=... too
		word, rest = key, strings.TrimSpace(value+" "+rest)
	}
	for _, i := range instructions() {
		if strings.EqualFold(word, i.word) {
			return i.set(&o.order.Config, strings.TrimSpace(rest))
		}
	}
	return fmt.Errorf("%q is no instruction of these: %s", word, strings.Join(instructionWords(), ", "))
}

func instructionWords() (words []string) {
	for _, i := range instructions() {
		words = append(words, i.word+"=")
	}
	return words
}

// parseWords reads a command line. Without a shell there are no quotes.
func parseWords(text string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		words := []string{}
		if err := json.Unmarshal([]byte(text), &words); err != nil {
			return nil, fmt.Errorf("a JSON array of words: %w", err)
		}
		return words, nil
	}
	if strings.ContainsAny(text, "\"'\\$`") {
		return nil, fmt.Errorf("no shell reads it: write words with quotes as a JSON array, as [\"sh\", \"-c\", %s]", strconv.Quote(text))
	}
	return append([]string{}, strings.Fields(text)...), nil
}

func absolute(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("want a path that begins with /")
	}
	return nil
}

func setLabel(c *order.Config, text string) error {
	if _, err := parseLabel(text); err != nil {
		return err
	}
	key, value, _ := strings.Cut(text, "=")
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	c.Labels[key] = value
	return nil
}

func setExposed(c *order.Config, text string) error {
	port, protocol, found := strings.Cut(text, "/")
	if !found {
		protocol = "tcp"
	}
	const bits = 16
	if n, err := strconv.ParseUint(port, 10, bits); err != nil || n == 0 || protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
		return errors.New("want a port, as 80 or 53/udp")
	}
	c.Ports = append(c.Ports, port+"/"+protocol)
	return nil
}
