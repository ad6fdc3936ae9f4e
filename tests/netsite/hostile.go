package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// crowd opens many connections, holds them until all are there, and says how
// many were.
func crowd(args []string, out io.Writer) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	const workers = 32
	var (
		group sync.WaitGroup
		mutex sync.Mutex
		conns []net.Conn
		fault error
	)
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < count; i += workers {
				conn, err := net.DialTimeout("tcp", args[0], patience)
				mutex.Lock()
				if err != nil {
					fault = err
				} else {
					conns = append(conns, conn)
				}
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	fmt.Fprintln(out, "opened", len(conns))
	if fault != nil {
		fmt.Fprintln(out, "the others:", word(fault))
	}
	time.Sleep(time.Second) // for who looks at the memory
	for _, conn := range conns {
		_ = conn.Close()
	}
	return nil
}

// A packet of the internet protocol, version 4, with a TCP header.
const (
	headerLength = 20
	packetLength = 2 * headerLength
	syn          = 0x02
)

// flood sends SYNs from addresses that are not ours; nobody answers the replies.
func flood(args []string, out io.Writer) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	random := rand.New(rand.NewPCG(1, 2))
	sent := 0
	const burst = 64 // more at once may be lost on the way, and do no harm
	for i := range count {
		if i%burst == burst-1 {
			time.Sleep(time.Millisecond)
		}
		packet := synPacket(random, to)
		if unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}) == nil {
			sent++
		}
	}
	fmt.Fprintln(out, "flooded", sent)
	return nil
}

func synPacket(random *rand.Rand, to netip.AddrPort) []byte {
	packet := make([]byte, packetLength)
	packet[0], packet[8], packet[9] = 0x45, 64, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(packet[2:], packetLength)
	from, dest := [4]byte{10, 0, 2, byte(4 + random.IntN(250))}, to.Addr().As4()
	copy(packet[12:], from[:])
	copy(packet[16:], dest[:])
	tcp := packet[headerLength:]
	binary.BigEndian.PutUint16(tcp, uint16(1024+random.IntN(60000)))
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	binary.BigEndian.PutUint32(tcp[4:], random.Uint32())
	tcp[12], tcp[13] = headerLength/4<<4, syn
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	// The checksum covers the addresses, the protocol and the length too.
	pseudo := append(append(append([]byte{}, packet[12:20]...), 0, unix.IPPROTO_TCP, 0, headerLength), tcp...)
	binary.BigEndian.PutUint16(tcp[16:], checksum(pseudo))
	return packet
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// garbage sends frames that are nearly right, and some that are nothing, past
// the kernel's own stack; every other has an offload header that lies.
func garbage(args []string, out io.Writer) error {
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	device, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(3, 4))
	sent := 0
	for _, lies := range []bool{false, true} {
		fd, err := frameSocket(device.Index, lies)
		if err != nil {
			return err
		}
		for range count / 2 {
			frame := mangled(random, len(device.HardwareAddr) > 0)
			if lies {
				frame = append(offload(random), frame...)
			}
			if _, err := unix.Write(fd, frame); err == nil {
				sent++
			}
		}
		_ = unix.Close(fd)
	}
	fmt.Fprintln(out, "sent", sent)
	return nil
}

func frameSocket(device int, offload bool) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	if offload {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return -1, fmt.Errorf("PACKET_VNET_HDR: %w", err)
		}
	}
	// Protocols are in network order.
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: device, Protocol: unix.ETH_P_IP>>8 | unix.ETH_P_IP&0xff<<8})
}

// mangled is a packet of some protocol to the gateway in which bytes are wrong.
func mangled(random *rand.Rand, ethernet bool) []byte {
	gateway := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 2, byte(2 + random.IntN(3))}), uint16(random.IntN(1<<16)))
	packet := synPacket(random, gateway)
	packet[9] = []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_IGMP, byte(random.IntN(256))}[random.IntN(5)]
	switch random.IntN(4) {
	case 0: // nothing at all
		packet = randomBytes(random, 1+random.IntN(1400))
	case 1: // version 6
		packet = append([]byte{0x60, 0, 0, 0, 0, byte(random.IntN(256)), byte(random.IntN(256)), 64}, randomBytes(random, 32+random.IntN(600))...)
	case 2: // fragments and options
		packet[0], packet[6], packet[7] = 0x40|byte(random.IntN(16)), byte(random.IntN(64)), byte(random.IntN(256))
		packet = append(packet, randomBytes(random, random.IntN(1300))...)
	}
	for range random.IntN(6) {
		packet[random.IntN(len(packet))] = byte(random.IntN(256))
	}
	packet = packet[:1+random.IntN(len(packet))]
	if ethernet {
		kind := []byte{0x08, 0x00, 0x86, 0xdd, 0x08, 0x06}[2*random.IntN(3):][:2]
		packet = append(append(randomBytes(random, 12), kind...), packet...)
	}
	return packet
}

// offload is a struct virtio_net_hdr: linux/virtio_net.h.
func offload(random *rand.Rand) []byte {
	header := make([]byte, 10)
	header[0] = byte(random.IntN(2))
	header[1] = []byte{0, 1, 3, 4, 5, 0x81}[random.IntN(6)]
	for i := 2; i < len(header); i += 2 {
		binary.NativeEndian.PutUint16(header[i:], uint16(random.IntN(100)))
	}
	return header
}

func randomBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.IntN(256))
	}
	return b
}
