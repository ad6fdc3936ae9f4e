package monitor

import (
	"encoding/binary"
	"fmt"
)

// What goes over a container's attach socket, both ways:
//
//	kind, 1 byte | length, 4 bytes, little endian | that many bytes
//
//	client                              monitor
//	  |  input, end of input, size        |
//	  |---------------------------------->|
//	  |             output, error output  |
//	  |<----------------------------------|
//	  |  the end, once there is no more   |
//	  |<----------------------------------|
//
// A connection that ends without the end is one of a client that was too slow,
// or of a monitor that was killed.

// Kind is a message's.
type Kind byte

// The kinds of messages.
const (
	Input       Kind = 'i' // for the command
	EndOfInput  Kind = 'e' // there is no more
	Size        Kind = 's' // of the client's window: rows and columns, 2 bytes each
	Output      Kind = 'o'
	ErrorOutput Kind = 'x'
	End         Kind = 'q' // of the container: its exit code, 1 byte
)

const (
	headSize    = 5
	mostMessage = 64 << 10
)

// Append adds a message to a buffer.
func Append(buf []byte, kind Kind, data []byte) []byte {
	buf = append(buf, byte(kind))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(data)))
	return append(buf, data...)
}

// Cut takes the first message off a buffer; ok is false if it is not whole yet.
func Cut(buf []byte) (kind Kind, data, rest []byte, ok bool, err error) {
	if len(buf) < headSize {
		return 0, nil, buf, false, nil
	}
	size := binary.LittleEndian.Uint32(buf[1:])
	if size > mostMessage {
		return 0, nil, buf, false, fmt.Errorf("a message of %d bytes", size)
	}
	end := headSize + int(size)
	if len(buf) < end {
		return 0, nil, buf, false, nil
	}
	return Kind(buf[0]), buf[headSize:end], buf[end:], true, nil
}
