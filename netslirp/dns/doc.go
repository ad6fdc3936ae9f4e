// Package dns answers a container's questions for names: from the hosts it was
// given, and from the host's own resolvers, loopback ones included.
//
// What comes from the container is never passed on as it came. A question is
// read, judged and written anew, so that what the policy saw is what the
// resolver is asked; options that a client added to it do not leave. Answers
// are matched with their questions, and what they say of addresses goes to
// Learn before the container has them.
//
// message.go and learn.go are pure; exchange.go talks to the resolvers and
// conf.go reads their addresses; names.go remembers what was learnt.
package dns
